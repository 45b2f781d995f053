"""The derivative by nudging: change one number by h, compute again, and divide the change of the result by h."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from makemore_cli.errors import ParameterError
from makemore_cli.scalar.expression import Expression, ExpressionError

FALLING = tuple(10.0**-power for power in range(1, 18))  # 0.1 to 1e-17
DEFAULT_NUDGE = 1e-4


@dataclass(frozen=True)
class Nudge:
    """Difference quotients for one h. A quotient is None if the expression has no value at one of its points.

    `up` is the result after the nudge; `forward` is (f(x + h) − f(x)) / h, `central` is (f(x + h) − f(x − h)) / 2h.
    """

    h: float
    up: float | None
    forward: float | None
    central: float | None


@dataclass(frozen=True)
class Slope:
    """A name in an expression: its value, and the derivative of the result with respect to it, by backpropagation."""

    name: str
    value: float
    slope: float


@dataclass(frozen=True)
class Study:
    """An expression at some numbers: its result, and its slopes by backpropagation and by nudging.

    `nudges` are by name; the `chosen` name has one for each falling h. `ascended` holds the variables' numbers after a
    step along their slopes, and the result there.
    """

    expression: Expression
    at: Mapping[str, float]
    result: float
    slopes: Sequence[Slope]
    chosen: Slope | None
    nudges: Mapping[str, Sequence[Nudge]]
    ascended: tuple[Mapping[str, float], float] | None

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "result": self.result,
            "slopes": {one.name: {"value": one.value, "slope": one.slope} for one in self.slopes},
            "nudges": {name: [vars(one) for one in nudges] for name, nudges in self.nudges.items()},
        }
        if self.ascended is not None:
            found["ascended"] = {"values": dict(self.ascended[0]), "result": self.ascended[1]}
        return found


def study(
    expression: Expression,
    given: Mapping[str, float],
    at: float | None = None,
    *,
    by: str | None = None,
    h: Sequence[float] = (),
    ascend: float | None = None,
) -> Study:
    """Find all slopes. `at` is the number for the only variable that is not in `given`.

    `by` is the name to study closely, by default the only variable. `h` are the nudges: by default FALLING for that
    name, and DEFAULT_NUDGE for all others. `ascend` moves each variable by `ascend` times its slope.
    Raises ParameterError for an invalid argument, ExpressionError or DomainError if there is no value or no slope.
    """
    for step in h:
        if not 0 < step < math.inf:
            raise ParameterError("h", f"must be above 0 and finite, got {step:g}")
    if ascend is not None and not math.isfinite(ascend):
        raise ParameterError("ascend", f"must be finite, got {ascend:g}")
    numbers = expression.check(given if at is None else {**given, _free(expression, given): at})
    result, found = slopes(expression, numbers)
    if by is None and len(expression.variables) == 1:
        by = expression.variables[0]
    chosen = next((one for one in found if one.name == by), None)
    if by is not None and chosen is None:
        raise ParameterError(
            "by",
            f"must be one of {', '.join(one.name for one in found) or 'the names, of which there are none'}, got {by}",
        )
    nudges = {
        one.name: [
            nudge(expression, numbers, one.name, step) for step in h or (FALLING if one is chosen else (DEFAULT_NUDGE,))
        ]
        for one in found
    }
    ascended = None if ascend is None else _ascended(expression, found, ascend)
    return Study(expression, numbers, result, found, chosen, nudges, ascended)


def _free(expression: Expression, given: Mapping[str, float]) -> str:
    """The only variable without a number."""
    free = [name for name in expression.variables if name not in given]
    if not expression.variables:
        raise ParameterError("at", "gives a variable its number, but the expression has no variable")
    if not free:
        raise ParameterError("at", f"gives a variable its number, but there are numbers for all: {', '.join(given)}")
    if len(free) > 1:
        raise ParameterError(
            "at", f"gives one variable its number, but there are {', '.join(free)}; write NAME=NUMBER for each"
        )
    return free[0]


def slopes(expression: Expression, at: Mapping[str, float]) -> tuple[float, list[Slope]]:
    """The result, and its derivatives with respect to all variables and named results, by backpropagation.

    The derivative with respect to the exponent of a negative number is NaN. Raises ExpressionError if the expression
    has no value there or a slope is too large, and DomainError if it has no derivative.
    """
    found = expression.evaluate(at)
    found.result.backward()
    slopes = [Slope(name, value.data, value.grad) for name, value in found.named.items()]
    for one in slopes:
        if math.isinf(one.slope):
            raise ExpressionError(f"the slope with respect to {one.name} is too large for a floating-point number")
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


def _ascended(expression: Expression, found: Sequence[Slope], by: float) -> tuple[dict[str, float], float]:
    moved = {one.name: one.value + by * one.slope for one in found if one.name in expression.variables}
    return moved, expression.evaluate(moved).result.data
