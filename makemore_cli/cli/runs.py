"""`makemore runs` and `makemore runs diff`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from makemore_cli.cli import completion
from makemore_cli.cli.app import app
from makemore_cli.cli.command import App
from makemore_cli.cli.options import JsonOption
from makemore_cli.system import output

runs_app = App(invoke_without_command=True)
app.add_typer(runs_app, name="runs")


@runs_app.callback(epilog="Example: makemore runs --sort val")
def runs(
    context: typer.Context,
    folder: Annotated[Path, typer.Option("--dir", metavar="DIR", help="Folder that contains the runs.")] = Path("runs"),
    sort: Annotated[
        str,
        typer.Option(
            "--sort",
            metavar="COLUMN",
            autocompletion=completion.choices("name", "data", "train", "val", "test", "steps", "time", "date"),
            help="Sort by name, data, train, val, test, steps, time or date.",
        ),
    ] = "name",
    as_json: JsonOption = False,
) -> None:
    """List the runs in a folder, with their results."""
    if context.invoked_subcommand is not None:
        return
    from makemore_cli.runs.comparison import find_runs, show_runs, sort_runs

    found, unreadable = find_runs(folder)
    for error in unreadable:
        output.remark(f"skipped: {error}")
    found = sort_runs(found, sort)
    if as_json:
        output.print_json([info.to_json() for info in found])
    elif found:
        output.print_rich(partial(show_runs, found), width=160)
    else:
        output.remark(f"{folder}: contains no runs")


@runs_app.command("diff", epilog="Example: makemore runs diff runs/quickstart runs/tiny")
def runs_diff(
    first: Annotated[Path, typer.Argument(metavar="A", autocompletion=completion.runs, help="First run folder.")],
    second: Annotated[Path, typer.Argument(metavar="B", autocompletion=completion.runs, help="Second run folder.")],
    as_json: JsonOption = False,
) -> None:
    """Show the settings in which two runs differ, and the difference in their losses."""
    from makemore_cli.runs.comparison import Difference, run_info, show_difference

    difference = Difference(run_info(first), run_info(second))
    if as_json:
        output.print_json(difference.to_json())
    else:
        output.print_rich(partial(show_difference, difference), width=160)
