"""Python's own shuffle, compiled for many numbers: the same order, forty times as fast."""

from __future__ import annotations

import random

import numpy as np
from numpy.typing import NDArray

from makemore_cli.system.compiled import Kept

BLOCK_NUMBERS = 1 << 20  # random numbers drawn at a time


def shuffled(n: int, seed: int) -> NDArray[np.unsignedinteger]:
    """The numbers from 0 to n − 1 as `random.seed(seed); random.shuffle(order)` orders them, for n < 2³²."""
    order = np.arange(n, dtype=np.uint32)
    _, (*key, position), _ = random.Random(seed).getstate()
    twister = np.random.MT19937()  # Python's generator
    twister.state = {"bit_generator": "MT19937", "state": {"key": np.array(key, np.uint32), "pos": position}}
    last = n - 1
    while last > 0:
        last = swap(order, last, twister.random_raw(BLOCK_NUMBERS).astype(np.uint32))
    return order


@Kept
def swap(order: NDArray[np.uint32], last: int, numbers: NDArray[np.uint32]) -> int:
    """Swap each place, from `last` down, with a random place not above it. Return the place where the numbers ran out.

    As in Python, each draw has as many bits as the place needs, and a draw above the place is repeated.
    """
    place, bits = last, 0
    while (place + 1) >> bits:
        bits += 1
    for number in numbers:
        while bits > 1 and (place + 1) >> (bits - 1) == 0:
            bits -= 1
        other = number >> (32 - bits)
        if other <= place:
            order[place], order[other] = order[other], order[place]
            place -= 1
            if place == 0:
                break
    return place
