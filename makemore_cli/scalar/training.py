"""Training a network of scalar values, as the lecture does it: forward, zero the gradients, backward, update."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from makemore_cli.errors import MakemoreError
from makemore_cli.scalar.engine import Value
from makemore_cli.scalar.examples import Examples
from makemore_cli.scalar.nn import MLP
from makemore_cli.scalar.operations import DomainError


def squared_error(score: Value, target: float) -> Value:
    return (score - target) ** 2


def logistic(score: Value, target: float) -> Value:
    """Binary cross-entropy: log(1 + exp(−target · score)), written so that the exponent is never positive."""
    margin = target * score
    if margin.data >= 0:
        return (1 + (-margin).exp()).log()
    return (1 + margin.exp()).log() - margin


def hinge(score: Value, target: float) -> Value:
    """Max-margin: zero if the score is on the target's side by at least 1."""
    return (1 - target * score).relu()


LOSSES: dict[str, Callable[[Value, float], Value]] = {"mse": squared_error, "logistic": logistic, "hinge": hinge}


@dataclass(frozen=True)
class Recipe:
    """How to train.

    The learning rate falls linearly from `lr` to `final_lr`. `l2` times the sum of all squared parameters is added
    to the loss. `summed`: the loss is the sum over examples, as in the lecture, not the mean.
    """

    loss: str  # a name in LOSSES
    steps: int
    lr: float
    final_lr: float
    l2: float = 0.0
    summed: bool = False
    zero_grad: bool = True
    batch_size: int | None = None  # None: all examples


@dataclass(frozen=True)
class TrainingStep:
    """One step: the loss and the scores of its examples before the update."""

    step: int
    loss: float
    lr: float
    scores: tuple[float, ...]
    accuracy: float


def train(model: MLP, examples: Examples, recipe: Recipe, draw: random.Random) -> Iterator[TrainingStep]:
    """Train step by step. The last result is that of the trained network; no update follows it.

    `draw` chooses the batches. Raises MakemoreError if the loss is no longer a finite number.
    """
    numbers = range(len(examples.targets))
    for step in range(recipe.steps + 1):
        batch = numbers if recipe.batch_size is None else sorted(draw.sample(numbers, recipe.batch_size))
        lr = recipe.lr + (recipe.final_lr - recipe.lr) * step / max(recipe.steps, 1)
        try:
            loss, scores = loss_of(model, examples, recipe, batch)
        except DomainError as error:
            raise _diverged(step, str(error)) from None
        if not math.isfinite(loss.data):
            raise _diverged(step, f"the loss is {loss.data}")
        found = tuple(score.data for score in scores)
        yield TrainingStep(step, loss.data, lr, found, accuracy(found, [examples.targets[n] for n in batch]))
        if step == recipe.steps:
            return
        if recipe.zero_grad:
            model.zero_grad()
        loss.backward()
        for parameter in model.parameters():
            parameter.data -= lr * parameter.grad


def loss_of(
    model: MLP, examples: Examples, recipe: Recipe, batch: range | list[int] | None = None
) -> tuple[Value, list[Value]]:
    """The loss on some of the examples, or on all, and their scores."""
    chosen = range(len(examples.targets)) if batch is None else batch
    scores = [model([Value(x) for x in examples.inputs[n]]) for n in chosen]
    each = [LOSSES[recipe.loss](score, examples.targets[n]) for n, score in zip(chosen, scores, strict=True)]
    total = sum(each[1:], each[0])
    if not recipe.summed:
        total = total * (1 / len(each))
    if recipe.l2:
        total = total + recipe.l2 * sum((p * p for p in model.parameters()), Value(0.0))
    return total, scores


def accuracy(scores: Sequence[float], targets: Sequence[float]) -> float:
    """The fraction of scores that have their target's sign."""
    return sum((score > 0) == (target > 0) for score, target in zip(scores, targets, strict=True)) / len(scores)


def _diverged(step: int, told: str) -> MakemoreError:
    return MakemoreError(f"step {step}: {told}; try a smaller learning rate", parameters=("lr",))
