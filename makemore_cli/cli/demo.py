"""`makemore demo`."""

from __future__ import annotations

import shutil
import textwrap
from typing import Annotated

import typer

from makemore_cli.cli.app import app
from makemore_cli.cli.options import JsonOption
from makemore_cli.system import output

WIDEST = 100  # columns of prose


@app.command(epilog="Example: makemore demo && makemore demo clipped-loss")
def demo(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Demonstration to run. Default: list all.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Demonstrate a mistake from the lectures, and show the figures that reveal it."""
    from makemore_cli.learn.demo import DEMOS, find, listing

    width = min(WIDEST, shutil.get_terminal_size().columns)
    if name is None:
        if as_json:
            output.print_json({known: one.title for known, one in DEMOS.items()})
        else:
            output.print_lines(listing(width))
        return
    name, chosen = find(name)
    result = chosen.run(name)
    if as_json:
        output.print_json({"name": name, "title": chosen.title, **result.to_json()})
        return
    lines = [chosen.title, "", *textwrap.wrap(result.says, width)]
    for table in result.tables:
        lines += ["", *table.lines()]
    output.print_lines([*lines, "", *textwrap.wrap(result.means, width)])
