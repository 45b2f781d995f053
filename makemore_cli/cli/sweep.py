"""`makemore sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from makemore_cli.cli import completion
from makemore_cli.cli.app import app
from makemore_cli.cli.options import ConfigOption, DataOption, JsonOption, QuietOption, SetOption
from makemore_cli.errors import MakemoreError
from makemore_cli.system import output


@app.command(epilog="Example: makemore sweep --config best --space best -n 50 --jobs 2 --data lecture")
def sweep(
    config: ConfigOption = None,
    space: Annotated[
        str | None,
        typer.Option(
            "--space",
            metavar="FILE",
            autocompletion=completion.spaces,
            help="Search space: a YAML file that gives each configuration key a list of values or {low: …, high: …}; "
            "or a bundled one, best or fast.",
            show_default=False,
        ),
    ] = None,
    n: Annotated[
        int,
        typer.Option(
            "-n", "--trials", metavar="N", min=1, help="Number of trials in total, including those of earlier calls."
        ),
    ] = 20,
    jobs: Annotated[int, typer.Option("--jobs", metavar="N", min=1, help="Number of trials that run in parallel.")] = 1,
    data: DataOption = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Sweep folder. Default: sweeps/NAME, where NAME is the space's name."
        ),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            metavar="URL",
            help="Optuna storage URL, such as postgresql://USER@HOST/sweeps. Several machines can share one. Default: "
            "a journal file in the sweep folder.",
        ),
    ] = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Search for a good configuration by validation loss. The same command resumes an interrupted sweep."""
    from makemore_cli.config import load as configuration

    if space is None:
        raise MakemoreError("--space: required; give a YAML file with a search space, or a bundled one (best, fast)")
    resolved = configuration.load(configuration.find(config), settings or (), data__path=data)
    file = configuration.find(space, "configs/spaces", "space")
    folder = folder or Path("sweeps") / file.stem

    from makemore_cli.sweep import search as sweeps

    plan = sweeps.plan(resolved, file, folder, storage=storage, trials=n, jobs=jobs)
    results = sweeps.sweep(plan, (lambda _: None) if quiet else output.remark)
    if as_json:
        output.print_json(results.to_json())
        return
    output.print_rich(results.show)
