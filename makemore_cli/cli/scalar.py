"""`makemore scalar train`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from makemore_cli.cli.app import app
from makemore_cli.cli.command import App
from makemore_cli.cli.options import JsonOption
from makemore_cli.errors import MakemoreError, ParameterError
from makemore_cli.system import output

if TYPE_CHECKING:
    from makemore_cli.scalar.experiment import Experiment
    from makemore_cli.scalar.training import TrainingStep

scalar_app = App(
    help="Train networks of scalar values, as in the micrograd lecture.",
    epilog="Example: makemore scalar train --moons",
)
app.add_typer(scalar_app, name="scalar")

MOONS = 100  # points
LARGEST_PLAIN = 100.0  # a score in fixed-point notation
COLUMNS, ROWS = 64, 24  # of the plane as text


@scalar_app.command(
    "train", epilog="Example: makemore scalar train --lr 0.01 && makemore scalar train --moons --plot moons.png"
)
def scalar_train(
    moons: Annotated[
        bool,
        typer.Option("--moons", help="Train on two half circles of points instead of the lecture's four examples."),
    ] = False,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            metavar="N",
            min=0,
            show_default=False,
            help="Number of training steps. Default: 20; with --moons, 100.",
        ),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(
            "--lr",
            metavar="RATE",
            show_default=False,
            help="Learning rate. Default: 0.05; with --moons, 1 (0.3 for mse), decaying to a tenth.",
        ),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            "--loss",
            metavar="LOSS",
            show_default=False,
            help="Loss: mse (squared error, default), logistic (cross-entropy) or hinge (max-margin, default with "
            "--moons). It is the sum over the four examples, or the mean over the points of --moons.",
        ),
    ] = None,
    no_zero_grad: Annotated[
        bool,
        typer.Option("--no-zero-grad", help="Do not reset the gradients to zero before each step: a common mistake."),
    ] = False,
    hidden: Annotated[
        str | None,
        typer.Option(
            "--hidden",
            metavar="N,N",
            show_default=False,
            help="Neurons in each hidden layer. Default: 4,4; with --moons, 16,16.",
        ),
    ] = None,
    activation: Annotated[
        str | None,
        typer.Option(
            "--activation",
            metavar="NAME",
            show_default=False,
            help="Activation of the hidden layers: tanh (default), relu (default with --moons), sigmoid or linear. The "
            "output layer is tanh with mse, and linear otherwise.",
        ),
    ] = None,
    points: Annotated[
        int | None,
        typer.Option(
            "--points", metavar="N", show_default=False, help="Number of points. Default: 100. Needs --moons."
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size",
            metavar="N",
            show_default=False,
            help="Examples per training step. Default: all; with --moons, 32.",
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
            help="Random seed for weights, points and batches. Default: 0.",
        ),
    ] = 0,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="FILE",
            help="Plot the loss, and the decision boundary or the predictions, as .png or .svg.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train a small network of scalar values, and print the loss and the predictions at each step."""
    from makemore_cli.scalar.experiment import experiment

    if points is not None and not moons:
        raise MakemoreError("--points: applies to --moons only; add it")
    chosen = experiment(
        points=(MOONS if points is None else points) if moons else None,
        hidden=_layers(hidden),
        activation=activation,
        loss=loss,
        steps=steps,
        lr=lr,
        batch_size=batch_size,
        zero_grad=not no_zero_grad,
        seed=seed,
    )
    if plot is not None:
        from makemore_cli.views.plots.style import check_picture

        check_picture(plot, "plot")
    about = f"{len(chosen.model.parameters())} parameters, {len(chosen.examples.targets)} examples"
    if as_json:
        done = list(chosen.train())
        accuracy = chosen.accuracy
        output.print_json(
            {
                "parameters": len(chosen.model.parameters()),
                "examples": len(chosen.examples.targets),
                "steps": [vars(one) for one in done],
                "accuracy": accuracy,
            }
        )
    else:
        done = []
        output.print_lines([about, _head(moons)])
        output.print_lines(_rows(chosen.train(), done, moons))
        output.print_lines(_end(chosen, moons))
    if plot is not None:
        from makemore_cli.views.plots.scalar_training import ScalarTrainingPicture
        from makemore_cli.views.plots.style import save_as

        save_as(ScalarTrainingPicture(chosen.model, chosen.examples, done, chosen.accuracy, about), plot, "plot")
        output.remark(f"wrote {plot}")


def _layers(hidden: str | None) -> list[int] | None:
    if hidden is None:
        return None
    sizes = [part.strip() for part in hidden.split(",")] if hidden.strip() else []
    if not all(size.isascii() and size.isdigit() and len(size) < 10 for size in sizes):
        raise ParameterError("hidden", f"must be whole numbers separated by commas, such as 16,16, got {hidden}")
    return [int(size) for size in sizes]


def _head(moons: bool) -> str:
    return (
        f"{'step':>5} {'loss':>12}  {'learning rate':>13} {'accuracy':>9}"
        if moons
        else f"{'step':>5} {'loss':>12}  predictions"
    )


def _rows(steps: Iterator[TrainingStep], done: list[TrainingStep], moons: bool) -> Iterator[str]:
    """A line for each step, as it comes; the steps are kept in `done`."""
    for one in steps:
        done.append(one)
        if moons:
            yield f"{one.step:>5} {one.loss:>12.6g}  {one.lr:>13.3g} {one.accuracy:>9.1%}"
        else:
            yield f"{one.step:>5} {one.loss:>12.6g}  {' '.join(map(_score, one.scores))}"


def _score(score: float) -> str:
    return f"{score:>8.4f}" if abs(score) < LARGEST_PLAIN else f"{score:>8.1e}"


def _end(chosen: Experiment, moons: bool) -> list[str]:
    if not moons:
        return [f"{'':>5} {'targets':>12}  {' '.join(f'{target:>8.4f}' for target in chosen.examples.targets)}"]
    from makemore_cli.views.plots.scalar_training import sides

    legend = "░ marks a positive score; + and − are the points, ! a misclassified point"
    return [
        "",
        *sides(chosen.model, chosen.examples, COLUMNS, ROWS),
        legend,
        f"accuracy over all points: {chosen.accuracy:.1%}",
    ]
