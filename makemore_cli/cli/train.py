"""`makemore train`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from makemore_cli.cli import completion
from makemore_cli.cli.app import app
from makemore_cli.cli.options import ConfigOption, DataOption, DeviceOption, JsonOption, QuietOption, SetOption
from makemore_cli.errors import MakemoreError
from makemore_cli.system import output
from makemore_cli.system.environment import compiles

if TYPE_CHECKING:
    from makemore_cli.config.schema import Config


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
    folder: Annotated[
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
    from makemore_cli.config import load as configuration
    from makemore_cli.config.schema import CONFIG
    from makemore_cli.runs.run_folder import holds_run

    if run is not None and not resume:
        raise MakemoreError(f"{run}: to continue it, add --resume; to start a run there, use --out")
    if run is not None and folder is not None:
        raise MakemoreError("--out: a resumed run stays in its own folder; omit --out")
    if run is not None and config is not None:
        raise MakemoreError("--config: a resumed run keeps its own configuration; omit --config")
    if resume and overwrite:
        raise MakemoreError("--overwrite: replaces a run, but --resume continues it; give only one of them")
    if run is not None and not holds_run(run):
        raise MakemoreError(f"{run}: there is no run to resume here; give a run folder")
    file = configuration.find(config) if run is None else run / CONFIG
    folder = run or folder or Path("runs") / configuration.name(file)
    resume = resume and (run is not None or holds_run(folder))
    resolved = configuration.load(
        file,
        settings or (),
        data__path=data,
        train__device=device,
        train__engine=engine,
        train__seed=seed,
        train__steps=steps,
    )
    _begin_to_compile(resolved)
    from makemore_cli.training.observer import Observers
    from makemore_cli.training.progress_display import suitable_display
    from makemore_cli.training.resume import keep_steps
    from makemore_cli.training.trainer import train as run_training

    if resume and steps is None and not any(setting.partition("=")[0] == "train.steps" for setting in settings or ()):
        resolved = keep_steps(resolved, folder)
    observer = suitable_display(quiet=quiet)
    if tensorboard:
        from makemore_cli.training.tensorboard_events import TensorBoardObserver

        observer = Observers(observer, TensorBoardObserver(observer.message))
    summary = run_training(resolved, folder, observer, crosscheck_every=crosscheck, overwrite=overwrite, resume=resume)
    if as_json:
        output.print_json(summary.model_dump(mode="json"))
        return
    output.print_lines(summary.lines())
    if not quiet:
        quoted = shlex.quote(summary.run)
        output.remark(f"More names: makemore sample {quoted}; plots: makemore report {quoted}")


def _begin_to_compile(config: Config) -> None:
    """Start compiling the kernel, if it may be needed, while PyTorch is imported and the data is loaded.

    Compilation continues if the command ends early or finds a GPU, so the next command finds the kernel compiled.
    """
    train = config.train
    if train.engine in ("auto", "kernel") and train.device in ("auto", "cpu") and config.optim.in_kernel and compiles():
        from makemore_cli.backprop.kernel.kernel import begin_to_compile

        begin_to_compile(train.dtype)
