"""Gradients without calculus: nudge one number of a tensor, run the rest of the chain, look at the outputs.

Any tensor of the chain can be nudged, not just the inputs: what comes after it is run again. Since every number costs
a run, only ENTRIES entries of each tensor, drawn at random, are tried; the others are NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from makemore_cli.backprop.inputs import ChainError
from makemore_cli.backprop.step import LINE_ERRORS, Values, arguments, run

if TYPE_CHECKING:
    from makemore_cli.checks.problem import Problem

ENTRIES = 24
COMPLEX_STEP = 1e-20  # it can be this small since no difference is taken; its square is far below rounding
# At a kink, such as relu at zero, the slopes on the two sides differ by more than SHARP of the gradient's scale, even
# for small steps. A difference below NOISE of the result is rounding.
SHARP, NOISE = 1e-3, 1e-11
ANALYTIC = 1e-4  # largest difference of complex step and central differences on an analytic chain, of the scale
SHORTER = 16.0  # divides the step, to tell a kink from curvature, where the two slopes converge


def finite(problem: Problem, *, entries: int | None = ENTRIES) -> dict[str, Tensor]:
    """Central differences in float64: (f(x + h) − f(x − h)) / 2h, with an error of about h² plus rounding / h.

    An entry at a kink, which has no derivative, stays NaN.
    """
    problem = problem.in_float64
    values = problem.values
    here = float(_total(problem, values))

    def derivative(name: str, at: int) -> float | None:
        value = values[name]
        # The step suits the size of the entry and of its tensor: a variance is large, its inverse small.
        h = 2e-5 * max(float(value.flatten()[at].abs()), float(value.abs().mean()), 1e-3)

        def difference(h: float) -> tuple[float, float]:
            """The central difference, and the second difference |f(x + h) − 2 f(x) + f(x − h)|."""
            up, down = (_total_with(problem, name, _nudged(value, at, nudge), values) for nudge in (h, -h))
            return float(up - down) / (2 * h), abs(float(up) - here + float(down) - here)

        try:
            slope, bend = difference(h)
        except LINE_ERRORS:  # such as a matrix that is no longer symmetric
            return None
        if bend > max(SHARP * h * problem.size.get(name, 0.0), NOISE * max(1.0, abs(here))):
            nearer, near_bend = difference(h / SHORTER)
            if near_bend > bend / SHORTER / 4:  # it shrinks only with h: a kink
                return None
            if near_bend < bend / SHORTER**2 / 4:  # it shrinks faster than h²: the kink is beyond the shorter step
                return nearer
        return slope

    return _each(problem.truth, values, derivative, entries)


def complex_step(problem: Problem, *, entries: int | None = ENTRIES) -> dict[str, Tensor]:
    """Complex-step differentiation: Im f(x + ih) / h, exact to rounding (Squire & Trapp, 1998; Martins et al., 2003).

    The lines must be analytic. Raises ChainError if they can't be run on complex numbers.
    """
    names, problem = problem.in_float64.truth, problem.in_complex
    values = problem.values

    def derivative(name: str, at: int) -> float:
        value = _nudged(values[name], at, COMPLEX_STEP * 1j)
        return complex(_total_with(problem, name, value, values).item()).imag / COMPLEX_STEP

    return _each(names, values, derivative, entries)


def not_analytic(problem: Problem) -> str | None:
    """Why the complex step can't check a chain, which can't be run on complex numbers or is not analytic; or None."""
    try:
        by_complex = complex_step(problem)
    except ChainError as error:
        return str(error)
    except LINE_ERRORS as error:
        return f"the chain can't be run on complex numbers: {' '.join(str(error).split())}"
    by_differences = finite(problem)
    for name, gradient in by_complex.items():
        known = ~(gradient.isnan() | by_differences[name].isnan())
        difference = (gradient - by_differences[name])[known].abs()
        if difference.numel() and float(difference.max()) > ANALYTIC * problem.in_float64.scale[name]:
            return f"a line on the way from {name} to the outputs is not analytic"
    return None


def _each(
    names: Container[str], values: Values, derivative: Callable[[str, int], float | None], entries: int | None
) -> dict[str, Tensor]:
    """Derivatives by some or all entries of each tensor in `names`; the other entries are NaN."""
    generator = torch.Generator().manual_seed(0)
    gradients = {}
    for name, value in values.items():
        if name in names:
            gradient = torch.full((value.numel(),), torch.nan, dtype=torch.float64)
            for at in torch.randperm(value.numel(), generator=generator)[:entries].tolist():
                slope = derivative(name, at)
                if slope is not None:  # NaN would mean "not tried", which agrees with anything
                    gradient[at] = torch.inf if math.isnan(slope) else slope
            gradients[name] = gradient.view(value.shape).to(value.device)
    return gradients


def _nudged(value: Tensor, at: int, by: float | complex) -> Tensor:
    nudged = value.clone(memory_format=torch.contiguous_format)
    nudged.view(-1)[at] += by
    return nudged


def _total_with(problem: Problem, name: str, value: Tensor, values: Values) -> Tensor:
    """The outputs' total if the tensor `name` has another value; every step that depends on it is run again."""
    changed = {name}
    current = {**values, name: value}
    for step in problem.chain.steps:
        if step.name != name and changed.intersection(arguments(step.forward)):
            current[step.name] = run(step.forward, current)
            changed.add(step.name)
    return _total(problem, current)


def _total(problem: Problem, values: Values) -> Tensor:
    """The sum of the outputs, each times its upstream gradient. Its derivatives are the gradients."""
    total = torch.zeros((), dtype=torch.float64, device=problem.device)
    for name, above in problem.above.items():
        total = total + (values[name] * above).sum()
    return total
