"""The training of a scalar network: its loss, and its decision boundary or predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from makemore_cli.scalar.examples import Examples
from makemore_cli.scalar.nn import MLP
from makemore_cli.scalar.training import TrainingStep
from makemore_cli.views.plots.style import BLUE, GREY, ORANGE, Picture

ACTIVATIONS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "relu": lambda a: np.maximum(a, 0.0),
    "tanh": np.tanh,
    "sigmoid": lambda a: 0.5 * (1 + np.tanh(a / 2)),
    "linear": lambda a: a,
}
MARGIN = 0.5  # around the points
GRID = 200  # points along each side


def scores(model: MLP, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """A network's output on many points, one per row, computed with matrices for speed."""
    for layer in model.layers:
        weights = np.array([[w.data for w in neuron.w] for neuron in layer.neurons])
        biases = np.array([neuron.b.data for neuron in layer.neurons])
        points = ACTIVATIONS[layer.neurons[0].activation](points @ weights.T + biases)
    return points


def plane(examples: Examples, columns: int, rows: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The coordinates of an even grid around two-dimensional examples."""
    points = np.array(examples.inputs)
    low, high = points.min(0) - MARGIN, points.max(0) + MARGIN
    return np.linspace(low[0], high[0], columns), np.linspace(low[1], high[1], rows)


def sides(model: MLP, examples: Examples, columns: int, rows: int) -> list[str]:
    """The plane as text: ░ where the score is positive; examples are + and −, or ! if misclassified."""
    x, y = plane(examples, columns, rows)
    grid = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    text = np.where(scores(model, grid)[:, 0].reshape(rows, columns) > 0, "░", " ")
    found = scores(model, np.array(examples.inputs))[:, 0]
    for point, target, score in zip(examples.inputs, examples.targets, found, strict=True):
        row, column = int(np.abs(y - point[1]).argmin()), int(np.abs(x - point[0]).argmin())
        text[row, column] = ("+" if target > 0 else "−") if (score > 0) == (target > 0) else "!"
    return ["".join(line).rstrip() for line in text[::-1]]


class ScalarTrainingPicture(Picture):
    """On the left the decision boundary of two inputs, or the predictions of a few examples; on the right the loss."""

    size = (9.0, 4.2)

    def __init__(self, model: MLP, examples: Examples, steps: Sequence[TrainingStep], accuracy: float, of: str) -> None:
        """`accuracy` is over all examples; the accuracies in `steps` are over their batches."""
        self.model, self.examples, self.steps, self.accuracy, self.of = model, examples, steps, accuracy, of

    @property
    def title(self) -> str:
        return f"After {self.steps[-1].step} steps, {self.accuracy:.0%} of the examples are classified correctly"

    def draw(self, figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        if len(self.examples.inputs[0]) == 2:
            self._boundary(left)
        else:
            self._predictions(left)
        losses = [one.loss for one in self.steps]
        right.plot([one.step for one in self.steps], losses, color=BLUE)
        if min(losses) > 0:
            right.set_yscale("log")
            right.yaxis.set_major_formatter(lambda number, _: f"{number:g}")
            right.yaxis.set_minor_formatter(lambda number, _: "")
        right.set_title(f"Loss of each step's batch; final: {losses[-1]:.4g}")
        _count_steps(right)

    def _boundary(self, axes: Axes) -> None:
        x, y = plane(self.examples, GRID, GRID)
        score = scores(self.model, np.stack(np.meshgrid(x, y), -1).reshape(-1, 2))[:, 0].reshape(GRID, GRID)
        limit = max(float(np.abs(score).max()), 1e-9)
        axes.pcolormesh(x, y, score, cmap="PuOr_r", vmin=-limit, vmax=limit, alpha=0.6, rasterized=True)
        if score.min() < 0 < score.max():
            axes.contour(x, y, score, levels=[0.0], colors="black", linewidths=1.2)
        for target, colour, marker in ((1.0, ORANGE, "o"), (-1.0, BLUE, "^")):
            points = np.array(
                [p for p, t in zip(self.examples.inputs, self.examples.targets, strict=True) if t == target]
            )
            if len(points):
                axes.scatter(points[:, 0], points[:, 1], 22, colour, marker=marker, edgecolors="white", linewidths=0.6)
        axes.set_title("Decision boundary")
        axes.set_aspect("equal")

    def _predictions(self, axes: Axes) -> None:
        for place, target in enumerate(self.examples.targets):
            shown = [one.scores[place] for one in self.steps]
            axes.plot([one.step for one in self.steps], shown, color=ORANGE if target > 0 else BLUE)
        for target in sorted(set(self.examples.targets)):
            axes.axhline(target, color=GREY, linestyle="--", linewidth=0.8)
        axes.set_title("Predictions and targets (dashed)")
        _count_steps(axes)


def _count_steps(axes: Axes) -> None:
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
