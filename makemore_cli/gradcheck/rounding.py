"""The effect of rounding alone on each gradient on a given batch, measured with random rounding.

Usually a gradient's rounding errors are some 1e-7 of its largest entry. But where terms cancel, the largest entry says
nothing about them. In a batch of two, batchnorm gives ±1/√2 whatever came in, and dhprebn is what epsilon leaves; with
one number a letter and one letter of context, W1 only scales what batchnorm scales back. Then right code differs from
right code by far more than its size would allow.

So the chain is run again in float64, each value and each gradient in it multiplied by 1 ± δ, the sign drawn for each
entry (Monte Carlo arithmetic: Parker, 1997), and how far that moves the gradients, divided by δ, is their sensitivity.

The chain is kinder than other ways to compute the same: it takes the mean out once, and the variance is that of what is
left. Where a column's mean is large against its deviation, a pass that computes the two apart errs more. So the witness
of the training pass shows its own error too: its float32 gradients against its float64 ones.

It is kinder above the logits too. Where a batch is predicted with certainty, softmax − onehot is what rounding has left
of 1 − 1, while the chain adds up the small probabilities of the other letters. So both ways are run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from makemore_cli.backprop.step import run
from makemore_cli.gradcheck.following import differentiable
from makemore_cli.gradcheck.sources import Gradients, downwards

if TYPE_CHECKING:
    from makemore_cli.gradcheck.problem import Problem

DELTA = 1e-8  # small against the values' curvature, large against float64's own rounding
DRAWS = 8
# How much of what is measured makes a scale. With it, right code stays well below TOLERANCE, as
# `makemore gradcheck --trials` shows.
USUAL = 2.0  # on ordinary batches, sensitivity over size is 6 to 12


def scales(size: Mapping[str, float], moved: Mapping[str, float]) -> dict[str, float]:
    """The scale of each gradient's rounding error: its size, or the effect of rounding on it if that is larger."""
    return {name: max(one, moved.get(name, 0.0) / USUAL) for name, one in size.items()}


def sensitivity(problem: Problem) -> dict[str, float]:
    """Largest change of each of the chain's gradients over DRAWS random roundings, divided by DELTA."""
    generator = torch.Generator(problem.device).manual_seed(0)
    exact = _gradients(problem, None)
    moved: dict[str, float] = {}
    for _ in range(DRAWS):
        for way, exactly in zip(_gradients(problem, generator), exact, strict=False):
            for name, gradient in way.items():
                moved[name] = max(moved.get(name, 0.0), float((gradient - exactly[name]).abs().max()) / DELTA)
    return moved


def _gradients(problem: Problem, generator: torch.Generator | None) -> list[Gradients]:
    """Autograd's gradients in float64, rounded at random by `generator`, if there is one, by each way down."""
    alike = problem.alike

    def rounded(value: Tensor, by_rows: bool = False) -> Tensor:
        if generator is None:
            return value
        sign = torch.randint(0, 2, value.shape, generator=generator, device=value.device, dtype=value.dtype) * 2 - 1
        return value * (1 + DELTA * (sign[alike] if by_rows else sign))

    def in_rows(value: Tensor) -> bool:
        """Whether its rows are a batch's, of which some may be equal."""
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
    # A backward pass reads rounded values too. For a saturated tanh this decides: 1 − h² is what rounding has left.
    with torch.autograd.graph.saved_tensors_hooks(saved, lambda value: value):
        for step in problem.chain.steps:
            value = run(step.forward, values)
            values[step.name] = value
            if differentiable(value):
                values[step.name] = rounded(value, in_rows(value))
            if differentiable(value) and value.requires_grad:
                values[step.name].register_hook(rounded)  # its gradient, on its way down
                names.append(step.name)
    with torch.no_grad():
        ways = list(problem.begin(values, lambda value: rounded(value, in_rows(value))))
    return [downwards(values, way, [name for name in names if name not in problem.above]) for way in ways]
