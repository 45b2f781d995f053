"""`makemore sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
            help="What is searched: a YAML file with keys of the configuration, each with a list of values or "
            "{low: …, high: …}; or a bundled one by its name (best, fast).",
            show_default=False,
        ),
    ] = None,
    n: Annotated[
        int, typer.Option("-n", "--trials", metavar="N", min=1, help="Trials in all, those of earlier calls counted.")
    ] = 20,
    jobs: Annotated[int, typer.Option("--jobs", metavar="N", min=1, help="Trials at a time.")] = 1,
    data: DataOption = None,
    folder: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="The sweep's folder; without it, sweeps/ and the space's name."),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            metavar="URL",
            help="Of a data base for Optuna, such as sqlite:///sweep.db, which several machines may share; without it "
            "a journal in the folder.",
        ),
    ] = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Search for a good configuration: many runs, judged by their validation losses. Go on by the same command."""
    from makemore_cli.config import load as configuration

    if space is None:
        raise MakemoreError("--space: give a YAML file that says what is searched, or a bundled one (best, fast)")
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
