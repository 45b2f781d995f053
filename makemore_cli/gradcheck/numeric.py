"""Gradients without calculus: nudge one number of a tensor, run the rest of the chain, look at the loss.

Any tensor of the chain can be nudged, not just the parameters: what comes after it is run again. Since every number
costs a run, only ENTRIES of each tensor, drawn at random, are tried; the other entries are NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from makemore_cli.backprop import atomic as steps
from makemore_cli.network.parameters import Parameters

if TYPE_CHECKING:
    from makemore_cli.gradcheck.problem import Problem

ENTRIES = 24
COMPLEX_STEP = 1e-20  # squared it is nothing at all, and no difference is taken, so it can be this small


def finite(problem: Problem, *, entries: int | None = ENTRIES) -> dict[str, Tensor]:
    """Central differences in float64: (f(x + h) − f(x − h)) / 2h, off by about h² and by rounding / h."""
    values, table = problem.in_float64.values, problem.table

    def derivative(name: str, at: int) -> float:
        value = values[name]
        # A step that suits the number's size and the tensor's: the variance is large, its inverse is small.
        h = 2e-5 * max(float(value.flatten()[at].abs()), float(value.abs().mean()), 1e-3)
        up, down = (_loss_with(name, _nudged(value, at, nudge), values, table) for nudge in (h, -h))
        return float(up - down) / (2 * h)

    return _each(values, derivative, entries)


def complex_step(problem: Problem, *, entries: int | None = ENTRIES) -> dict[str, Tensor]:
    """Complex-step differentiation: Im f(x + ih) / h, exact to rounding (Squire & Trapp, 1998; Martins et al., 2003).

    The chain's lines are analytic but for the row maximum, which is read at the place where the real part is largest.
    """
    table = tuple(
        replace(s, forward=lambda logits: logits.gather(1, logits.real.argmax(1, keepdim=True)))
        if s.name == "logit_maxes"
        else s
        for s in problem.table
    )
    p = Parameters(problem.p.sizes, problem.p.flat.to(torch.complex128))
    values = steps.forward(p, problem.X, problem.Y, eps=problem.eps, smoothing=problem.smoothing, table=table)

    def derivative(name: str, at: int) -> float:
        value = _nudged(values[name], at, COMPLEX_STEP * 1j)
        return float(_loss_with(name, value, values, table).imag) / COMPLEX_STEP

    return _each(values, derivative, entries)


def _each(values: steps.Values, derivative: Callable[[str, int], float], entries: int | None) -> dict[str, Tensor]:
    """Derivatives of the loss by (some) entries of every tensor of the chain, the rest NaN."""
    generator = torch.Generator().manual_seed(0)
    gradients = {}
    for name, value in values.items():
        if isinstance(value, Tensor) and name not in ("X", "Y", "loss"):
            gradient = torch.full((value.numel(),), torch.nan, dtype=torch.float64)
            for at in torch.randperm(value.numel(), generator=generator)[:entries].tolist():
                slope = derivative(name, at)
                gradient[at] = torch.inf if math.isnan(slope) else slope  # NaN is "not tried", and agrees with anything
            gradients[name] = gradient.view(value.shape).to(value.device)
    return gradients


def _nudged(value: Tensor, at: int, by: float | complex) -> Tensor:
    nudged = value.clone(memory_format=torch.contiguous_format)
    nudged.view(-1)[at] += by
    return nudged


def _loss_with(name: str, value: Tensor, values: steps.Values, table: tuple[steps.Step, ...]) -> Tensor:
    """The loss where the tensor `name` has another value: all that depends on it is run again."""
    changed = {name}
    current = {**values, name: value}
    for step in table:
        if changed.intersection(steps.arguments(step.forward)):
            current[step.name] = steps.run(step.forward, current)
            changed.add(step.name)
    loss: Tensor = current["loss"]
    return loss
