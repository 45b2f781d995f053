"""`makemore bench`."""

from __future__ import annotations

from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated

import typer

from makemore_cli.cli.app import app
from makemore_cli.cli.options import JsonOption
from makemore_cli.system import output


@app.command(epilog="Example: makemore bench --batch-size 32 --hidden-size 200")
def bench(
    batch_size: Annotated[
        list[int] | None,
        typer.Option("--batch-size", metavar="N", min=2, help="Batch size. Default: 32 and 256. Repeatable."),
    ] = None,
    hidden_size: Annotated[
        list[int] | None,
        typer.Option(
            "--hidden-size",
            metavar="N",
            min=1,
            help="Hidden units. Default: 64, 200 and 1024; and 768 with context length 6, embedding size 48. "
            "Repeatable.",
        ),
    ] = None,
    c_source: Annotated[
        Path | None,
        typer.Option(
            "--c",
            metavar="FILE",
            help="Also time C code for a batch of 32 and 200 hidden units: docs/training_pass.c in the sources.",
            show_default=False,
        ),
    ] = None,
    rounds: Annotated[
        int, typer.Option("--rounds", metavar="N", min=1, help="Rounds per contender; the fastest counts.")
    ] = 7,
    ranks: Annotated[
        list[int] | None,
        typer.Option(
            "--ranks",
            metavar="N",
            min=1,
            max=64,
            help="Instead, time steps that N processes on this machine share (see docs/scale.md). Repeatable.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Benchmark training by each engine, the lecture's loop, torch.compile and JAX; also sampling and evaluation."""
    from makemore_cli.bench.contenders import Case
    from makemore_cli.bench.report import CASES, show
    from makemore_cli.bench.report import bench as run_bench

    chosen = [Case(n, H) for n, H in product(batch_size or (32, 256), hidden_size or (64, 200, 1024))]
    if ranks:
        from makemore_cli.bench.ranks import bench_ranks
        from makemore_cli.bench.ranks import show as show_ranks

        shared = bench_ranks(ranks, chosen, rounds, output.remark)
        if as_json:
            output.print_json(shared.to_json())
        else:
            output.print_rich(partial(show_ranks, shared))
        return
    result = run_bench(chosen if batch_size or hidden_size else CASES, rounds, c_source, output.remark)
    if as_json:
        output.print_json(result.to_json())
    else:
        output.print_rich(partial(show, result))
