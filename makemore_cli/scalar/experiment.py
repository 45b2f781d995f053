"""The two experiments: the lecture's network on four examples, and a network on two moons of points."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from makemore_cli.errors import ParameterError
from makemore_cli.scalar.engine import Value
from makemore_cli.scalar.examples import FOUR, Examples, moons
from makemore_cli.scalar.nn import MLP
from makemore_cli.scalar.training import LOSSES, Recipe, TrainingStep, accuracy, train

MOST_POINTS, MOST_NEURONS = 10_000, 1_000


@dataclass(frozen=True)
class Experiment:
    """A network, the examples to train it on, and the recipe."""

    model: MLP
    examples: Examples
    recipe: Recipe
    draw: random.Random  # has drawn the weights, and draws the batches

    def train(self) -> Iterator[TrainingStep]:
        return train(self.model, self.examples, self.recipe, self.draw)

    @property
    def accuracy(self) -> float:
        """The fraction of all examples whose score has their target's sign."""
        scores = [self.model(inputs).data for inputs in self.examples.inputs]
        return accuracy(scores, self.examples.targets)


def labelled_loss(chosen: Experiment, count: int) -> Value:
    """The loss on the first `count` examples; inputs, parameters, outputs and losses have the labels of `explain`.

    Raises ParameterError if there are not that many examples.
    """
    if not 1 <= count <= len(chosen.examples.targets):
        raise ParameterError("examples", f"must be from 1 to {len(chosen.examples.targets)}, got {count}")
    for number, layer in enumerate(chosen.model.layers, start=1):
        for column, neuron in enumerate(layer.neurons, start=1):
            neuron.b.label = f"b{number}_{column}"
            for row, weight in enumerate(neuron.w, start=1):
                weight.label = f"W{number}_{row}{column}"
    losses = []
    for example in range(count):
        mark = str(example + 1) if count > 1 else ""
        head = f"x{mark}_" if mark else "x"
        inputs = [Value(x, label=f"{head}{place}") for place, x in enumerate(chosen.examples.inputs[example], start=1)]
        score = chosen.model(inputs)
        score.label = f"y{mark}"
        losses.append(LOSSES[chosen.recipe.loss](score, chosen.examples.targets[example]))
        losses[-1].label = f"loss{mark}"
    total = sum(losses[1:], losses[0])
    total.label = "loss"
    return total


@dataclass(frozen=True)
class Defaults:
    """The default settings of an experiment."""

    hidden: tuple[int, ...]
    activation: str
    loss: str
    steps: int
    lr: float
    falls_to: float  # the fraction of the learning rate that is left at the end
    l2: float
    summed: bool
    batch_size: int | None


# FOUR: as in the lecture, with tanh in every layer. MOONS: micrograd's demonstration, except for batches and steps.
FOUR_DEFAULTS = Defaults((4, 4), "tanh", "mse", 20, 0.05, 1.0, 0.0, True, None)
MOONS_DEFAULTS = Defaults((16, 16), "relu", "hinge", 100, 1.0, 0.1, 1e-4, False, 32)

MOONS_SQUARED_LR = 0.3  # a learning rate of 1 is too large for squared errors


def experiment(
    *,
    points: int | None = None,
    hidden: Sequence[int] | None = None,
    activation: str | None = None,
    loss: str | None = None,
    steps: int | None = None,
    lr: float | None = None,
    batch_size: int | None = None,
    zero_grad: bool = True,
    seed: int = 0,
) -> Experiment:
    """Set up an experiment on two moons of `points` points, or on the lecture's four examples if `points` is None.

    With the squared error, the output layer is tanh, since the targets are 1 and −1; otherwise it is linear. If the
    activation is tanh, biases are random, as in the lecture. Raises ParameterError for an invalid value.
    """
    defaults = FOUR_DEFAULTS if points is None else MOONS_DEFAULTS
    if points is not None and not 2 <= points <= MOST_POINTS:
        raise ParameterError("points", f"must be from 2 to {MOST_POINTS:,}, got {points:,}")
    examples = FOUR if points is None else moons(points, seed)
    count = len(examples.targets)
    if batch_size is not None and points is None:
        raise ParameterError("batch_size", f"applies to moons only: the {count} examples are one batch")
    if batch_size is not None and not 1 <= batch_size <= count:
        raise ParameterError("batch_size", f"must be from 1 to {count}, the number of examples, got {batch_size}")
    loss = defaults.loss if loss is None else loss
    if loss not in LOSSES:
        raise ParameterError("loss", f"must be one of {', '.join(LOSSES)}, got {loss}")
    if lr is None:
        lr = MOONS_SQUARED_LR if points is not None and loss == "mse" else defaults.lr
    if not 0 <= lr < float("inf"):
        raise ParameterError("lr", f"must be at least 0 and finite, got {lr:g}")
    hidden = defaults.hidden if hidden is None else hidden
    if not all(1 <= size <= MOST_NEURONS for size in hidden):
        raise ParameterError("hidden", f"must be numbers from 1 to {MOST_NEURONS:,}, got {', '.join(map(str, hidden))}")
    activation = defaults.activation if activation is None else activation
    draw = random.Random(seed)
    model = MLP(
        len(examples.inputs[0]),
        [*hidden, 1],
        activation=activation,
        output="tanh" if loss == "mse" else "linear",
        random_bias=activation == "tanh",
        draw=draw.uniform,
    )
    smaller = None if defaults.batch_size is None or defaults.batch_size >= count else defaults.batch_size
    recipe = Recipe(
        loss,
        steps=defaults.steps if steps is None else steps,
        lr=lr,
        final_lr=lr * defaults.falls_to,
        l2=defaults.l2,
        summed=defaults.summed,
        zero_grad=zero_grad,
        batch_size=smaller if batch_size is None else batch_size,
    )
    return Experiment(model, examples, recipe, draw)
