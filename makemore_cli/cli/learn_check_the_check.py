"""`makemore learn check-the-check`."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Annotated

import typer

from makemore_cli.cli.learn import learn_app
from makemore_cli.cli.options import JsonOption
from makemore_cli.errors import MakemoreError
from makemore_cli.system import output

SCORE_SECONDS = 120.0  # for the score of a check


@learn_app.command("check-the-check", epilog="Example: makemore learn check-the-check --template > my_check.py")
def check_the_check(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="A Python file with a function check(forward, backward, x)."),
    ] = None,
    template: Annotated[
        bool, typer.Option("--template", help="Print a file to start from, with a poor check.")
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", metavar="N", min=0, max=2**31 - 1, help="Random seed of the passes. Default: a new one."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Score a gradient check of your own, by the wrong passes that it refuses and the right ones that it accepts."""
    from makemore_cli.learn.check_the_check import TEMPLATE, score_or_error
    from makemore_cli.learn.texts import score_lines

    if template:
        output.print_lines(TEMPLATE.splitlines())
        return
    if file is None:
        raise MakemoreError("give a file with a function check, or --template")
    from makemore_cli.learn.check_process import Checker, read_text
    from makemore_cli.learn.course import BUNDLED

    number = random.randrange(2**31) if seed is None else seed
    arguments = (str(file.absolute()), read_text(file), number)
    found, printed = Checker(BUNDLED).run(score_or_error, arguments, SCORE_SECONDS, file)
    if isinstance(found, str):
        raise MakemoreError(found)
    if as_json:
        output.print_json({**found.to_json(), "seed": number})
    else:
        output.print_lines([*printed, *score_lines(found)])
    if not found.is_perfect:
        raise typer.Exit(1)
