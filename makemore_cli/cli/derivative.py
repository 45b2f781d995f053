"""`makemore derivative`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from makemore_cli.cli.app import app
from makemore_cli.cli.options import JsonOption
from makemore_cli.errors import MakemoreError
from makemore_cli.system import output


@app.command(
    context_settings={"ignore_unknown_options": True},  # an expression may begin with a minus
    epilog='Example: makemore derivative "3*x**2 - 4*x + 5" --at 3 && makemore derivative "a*b + c" a=2 b=-3 c=10',
)
def derivative(
    expression: Annotated[
        str,
        typer.Argument(
            metavar="EXPRESSION",
            help="An expression with numbers, names, + - * / **, parentheses, exp, log, tanh, sigmoid, relu, sin, cos, "
            "sqrt and pi. It may name intermediate results: 'e = a*b; d = e + c; d*f'.",
        ),
    ],
    values: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=NUMBER]...", help="Values of the variables, such as a=2 b=-3.")
    ] = None,
    at: Annotated[
        float | None, typer.Option("--at", metavar="NUMBER", help="Value of the variable, if there is only one.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            metavar="NAME",
            help="Variable or named result to nudge, by smaller and smaller h. Default: the variable, if there is only "
            "one.",
        ),
    ] = None,
    h: Annotated[
        list[float] | None,
        typer.Option(
            "--h",
            metavar="NUMBER",
            help="Size of the nudge. Repeatable. Default: 0.1, 0.01, … 1e-17 for one variable, 0.0001 for several.",
            show_default=False,
        ),
    ] = None,
    ascend: Annotated[
        float | None,
        typer.Option(
            "--ascend",
            metavar="RATE",
            help="Also move every variable by RATE times its slope, and show the new value. A negative RATE descends.",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="FILE",
            help="Plot the function, its tangent, and the error against h, as .png or .svg.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compute the slope of an expression by nudging its variables, and by backpropagation."""
    from makemore_cli.scalar.derivative import study
    from makemore_cli.scalar.expression import Expression, parse_assignments
    from makemore_cli.views.derivative import lines

    found = study(Expression(expression), parse_assignments(values or []), at, by=by, h=h or (), ascend=ascend)
    if plot is not None:
        if found.chosen is None:
            raise MakemoreError("--plot: draws one variable; choose it with --by NAME")
        from makemore_cli.views.plots.derivative import DerivativePicture
        from makemore_cli.views.plots.style import save_as

        save_as(DerivativePicture(found, found.chosen), plot, "plot")
    if as_json:
        output.print_json(found.to_json())
    else:
        output.print_lines(lines(found))
    if plot is not None:
        output.remark(f"wrote {plot}")
