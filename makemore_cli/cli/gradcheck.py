"""`makemore gradcheck` and `makemore explain`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from makemore_cli.cli import completion
from makemore_cli.cli.app import app
from makemore_cli.cli.options import ConfigOption, DeviceOption, JsonOption, SetOption
from makemore_cli.errors import MakemoreError, ParameterError
from makemore_cli.system import output

if TYPE_CHECKING:
    from makemore_cli.checks.findings import Report
    from makemore_cli.checks.trials import Problems

PROGRESS_SECONDS = 5.0  # between two lines of progress
SLOW = "scalar"  # a source that takes half a minute
OWN = "Your own network"  # the options' heading


@app.command(epilog="Example: makemore gradcheck --of fused --against float64 --set train.batch_size=7")
def gradcheck(
    config: ConfigOption = None,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            metavar="RUN",
            autocompletion=completion.runs,
            help="Check at the parameters of a trained model, with its configuration.",
        ),
    ] = None,
    of: Annotated[
        str | None,
        typer.Option(
            "--of",
            metavar="SOURCE",
            help="Check one source of gradients only, such as atomic, fused or kernel. Default: all.",
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="SOURCE",
            help="Witness to check against: autograd (default), functions, float64, finite, complex, scalar, or "
            "another source.",
        ),
    ] = None,
    user: Annotated[
        Path | None,
        typer.Option(
            "--user",
            metavar="FILE",
            help="Check your own backward pass of this network. FILE is a Python file with a function backward(logits, "
            "h, …) that takes forward tensors by name and returns gradients by name, a script of assignments (dlogits "
            "= …), or a notebook (.ipynb).",
        ),
    ] = None,
    chain: Annotated[
        str | None,
        typer.Option(
            "--chain",
            metavar="FILE",
            help="Check your own network line by line. FILE is a Python file with a chain of steps, a "
            "torch.autograd.Function, or functions forward and backward; or the name of a bundled chain, such as "
            "linear (an unknown name lists them). Sources for --of and --against: atomic, autograd, float64, finite, "
            "complex, scalar.",
            rich_help_panel=OWN,
        ),
    ] = None,
    chain_template: Annotated[
        bool,
        typer.Option("--chain-template", help="Print a commented chain file to start from.", rich_help_panel=OWN),
    ] = False,
    sizes: Annotated[
        list[str] | None,
        typer.Option(
            "--size",
            metavar="NAME=NUMBER",
            help="Set a size of the chain, such as n=8. Repeatable. Default: small numbers.",
            rich_help_panel=OWN,
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            metavar="N",
            min=0,
            max=2**32 - 1,
            show_default=False,
            help="Random seed for the chain's inputs. Default: 0. Any other seed also draws random sizes.",
            rich_help_panel=OWN,
        ),
    ] = 0,
    dtype: Annotated[
        str,
        typer.Option(
            "--dtype",
            metavar="DTYPE",
            show_default=False,
            help="Precision of the chain: float32 (default) or float64.",
            rich_help_panel=OWN,
        ),
    ] = "float32",
    trials: Annotated[
        int | None,
        typer.Option(
            "--trials",
            metavar="N",
            min=1,
            help="Check N random problems instead of one, and show the largest differences.",
        ),
    ] = None,
    settings: SetOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check every hand-written gradient against autograd on one batch. The exit code is 1 if any disagrees."""
    from makemore_cli.config import load as configuration

    if chain_template:
        from makemore_cli.cli.chain_template import TEMPLATE

        output.print_lines(TEMPLATE.splitlines())
        return
    if chain is not None:
        if any(option is not None for option in (config, run, user, device)) or settings:
            raise MakemoreError("--chain: a chain has its own inputs; omit --config, --run, --user, --device and --set")
        if trials is not None and (of is not None or against is not None):
            raise MakemoreError("--trials: checks all sources; omit --of and --against")
        _chain(chain, _sizes(sizes or ()), seed, dtype, trials, as_json, of=of, against=against)
        return
    if SLOW in (of, against):
        output.remark("scalar: computes one number at a time; this may take half a minute")
    if sizes or seed or dtype != "float32":
        raise MakemoreError("--size, --seed and --dtype: apply to a chain only; add --chain")
    if run is not None and (config is not None or settings):
        raise MakemoreError("--run: a run has its own configuration; omit --config and --set")
    if user is not None and of is not None:
        raise MakemoreError("--user: FILE is what is checked; omit --of")
    if trials is not None:
        if any(option is not None for option in (config, run, of, against, user, device)) or settings:
            raise MakemoreError(
                "--trials: draws its own problems; omit --config, --run, --of, --against, --user, --device and --set"
            )
        _trials(trials, as_json)
        return
    if run is None:
        checkpoint = None
        resolved = configuration.load(configuration.find(config), settings or (), train__device=device)
    else:
        from makemore_cli.runs.checkpoint import load_checkpoint

        checkpoint = load_checkpoint(run)
        resolved = configuration.override(checkpoint.config, train__device=device, train__engine="auto")
    from makemore_cli.checks.check import check_batch
    from makemore_cli.checks.network import NAMES
    from makemore_cli.checks.user import UserPass
    from makemore_cli.training.first_batch import first_batch

    own = None if user is None else UserPass(user, NAMES)
    problem, remarks = first_batch(resolved, checkpoint)
    report = check_batch(problem, of, against, own)
    report.remarks.extend(remarks)
    _show(report, as_json)


def _show(report: Report, as_json: bool) -> None:
    if as_json:
        output.print_json(report.to_json())
    else:
        from makemore_cli.checks.report import show

        output.print_rich(partial(show, report))
    if not report.ok:
        raise typer.Exit(1)


def _chain(
    name: str,
    sizes: dict[str, int],
    seed: int,
    dtype: str,
    trials: int | None,
    as_json: bool,
    *,
    of: str | None,
    against: str | None,
) -> None:
    from makemore_cli.checks.check_chain import check, find
    from makemore_cli.checks.trials import chain_problems

    subject = find(name)
    if trials is None:
        _show(check(subject, dtype, seed, sizes, of=of, against=against), as_json)
    else:
        _trials(trials, as_json, chain_problems(subject, sizes), seed)


def _sizes(given: Sequence[str]) -> dict[str, int]:
    """Parse sizes, written as n=8."""
    from makemore_cli.backprop.inputs import LARGEST_SIZE

    sizes = {}
    for text in given:
        name, _, number = text.partition("=")
        if not (name.isidentifier() and number.isascii() and number.isdigit() and 0 < int(number) <= LARGEST_SIZE):
            raise MakemoreError(
                f"--size {text}: must be a size and a whole number from 1 to {LARGEST_SIZE:,}, such as n=8"
            )
        sizes[name] = int(number)
    return sizes


def _trials(count: int, as_json: bool, problems: Problems | None = None, seed: int = 0) -> None:
    from makemore_cli.checks.trials import network_problems, run_trials

    told = time.monotonic()

    def progress(done: int) -> None:
        nonlocal told
        if time.monotonic() - told > PROGRESS_SECONDS:
            told = time.monotonic()
            output.remark(f"checked {done:,} of {count:,} problems")

    trials = run_trials(count, seed, progress, problems or network_problems)
    if as_json:
        output.print_json(vars(trials))
    else:
        output.print_lines(trials.lines())
    if trials.refused:
        raise typer.Exit(1)


@app.command(epilog="Example: makemore explain logits --numbers && makemore explain linear --entries")
def explain(
    tensor: Annotated[
        str | None,
        typer.Argument(
            metavar="[TENSOR]",
            help="A tensor of the network (logits, hprebn, W1, …), a derivation (cross_entropy, batchnorm, "
            "label_smoothing, shared_batchnorm), or a bundled chain (linear, softmax_cases, …). Default: the whole "
            "chain.",
        ),
    ] = None,
    chain: Annotated[
        str | None,
        typer.Option(
            "--chain",
            metavar="FILE",
            help="Explain your own chain, or one of its tensors: a file as for `gradcheck --chain`, or the name of a "
            "bundled chain.",
        ),
    ] = None,
    numbers: Annotated[
        bool, typer.Option("--numbers", help="Show the numbers for a small batch, or for the chain's examples.")
    ] = False,
    entries: Annotated[
        bool, typer.Option("--entries", help="Write each line out entry by entry, in symbols and in numbers.")
    ] = False,
    distributed: Annotated[
        bool,
        typer.Option(
            "--distributed",
            help="With batchnorm: explain what processes that share a batch exchange (shared_batchnorm).",
        ),
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="FILE",
            help="Write an interactive page to FILE, and print its path: step through the chain, see every number, and "
            "break its lines.",
        ),
    ] = None,
) -> None:
    """Explain a gradient: its forward line, backward lines, shapes, rule and reason; or the whole chain."""
    from makemore_cli.views import explain as explanations

    if distributed:
        if tensor != "batchnorm" or chain is not None:
            raise ParameterError("distributed", "explains batchnorm only: makemore explain batchnorm --distributed")
        tensor = explanations.SHARED
    subject = None if chain is None else explanations.find(chain)
    if html is not None:
        if numbers or entries or distributed:
            raise ParameterError("html", "shows all numbers; omit --numbers, --entries and --distributed")
        from makemore_cli.views.page.explain_page import write_explain_page

        write_explain_page(html, tensor, subject)
        output.print_lines([str(html)])
        return
    width = min(100, shutil.get_terminal_size().columns)
    output.print_lines(explanations.explain(tensor, subject, numbers=numbers, entries=entries, width=width))
