"""`makemore plot`, `report`, `play`, `inspect` and `eval`: views of a trained run."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from makemore_cli.cli import completion
from makemore_cli.cli.app import app
from makemore_cli.cli.options import DataOption, JsonOption, RunArgument
from makemore_cli.system import output


@app.command(epilog="Example: makemore plot runs/quickstart --what loss,embedding,next-letter --format svg")
def plot(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            autocompletion=completion.runs,
            help="A run folder, or a checkpoint file. Several runs: their losses in one plot.",
        ),
    ],
    what: Annotated[
        str | None,
        typer.Option(
            "--what",
            metavar="NAME,NAME",
            help="Plots to draw, such as loss,embedding. Default: all. An unknown name lists them.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Output folder. Default: plots/ in the run folder; for several runs, the current folder.",
        ),
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            autocompletion=completion.choices("png", "svg"),
            help="File format: png or svg.",
        ),
    ] = "png",
) -> None:
    """Draw plots of a run, and print their paths."""
    from makemore_cli.views.plots.gallery import plot as draw

    plots = draw(runs, what, out, format)
    output.print_lines(str(path) for path in plots)
    for remark in plots.remarks():
        output.remark(remark)


@app.command(epilog="Example: makemore report runs/quickstart --out quickstart.html")
def report(
    run: RunArgument,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Output file. Default: report.html in the run folder.")
    ] = None,
) -> None:
    """Write a report on a run, with all plots and figures, as one HTML file, and print its path."""
    from makemore_cli.views.report import write_report

    path, remarks = write_report(run, out)
    output.print_lines([str(path)])
    for remark in remarks:
        output.remark(remark)


@app.command(epilog="Example: makemore play runs/quickstart --out quickstart.html")
def play(
    run: RunArgument,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Output file. Default: play.html in the run folder.")
    ] = None,
) -> None:
    """Write an interactive page for a run, to explore its network and train it in the browser; print its path."""
    from makemore_cli.views.page.play_page import write_play_page

    path, remarks = write_play_page(run, out)
    output.print_lines([str(path)])
    for remark in remarks:
        output.remark(remark)


@app.command(epilog="Example: makemore inspect runs/quickstart --json")
def inspect(run: RunArgument, as_json: JsonOption = False) -> None:
    """Diagnose a trained network: dead neurons, saturation, update-to-parameter ratios, gradient norms, overfitting."""
    from makemore_cli.views.diagnostics import inspect as inspect_network
    from makemore_cli.views.diagnostics import look_at_run, show

    seen = look_at_run(run)
    for remark in seen.remarks:
        output.remark(remark)
    numbers = inspect_network(seen)
    if as_json:
        output.print_json(numbers)
    else:
        output.print_rich(partial(show, numbers), width=160)


@app.command("eval", epilog="Example: makemore eval runs/quickstart --json")
def evaluate(run: RunArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Evaluate a model on its own data, or on another file of names that is split the same way."""
    from makemore_cli.inference.evaluate import evaluate_checkpoint
    from makemore_cli.runs.checkpoint import load_checkpoint

    evaluation = evaluate_checkpoint(load_checkpoint(run), data)
    for remark in evaluation.remarks:
        output.remark(remark)
    loss, examples = evaluation.loss, evaluation.examples
    if as_json:
        output.print_json({"run": str(run), "data": str(evaluation.data), "examples": examples, "loss": loss})
    else:
        output.print_lines(f"{name + ' loss':<12}{loss[name]:.4f} over {examples[name]:,} examples" for name in loss)
