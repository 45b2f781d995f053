"""Examples to train on: inputs, and targets of 1 and −1."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Examples:
    """Rows of numbers, and a target of 1 or −1 for each."""

    inputs: tuple[tuple[float, ...], ...]
    targets: tuple[float, ...]


# The lecture's four examples.
FOUR = Examples(
    ((2.0, 3.0, -1.0), (3.0, -1.0, 0.5), (0.5, 1.0, 1.0), (1.0, 1.0, -1.0)),
    (1.0, -1.0, -1.0, 1.0),
)

NOISE = 0.1  # standard deviation, in each coordinate


def moons(count: int = 100, seed: int = 0) -> Examples:
    """Noisy points on two half circles that reach into each other."""
    draw = random.Random(seed)
    inputs, targets = [], []
    for number in range(count):
        upper = number % 2 == 0
        angle = draw.uniform(0, math.pi)
        x, y = (math.cos(angle), math.sin(angle)) if upper else (1 - math.cos(angle), 0.5 - math.sin(angle))
        inputs.append((x + draw.gauss(0, NOISE), y + draw.gauss(0, NOISE)))
        targets.append(-1.0 if upper else 1.0)
    return Examples(tuple(inputs), tuple(targets))
