"""`makemore gradcheck` and `makemore explain`."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from makemore_cli.cli.app import app
from makemore_cli.cli.options import ConfigOption, DeviceOption, JsonOption, SetOption
from makemore_cli.errors import MakemoreError
from makemore_cli.system import output


@app.command(epilog="Example: makemore gradcheck --of fused --against float64 --set train.batch_size=7")
def gradcheck(
    config: ConfigOption = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", metavar="RUN", help="Check at a trained model's parameters, with its configuration."),
    ] = None,
    of: Annotated[
        str | None,
        typer.Option("--of", metavar="SOURCE", help="Check one source of gradients only, such as atomic or fused."),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="SOURCE",
            help="The witness: autograd (default), functions, float64, finite, complex, or another source.",
        ),
    ] = None,
    user: Annotated[
        Path | None,
        typer.Option(
            "--user",
            metavar="FILE",
            help="Check your own backward pass: a Python file with a function backward(logits, h, …), whose arguments "
            "are names of forward tensors and which returns gradients by name; a script of assignments (dlogits = …); "
            "or a notebook (.ipynb).",
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            "--trials", metavar="N", min=1, help="Check N problems of random sizes instead, and show the worst."
        ),
    ] = None,
    settings: SetOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hold every hand-written gradient against autograd's on one batch. Exit code 1 if one disagrees."""
    from makemore_cli.config import load as configuration

    if run is not None and (config is not None or settings):
        raise MakemoreError("--run: has its own configuration; leave out --config and --set")
    if user is not None and of is not None:
        raise MakemoreError("--user: is what is checked; leave out --of")
    if trials is not None:
        if any(option is not None for option in (config, run, of, against, user, device)) or settings:
            raise MakemoreError("--trials: draws its own problems; leave out the other options")
        _trials(trials, as_json)
        return
    if run is None:
        checkpoint = None
        resolved = configuration.load(configuration.find(config), settings or (), train__device=device)
    else:
        from makemore_cli.runs.checkpoint import load_checkpoint

        checkpoint = load_checkpoint(run)
        resolved = configuration.override(checkpoint.config, train__device=device, train__engine="auto")
    from makemore_cli.training.first_batch_check import check_first_batch

    report = check_first_batch(resolved, checkpoint, of=of, against=against, user=user)
    if as_json:
        output.print_json(report.to_json())
    else:
        from makemore_cli.gradcheck.report import show

        output.print_rich(partial(show, report))
    if not report.ok:
        raise typer.Exit(1)


def _trials(count: int, as_json: bool) -> None:
    from makemore_cli.gradcheck.trials import run_trials

    def progress(done: int) -> None:
        if done % 100 == 0:
            output.remark(f"{done:,} of {count:,} problems")

    trials = run_trials(count, progress=progress)
    if as_json:
        output.print_json(vars(trials))
    else:
        output.print_lines(trials.lines())
    if trials.refused:
        raise typer.Exit(1)


@app.command(epilog="Example: makemore explain logits --numbers && makemore explain batchnorm")
def explain(
    tensor: Annotated[
        str | None,
        typer.Argument(
            metavar="[TENSOR]", help="A tensor of the chain (logits, hprebn, W1, …), cross_entropy or batchnorm."
        ),
    ] = None,
    numbers: Annotated[bool, typer.Option("--numbers", help="With the numbers of a small batch.")] = False,
) -> None:
    """Show how a gradient is made: forward line, backward lines, shapes, rule and why; or the whole chain."""
    from makemore_cli.views.explain import explain as lines

    output.print_lines(lines(tensor, numbers=numbers, width=min(100, shutil.get_terminal_size().columns)))
