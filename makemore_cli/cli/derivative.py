"""`makemore derivative`."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from makemore_cli.cli.app import app
from makemore_cli.cli.options import JsonOption
from makemore_cli.errors import MakemoreError, ParameterError
from makemore_cli.system import output

if TYPE_CHECKING:
    from makemore_cli.scalar.derivative import Nudge, Slope
    from makemore_cli.scalar.expression import Expression

DEFAULT_NUDGE = 1e-4
WORSE = 4.0  # times the least error
DIGITS = 12  # of a difference, so that rounding shows


@app.command(
    context_settings={"ignore_unknown_options": True},  # an expression may begin with a minus
    epilog='Example: makemore derivative "3*x**2 - 4*x + 5" --at 3 && makemore derivative "a*b + c" a=2 b=-3 c=10',
)
def derivative(
    expression: Annotated[
        str,
        typer.Argument(
            metavar="EXPRESSION",
            help="Numbers, names, + - * / **, brackets, exp, log, tanh, sigmoid, relu, sin, cos, sqrt, pi. It may name "
            "results on the way: 'e = a*b; d = e + c; d*f'.",
        ),
    ],
    values: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=NUMBER]...", help="The variables' numbers, such as a=2 b=-3.")
    ] = None,
    at: Annotated[
        float | None, typer.Option("--at", metavar="NUMBER", help="The number of the only variable, whatever its name.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            metavar="NAME",
            help="Nudge this variable or named result, by falling h. The only variable needs no --by.",
        ),
    ] = None,
    h: Annotated[
        list[float] | None,
        typer.Option(
            "--h",
            metavar="NUMBER",
            help="The nudge; can be repeated. Default: 0.1, 0.01, … 1e-17 for one variable, 0.0001 for several.",
            show_default=False,
        ),
    ] = None,
    ascend: Annotated[
        float | None,
        typer.Option(
            "--ascend",
            metavar="RATE",
            help="Also move every variable by RATE times its slope, and show the result; a negative RATE descends.",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="FILE",
            help="Draw the function, its tangent, and the error against h: a .png or .svg file.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find the slope of an expression: by nudging its variables, and by backpropagation."""
    from makemore_cli.scalar import derivative as nudging
    from makemore_cli.scalar.expression import Expression, parse_assignments

    typed = Expression(expression)
    numbers = _numbers(typed, parse_assignments(values or []), at)
    steps = _steps(h)
    if ascend is not None and not math.isfinite(ascend):
        raise ParameterError("ascend", f"must be finite, got {ascend:g}")
    result, slopes = nudging.slopes(typed, numbers)
    chosen = _chosen(typed, slopes, by)
    moved = None if ascend is None else nudging.ascend(typed, numbers, ascend)
    table = {
        one.name: [nudging.nudge(typed, numbers, one.name, step) for step in steps or (DEFAULT_NUDGE,)]
        for one in slopes
    }
    falling = (
        []
        if chosen is None
        else [nudging.nudge(typed, numbers, chosen.name, step) for step in steps or nudging.FALLING]
    )
    if plot is not None:
        if chosen is None:
            raise MakemoreError("--plot: draws one variable; choose it with --by NAME")
        from makemore_cli.views.plots.derivative import draw

        draw(typed, numbers, chosen, result, falling, plot)
    if as_json:
        output.print_json(_json(result, slopes, table, chosen, falling, moved))
        return
    lines = [f"{_function(typed, numbers)} = {result:.10g}"]
    if chosen is not None:
        lines += ["", *_falling(typed, chosen, falling)]
    if len(slopes) > 1:
        lines += ["", *_names(typed, slopes, table)]
    if moved is not None:
        there = ", ".join(f"{name} = {number:.6g}" for name, number in moved[0].items())
        lines += ["", f"after a step of {ascend:g} times each slope: {there}", f"the result is {moved[1]:.10g}"]
    output.print_lines(lines)
    if plot is not None:
        output.remark(f"drawn: {plot}")


def _numbers(typed: Expression, given: dict[str, float], at: float | None) -> dict[str, float]:
    if at is not None:
        free = [name for name in typed.variables if name not in given]
        if not typed.variables:
            raise ParameterError("at", "is for a variable, but the expression has none")
        if not free:
            raise ParameterError("at", f"is for a variable without a number, but {', '.join(given)} has one already")
        if len(free) != 1:
            raise ParameterError(
                "at", f"is for one variable, but there are {', '.join(free)}: write NAME=NUMBER for each"
            )
        given = {free[0]: at, **given}
    return typed.check(given)


def _steps(h: list[float] | None) -> list[float]:
    for step in h or []:
        if not 0 < step < float("inf"):
            raise ParameterError("h", f"must be above 0 and finite, got {step:g}")
    return h or []


def _chosen(typed: Expression, slopes: list[Slope], by: str | None) -> Slope | None:
    """The name whose slope is looked at closely, if one is chosen, or there is one variable only."""
    if by is None:
        by = typed.variables[0] if len(typed.variables) == 1 else None
    elif by not in {one.name for one in slopes}:
        raise ParameterError("by", f"must be one of {', '.join(one.name for one in slopes) or 'no name'}, got {by}")
    return next((one for one in slopes if one.name == by), None)


def _function(typed: Expression, numbers: dict[str, float]) -> str:
    name = typed.result_name or "f"
    if not numbers or name in numbers:
        return name
    return f"{name}({', '.join(f'{n} = {number:g}' for n, number in numbers.items())})"


def _falling(typed: Expression, chosen: Slope, nudges: list[Nudge]) -> list[str]:
    """The table of falling h, and its lesson."""
    from makemore_cli.scalar.derivative import best

    lines = [
        f"slope by {chosen.name}: {chosen.slope:.10g} by the engine",
        "",
        f"{'h':>7}  {'(f(x+h) − f(x)) / h':>20} {'off by':>8}  {'(f(x+h) − f(x−h)) / 2h':>22} {'off by':>8}",
    ]
    for one in nudges:
        cells = [_difference(one.forward, chosen.slope, 20), _difference(one.central, chosen.slope, 22)]
        lines.append(f"{one.h:>7.3g}  {cells[0]}  {cells[1]}")
    forward, central = best(nudges, chosen.slope, "forward"), best(nudges, chosen.slope, "central")
    if len(nudges) > 1 and forward is not None and central is not None:
        lines += ["", f"Nearest at h = {forward.h:g} forward, at h = {central.h:g} central."]
        if _worse(nudges, forward, chosen.slope, lambda one: one.h > forward.h):
            lines.append("With a larger h, the curve bends on the way.")
        if _worse(nudges, forward, chosen.slope, lambda one: one.h < forward.h):
            lines.append("With a smaller h, the difference of two nearly equal numbers is lost in rounding.")
    return lines


def _worse(nudges: list[Nudge], nearest: Nudge, slope: float, side: Callable[[Nudge], bool]) -> bool:
    """Whether the forward difference is clearly worse on one side of the nearest."""
    errors = [abs(one.forward - slope) for one in nudges if one.forward is not None and side(one)]
    least = 0.0 if nearest.forward is None else abs(nearest.forward - slope)
    return any(error > WORSE * least for error in errors)


def _difference(value: float | None, slope: float, width: int) -> str:
    if value is None:
        return f"{'no value there':>{width}} {'':>8}"
    return f"{value:>{width}.{DIGITS}g} {abs(value - slope):>8.1e}"


def _names(typed: Expression, slopes: list[Slope], table: dict[str, list[Nudge]]) -> list[str]:
    """Every variable and named result: value, slope by the engine, and by nudging."""
    width = max(len("name"), *(len(one.name) for one in slopes))
    lines = [
        f"{'name':<{width}} {'value':>12} {'slope':>12} {'h':>8} {'result then':>14} {'forward':>14} {'central':>14}"
    ]
    for one in slopes:
        for row, nudge in enumerate(table[one.name]):
            head = f"{one.name:<{width}} {one.value:>12.6g} {one.slope:>12.6g}" if row == 0 else " " * (width + 26)
            cells = [f"{'–' if x is None else format(x, '.8g'):>14}" for x in (nudge.up, nudge.forward, nudge.central)]
            lines.append(f"{head} {nudge.h:>8.3g} {' '.join(cells)}")
    return lines


def _json(
    result: float,
    slopes: list[Slope],
    table: dict[str, list[Nudge]],
    chosen: Slope | None,
    falling: list[Nudge],
    moved: tuple[dict[str, float], float] | None,
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "result": result,
        "slopes": {one.name: {"value": one.value, "slope": one.slope} for one in slopes},
        "nudges": {name: [vars(one) for one in nudges] for name, nudges in table.items()},
    }
    if chosen is not None:
        found["nudges"][chosen.name] = [vars(one) for one in falling]
    if moved is not None:
        found["ascended"] = {"values": moved[0], "result": moved[1]}
    return found
