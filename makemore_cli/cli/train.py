"""`makemore train`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from makemore_cli.cli import completion
from makemore_cli.cli.app import app
from makemore_cli.cli.options import ConfigOption, DataOption, DeviceOption, JsonOption, QuietOption, SetOption
from makemore_cli.errors import MakemoreError
from makemore_cli.system import output


@app.command(epilog="Example: makemore train --config tiny --set optim.lr=0.05 --seed 7 --out runs/slow")
def train(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN",
            autocompletion=completion.runs,
            help="The run folder to resume; needs --resume.",
            show_default=False,
        ),
    ] = None,
    config: ConfigOption = None,
    data: DataOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Run folder to create. Default: runs/NAME, where NAME is the configuration's name.",
        ),
    ] = None,
    settings: SetOption = None,
    device: DeviceOption = None,
    engine: Annotated[
        str | None,
        typer.Option(
            "--engine",
            metavar="ENGINE",
            autocompletion=completion.choices("auto", "kernel", "tensor", "autograd"),
            help="Engine: auto (default: kernel on the CPU, else tensor); kernel or tensor (hand-written gradients); "
            "or autograd (for comparison).",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            metavar="N",
            help="Random seed for initialisation and batch sampling. Default: the configuration's.",
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", metavar="N", help="Number of training steps. Default: the configuration's.")
    ] = None,
    crosscheck: Annotated[
        int,
        typer.Option(
            "--crosscheck",
            metavar="N",
            min=0,
            help="Every N steps, compare the training gradients with an independent source, and stop if they disagree. "
            "0: never.",
        ),
    ] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing run in the run folder.")] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Resume RUN. Without RUN, resume the default run folder, or start a new run there. --steps extends "
            "the run.",
        ),
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write TensorBoard event files into the run folder.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a model, evaluate it, print samples, and save everything in a run folder."""
    from makemore_cli.api.training import train as start

    if run is not None and not resume:
        raise MakemoreError(f"{run}: to continue it, add --resume; to start a run there, use --out")
    summary = start(
        config,
        data=data,
        steps=steps,
        seed=seed,
        settings=settings or (),
        out=out,
        resume=run or resume,
        overwrite=overwrite,
        device=device,
        engine=engine,
        crosscheck=crosscheck,
        tensorboard=tensorboard,
        quiet=quiet,
    ).summary
    if summary is None:  # another process tells of the run
        return
    if as_json:
        output.print_json(summary.model_dump(mode="json"))
        return
    output.print_lines(summary.lines())
    if not quiet:
        quoted = shlex.quote(summary.run)
        output.remark(f"More names: makemore sample {quoted}; plots: makemore report {quoted}")
