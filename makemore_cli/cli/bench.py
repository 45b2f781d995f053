"""`makemore bench`."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from makemore_cli.cli.app import app
from makemore_cli.cli.options import JsonOption
from makemore_cli.system import output


@app.command(epilog="Example: makemore bench --batch-size 32 --hidden-size 200")
def bench(
    batch_size: Annotated[
        list[int] | None,
        typer.Option("--batch-size", metavar="N", min=2, help="Of the training steps; 32 and 256. Can be repeated."),
    ] = None,
    hidden_size: Annotated[
        list[int] | None,
        typer.Option("--hidden-size", metavar="N", min=1, help="64, 200 and 1024. Can be repeated."),
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", metavar="N", min=1, help="Turns that each contender takes.")] = 7,
    as_json: JsonOption = False,
) -> None:
    """Time the engines beside the lecture's own loop, and JAX where it is installed; sampling; evaluation."""
    from makemore_cli.bench import BATCH_SIZES, HIDDEN_SIZES, show
    from makemore_cli.bench import bench as run_bench

    result = run_bench(batch_size or BATCH_SIZES, hidden_size or HIDDEN_SIZES, rounds, output.remark)
    if as_json:
        output.print_json(result.to_json())
    else:
        output.print_rich(partial(show, result))
