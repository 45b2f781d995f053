"""The effect of rounding on each gradient of a given batch, measured with random rounding.

Usually a gradient's rounding errors are about 1e-7 of its largest entry. But where terms cancel, the largest entry says
nothing about them. In a batch of two, batchnorm gives ±1/√2 for any input, and only epsilon keeps dhprebn from being
zero; with an embedding size of 1 and a context length of 1, W1 only scales what batchnorm scales back. Then two right
programs differ by far more than the gradient's size would allow.

So the chain is run again in float64, with each value and each gradient multiplied by 1 ± δ, the sign drawn for each
entry (Monte Carlo arithmetic: Parker, 1997). The change of a gradient, divided by δ, is its sensitivity.

Other ways to compute the same gradients may round more than the chain. `NetworkProblem.scale` and
`NetworkProblem.begin` allow for two of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from makemore_cli.backprop.step import run
from makemore_cli.checks.following import differentiable
from makemore_cli.checks.sources import Gradients, downwards

if TYPE_CHECKING:
    from makemore_cli.checks.problem import Problem

DELTA = 1e-8  # small enough for the effect to be linear, and far above float64's own rounding
DRAWS = 8
# The sensitivity is divided by this for a scale. Right code then stays well below TOLERANCE, as
# `makemore gradcheck --trials` shows.
USUAL = 2.0  # on ordinary batches, sensitivity over size is 6 to 12


def scales(size: Mapping[str, float], moved: Mapping[str, float]) -> dict[str, float]:
    """The scale of each gradient's rounding error: its size, or the effect of rounding on it if that is larger."""
    return {name: max(one, moved.get(name, 0.0) / USUAL) for name, one in size.items()}


def sensitivity(problem: Problem) -> dict[str, float]:
    """Largest change of each of the chain's gradients over DRAWS random roundings, divided by DELTA."""
    generator = torch.Generator().manual_seed(0)
    exact = _gradients(problem, None)
    moved: dict[str, float] = {}
    for _ in range(DRAWS):
        for way, exactly in zip(_gradients(problem, generator), exact, strict=False):
            for name, gradient in way.items():
                moved[name] = max(moved.get(name, 0.0), float((gradient - exactly[name]).abs().max()) / DELTA)
    return moved


def _gradients(problem: Problem, generator: torch.Generator | None) -> list[Gradients]:
    """Autograd's gradients in float64, rounded at random if there is a `generator`: one set for each way down."""
    alike = problem.alike

    def rounded(value: Tensor, by_rows: bool = False) -> Tensor:
        if generator is None:
            return value
        sign = torch.randint(0, 2, value.shape, generator=generator, dtype=value.dtype).to(value.device) * 2 - 1
        return value * (1 + DELTA * (sign[alike] if by_rows else sign))

    def in_rows(value: Tensor) -> bool:
        """Whether its rows are the batch's, some of which may be equal."""
        return alike is not None and value.shape[:1] == alike.shape[:1]

    def saved(value: Tensor) -> Tensor:
        if not value.is_floating_point():
            return value
        with torch.no_grad():
            return rounded(value, in_rows(value))

    values = dict(problem.inputs)
    names = []
    for name, value in values.items():
        if isinstance(value, Tensor) and value.is_floating_point():
            values[name] = rounded(value.detach().double()).requires_grad_()
            names.append(name)
    # A backward pass reads rounded values too. For a saturated tanh that matters: 1 − h² is only rounding error.
    with torch.autograd.graph.saved_tensors_hooks(saved, lambda value: value):
        for step in problem.chain.steps:
            value = run(step.forward, values)
            values[step.name] = value
            if differentiable(value):
                values[step.name] = rounded(value, in_rows(value))
            if differentiable(value) and value.requires_grad:
                values[step.name].register_hook(rounded)  # rounds its gradient, on the way down
                names.append(step.name)
    with torch.no_grad():
        ways = list(problem.begin(values, lambda value: rounded(value, in_rows(value))))
    return [downwards(values, way, [name for name in names if name not in problem.above]) for way in ways]
