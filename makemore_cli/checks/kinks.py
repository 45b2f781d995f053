"""Kinks, such as relu at zero or a tie for the maximum: several slopes are right there, and autograd takes one of them.

On either side of a kink there is one slope. So a step is also differentiated at values next to the given ones. Where
the gradient changes by more than JUMP, any value in the range that was seen is right.
"""

from __future__ import annotations

from contextlib import suppress

import torch
from torch import Tensor

from makemore_cli.backprop.step import LINE_ERRORS, Step, Values
from makemore_cli.checks.compare import largest
from makemore_cli.checks.following import differentiable, vjp

DRAWS = 16
NEXT = 1e-8  # distance of the nearby values, relative to their tensor's mean size
JUMP = 1e-3  # smallest range of slopes at a kink, relative to the gradient's largest entry
ROOM = 1e-6  # tolerance beyond the range that was seen, relative to the same


class Slopes:
    """The range of the gradients of a step's inputs, over values next to these."""

    def __init__(self, step: Step, values: Values, above: Tensor) -> None:
        generator = torch.Generator().manual_seed(0)
        seen = [vjp(step, values, above)]
        for _ in range(DRAWS):
            near = {name: _near(value, generator) for name, value in values.items()}
            with suppress(*LINE_ERRORS):  # a line may reject them: a symmetric matrix becomes asymmetric
                seen.append(vjp(step, near, above))
        self.low = {name: torch.stack([one[name] for one in seen]).amin(0) for name in seen[0]}
        self.high = {name: torch.stack([one[name] for one in seen]).amax(0) for name in seen[0]}


def right_at_kinks(ours: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The entries that are at a kink and lie between the slopes on its two sides."""
    size = max(largest(low.abs()), largest(high.abs()))
    if ours.shape != low.shape:
        return torch.zeros_like(low, dtype=torch.bool)
    inside = (ours >= low - ROOM * size) & (ours <= high + ROOM * size)
    return inside & (high - low > JUMP * size)


def _near(value: object, generator: torch.Generator) -> object:
    if not differentiable(value) or not isinstance(value, Tensor) or not value.numel():
        return value
    noise = torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value)
    return value + NEXT * max(float(value.abs().mean()), 1e-3) * noise
