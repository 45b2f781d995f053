"""The derivative by nudging: change one number by h, compute again, and look how much the result has changed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from makemore_cli.scalar.expression import Expression, ExpressionError

FALLING = tuple(10.0**-power for power in range(1, 18))  # 0.1 to 1e-17


@dataclass(frozen=True)
class Nudge:
    """A derivative by differences. A difference is None if the expression has no value at one of its ends.

    `up` is the result after the nudge; `forward` is (f(x + h) − f(x)) / h, `central` is (f(x + h) − f(x − h)) / 2h.
    """

    h: float
    up: float | None
    forward: float | None
    central: float | None


@dataclass(frozen=True)
class Slope:
    """One name of an expression: its value, and the derivative of the result by it, as the engine has it."""

    name: str
    value: float
    slope: float


def slopes(expression: Expression, at: Mapping[str, float]) -> tuple[float, list[Slope]]:
    """The result, and the derivatives by all variables and named results, by backpropagation.

    The derivative by the exponent of a negative number is NaN. Raises ExpressionError if the expression has no value
    there or a slope is too large, and DomainError if it has no derivative.
    """
    found = expression.evaluate(at)
    found.result.backward()
    slopes = [Slope(name, value.data, value.grad) for name, value in found.named.items()]
    for one in slopes:
        if math.isinf(one.slope):
            raise ExpressionError(f"the slope by {one.name} is too large for a floating-point number")
    return found.result.data, slopes


def nudge(expression: Expression, at: Mapping[str, float], name: str, h: float) -> Nudge:
    """Nudge a variable, or a named result, by h. Raises ExpressionError if there is no value without the nudge."""
    here = expression.evaluate(at).result.data
    up, down = _after(expression, at, name, h), _after(expression, at, name, -h)
    return Nudge(
        h,
        up,
        None if up is None else (up - here) / h,
        None if up is None or down is None else (up - down) / (2 * h),
    )


def _after(expression: Expression, at: Mapping[str, float], name: str, by: float) -> float | None:
    try:
        return expression.evaluate(at, {name: by}).result.data
    except ExpressionError:
        return None


def best(nudges: Sequence[Nudge], slope: float, which: str) -> Nudge | None:
    """The nudge whose difference, "forward" or "central", is nearest to a slope. None if none has a value."""
    known = [(one, getattr(one, which)) for one in nudges]
    return min(
        (one for one, value in known if value is not None and math.isfinite(value)),
        key=lambda one: abs(getattr(one, which) - slope),
        default=None,
    )


def ascend(expression: Expression, at: Mapping[str, float], by: float) -> tuple[dict[str, float], float]:
    """Move each variable by so many times its slope. Returns the numbers then, and the result there."""
    _, found = slopes(expression, at)
    moved = {one.name: one.value + by * one.slope for one in found if one.name in expression.variables}
    return moved, expression.evaluate(moved).result.data
