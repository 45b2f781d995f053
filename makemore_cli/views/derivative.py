"""The slopes of an expression, as text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from makemore_cli.scalar.derivative import DEFAULT_NUDGE, Nudge, Slope, Study, best

WORSE = 4.0  # times the smallest error
DIGITS = 12  # enough to show rounding errors


def lines(study: Study) -> list[str]:
    """The result, the table of falling h, the table of all names, and the step along the slopes."""
    text = [f"{_function(study)} = {study.result:.10g}"]
    if study.chosen is not None:
        text += ["", *_falling(study.chosen, study.nudges[study.chosen.name])]
    if len(study.slopes) > 1:
        text += ["", *_names(study)]
    if study.ascended is not None:
        moved, result = study.ascended
        there = ", ".join(f"{name} = {number:.6g}" for name, number in moved.items())
        text += ["", f"after a step along the slopes: {there}", f"the result is {result:.10g}"]
    return text


def _function(study: Study) -> str:
    name = study.expression.result_name or "f"
    if not study.at or name in study.at:
        return name
    return f"{name}({', '.join(f'{n} = {number:g}' for n, number in study.at.items())})"


def _falling(chosen: Slope, nudges: Sequence[Nudge]) -> list[str]:
    """The table of falling h, and what it shows."""
    text = [
        f"slope with respect to {chosen.name}: {chosen.slope:.10g} (by backpropagation)",
        "",
        f"{'h':>7}  {'(f(x+h) − f(x)) / h':>20} {'error':>8}  {'(f(x+h) − f(x−h)) / 2h':>22} {'error':>8}",
    ]
    for one in nudges:
        cells = [_difference(one.forward, chosen.slope, 20), _difference(one.central, chosen.slope, 22)]
        text.append(f"{one.h:>7.3g}  {cells[0]}  {cells[1]}")
    forward, central = best(nudges, chosen.slope, "forward"), best(nudges, chosen.slope, "central")
    if len(nudges) > 1 and forward is not None and central is not None:
        text += ["", f"Smallest error: at h = {forward.h:g} (forward difference), at h = {central.h:g} (central)."]
        if _worse(nudges, forward, chosen.slope, lambda one: one.h > forward.h):
            text.append("A larger h makes the forward difference worse: the curve bends between x and x + h.")
        if _worse(nudges, forward, chosen.slope, lambda one: one.h < forward.h):
            text.append("A smaller h makes the forward difference worse: f(x+h) − f(x) is lost in rounding.")
    return text


def _worse(nudges: Sequence[Nudge], nearest: Nudge, slope: float, side: Callable[[Nudge], bool]) -> bool:
    """Whether the forward difference is clearly worse on one side of the nearest."""
    errors = [abs(one.forward - slope) for one in nudges if one.forward is not None and side(one)]
    least = 0.0 if nearest.forward is None else abs(nearest.forward - slope)
    return any(error > WORSE * least for error in errors)


def _difference(value: float | None, slope: float, width: int) -> str:
    if value is None:
        return f"{'no value':>{width}} {'':>8}"
    return f"{value:>{width}.{DIGITS}g} {abs(value - slope):>8.1e}"


def _names(study: Study) -> list[str]:
    """Every variable and named result: its value, and its slope by backpropagation and by nudging."""
    width = max(len("name"), *(len(one.name) for one in study.slopes))
    text = [f"{'name':<{width}} {'value':>12} {'slope':>12} {'h':>8} {'f(x+h)':>14} {'forward':>14} {'central':>14}"]
    for one in study.slopes:
        for row, nudge in enumerate(_few(study, one)):
            head = f"{one.name:<{width}} {one.value:>12.6g} {one.slope:>12.6g}" if row == 0 else " " * (width + 26)
            cells = [f"{'–' if x is None else format(x, '.8g'):>14}" for x in (nudge.up, nudge.forward, nudge.central)]
            text.append(f"{head} {nudge.h:>8.3g} {' '.join(cells)}")
    return text


def _few(study: Study, one: Slope) -> Sequence[Nudge]:
    """All nudges of a name, but only one of the chosen name, which has a table of its own."""
    nudges = study.nudges[one.name]
    if one is not study.chosen:
        return nudges
    return [min(nudges, key=lambda nudge: abs(math.log(nudge.h / DEFAULT_NUDGE)))]
