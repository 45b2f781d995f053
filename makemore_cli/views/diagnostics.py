"""Diagnostics of a trained network, with verdicts: saturation, dead neurons, ratios, gradient norms, overfitting.

They are computed on one batch by the chain of steps, which holds every tensor and its gradient.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from rich.console import Console
from rich.text import Text
from torch import Tensor

from makemore_cli.backprop.stable import StableRun, run_chain
from makemore_cli.backprop.step import Values
from makemore_cli.inference import evaluate
from makemore_cli.names import dataset as data
from makemore_cli.names.dataset import Dataset
from makemore_cli.names.vocabulary import END, Vocabulary
from makemore_cli.network.model import Model
from makemore_cli.network.parameters import Parameters
from makemore_cli.runs.checkpoint import Checkpoint, load_checkpoint, training_names
from makemore_cli.system.console import plain_table
from makemore_cli.training.engines import TensorEngine
from makemore_cli.training.optimisers import Optimiser
from makemore_cli.training.schedules import learning_rates
from makemore_cli.training.step_statistics import SATURATED, diagnose

LOOK_EXAMPLES = 1000  # in the batch
LARGEST_TENSOR_NUMBERS = 1 << 26  # in the widest tensor of the batch
# Nats per character. A network overfits if its validation loss exceeds its training loss by more than this.
MEMORISED_NATS = 0.3
LAYERS = ("embcat", "hprebn", "hpreact", "h", "logits")  # in forward order


@dataclass(frozen=True)
class Look:
    """A trained network on one batch: every tensor of the chain up to the logits, and the gradient of each."""

    checkpoint: Checkpoint
    dataset: Dataset
    X: Int[Tensor, "n context"]
    Y: Int[Tensor, " n"]

    @property
    def remarks(self) -> list[str]:
        """A remark if the data has changed since the network was trained."""
        return [] if self.dataset.sha256 == self.checkpoint.data_sha256 else [data.changed(self.dataset.path)]

    @property
    def model(self) -> Model:
        return self.checkpoint.model

    @cached_property
    def parameters(self) -> Parameters:
        return Parameters.from_arrays(self.model.sizes, self.model.parameters)

    @cached_property
    def chain(self) -> StableRun:
        """The forward and backward pass. Batchnorm uses the batch's own statistics, as in training."""
        return run_chain(self.parameters, self.X, self.Y, self.model.epsilon, self.smoothing)

    @property
    def smoothing(self) -> float:
        """The label smoothing used in training."""
        return self.checkpoint.config.train.label_smoothing

    @property
    def values(self) -> Values:
        """The tensors of the forward pass, up to the logits."""
        return self.chain.values

    @property
    def gradients(self) -> Mapping[str, Tensor]:
        """The gradient of each, by the tensor's name."""
        return self.chain.gradients

    @cached_property
    def saturated(self) -> Tensor:
        """Whether each output of tanh (n, H) is beyond ±0.97, where almost no gradient passes through."""
        h: Tensor = self.values["h"]
        return h.abs() > SATURATED

    @property
    def dead(self) -> Tensor:
        """Whether each neuron (H,) is saturated on every example, so that it no longer learns."""
        return self.saturated.all(0)

    def rows(self) -> list[str]:
        return [row_label(self.checkpoint.vocabulary, x, int(y)) for x, y in zip(self.X, self.Y, strict=True)]


def row_label(vocabulary: Vocabulary, context: Tensor, letter: int) -> str:
    """A label for an example, such as `..em → m`."""
    signs = END + vocabulary.letters
    return f"{''.join(signs[token] for token in context.tolist())} → {signs[letter]}"


def look(checkpoint: Checkpoint, dataset: Dataset, examples: int = LOOK_EXAMPLES) -> Look:
    """Look at a network on `examples` examples of the training split, drawn without replacement.

    There are fewer if the split is smaller, or if the network is so wide that they would fill the memory.
    """
    s, split = checkpoint.model.sizes, dataset.train
    widest = max(s.context * s.embedding, s.hidden, s.vocabulary)
    count = min(examples, len(split), max(2, LARGEST_TENSOR_NUMBERS // widest))
    chosen = np.random.default_rng(checkpoint.config.train.seed).choice(len(split), count, replace=False)
    X, Y = split.examples(chosen)
    return Look(checkpoint, dataset, torch.from_numpy(X.astype(np.int64)), torch.from_numpy(Y.astype(np.int64)))


def look_at_run(run: Path) -> Look:
    """Look at a run's network on its own data. Raises MakemoreError if the data or the checkpoint can't be read."""
    checkpoint = load_checkpoint(run)
    return look(checkpoint, load_data(checkpoint))


def load_data(checkpoint: Checkpoint) -> Dataset:
    """The data that a network was trained on. Raises MakemoreError."""
    config = checkpoint.config
    return data.load(config.data, config.model.context_length, checkpoint.vocabulary)


def next_step(seen: Look) -> dict[str, Any]:
    """The effect of one more training step (see `diagnose`), at the learning rate of the last one.

    Its batch has the training's batch size, and is drawn from the examples in `seen`.
    """
    config, before, training = seen.checkpoint.config, seen.parameters, seen.checkpoint.training
    optimiser = Optimiser(config.optim, config.train.steps, before.flat)
    last = max(0, seen.checkpoint.step - 1)
    whole = set(training_names(config)) <= set(training)
    if whole:
        before = Parameters(before.sizes, optimiser.resume(before.flat, training, seen.checkpoint.step))
    rng = np.random.default_rng(config.train.seed)
    index = torch.from_numpy(rng.integers(0, len(seen.X), config.train.batch_size))
    X, Y = seen.X[index], seen.Y[index]
    after = before.to()
    lr = learning_rates(config.optim, last, 1, config.train.steps)
    engine = TensorEngine(after, None, seen.model.epsilon, optimiser, seen.smoothing)
    engine.run(X[None], Y[None], lr, last if whole else 0)
    return diagnose(before, after, X, Y, seen.model.epsilon, seen.smoothing) | {"lr": lr[0]}


@dataclass(frozen=True)
class Verdict:
    """The verdict on one property of a network."""

    what: str
    fine: bool
    text: str  # a sentence, with the figure


def inspect(seen: Look) -> dict[str, Any]:
    """All numbers and verdicts, as plain values."""
    n = len(seen.X)
    values, gradients, after = seen.values, seen.gradients, next_step(seen)
    dead = torch.nonzero(seen.dead)[:, 0].tolist()
    numbers = {
        "step": seen.checkpoint.step,
        "examples": n,
        "loss": float(seen.chain.loss),
        "losses": {split: evaluate.loss(seen.model, seen.dataset.splits[split]) for split in ("train", "val")},
        "saturated": float(seen.saturated.double().mean()),
        "dead": dead,
        "activations": {name: _distribution(values[name]) for name in LAYERS},
        "gradients": {name: _distribution(gradients[name]) for name in LAYERS},
        "grad_norm": {name: float(gradient.double().norm()) for name, gradient in gradients.items()},
        "lr": after["lr"],
        "grad_data": after["grad_data"],
        "update_data": after["update_data"],
    }
    numbers["verdicts"] = [vars(verdict) for verdict in _verdicts(seen, numbers)]
    return numbers


def _distribution(tensor: Tensor) -> dict[str, float]:
    double = tensor.double()
    return {
        "mean": float(double.mean()),
        "std": float(double.std(correction=0)),
        "min": float(double.min()),
        "max": float(double.max()),
    }


def _verdicts(seen: Look, numbers: Mapping[str, Any]) -> list[Verdict]:
    n, H = seen.saturated.shape
    V = seen.model.sizes.vocabulary
    dead, share, loss = len(numbers["dead"]), numbers["saturated"], numbers["loss"]
    verdicts = [
        Verdict(
            "loss",
            loss < math.log(V),
            f"the loss on {n:,} training examples is {loss:.4f} nats per character; uniform guessing among {V:,} "
            f"characters has a loss of {math.log(V):.4f}",
        ),
        _generalisation(numbers["losses"], V),
        Verdict("dead", dead == 0, f"{dead:,} of {H:,} neurons {_are(dead)} dead (saturated on all {n:,} examples)"),
        Verdict(
            "saturated",
            share < 0.5,
            f"{share:.1%} of the outputs of tanh are saturated (beyond ±{SATURATED})"
            + ("" if share < 0.5 else ": almost no gradient passes through these"),
        ),
    ]
    ended = numbers["lr"] < 0.01 * seen.checkpoint.config.optim.lr
    for name, ratio in numbers["update_data"].items():
        verdicts.append(_update_verdict(name, ratio, ended))
    through = [numbers["grad_norm"][name] for name in LAYERS]
    most, least = max(through), min(through)
    even = least > 0 and most / least < 1000
    verdicts.append(
        Verdict(
            "gradients",
            even,
            f"from the logits back to the embedding, gradient norms are between {least:.2g} and {most:.2g}"
            + (": they neither vanish nor explode" if even else ": they vanish or explode"),
        )
    )
    return verdicts


def show(numbers: Mapping[str, Any], console: Console) -> None:
    for verdict in numbers["verdicts"]:
        mark = ("fine ", "green") if verdict["fine"] else ("check", "bold red")
        lines = textwrap.wrap(verdict["text"], max(20, console.width - 7))
        console.print(Text.assemble(mark, "  ", "\n       ".join(lines)), soft_wrap=True)
    table = plain_table()
    table.add_column("layer")
    for name in ("mean", "std", "min", "max", "gradient norm"):
        table.add_column(name, justify="right")
    for name, found in numbers["activations"].items():
        row = [found["mean"], found["std"], found["min"], found["max"], numbers["grad_norm"][name]]
        table.add_row(name, *(f"{number:.3g}" for number in row))
    console.print(table)


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _generalisation(losses: Mapping[str, float], V: int) -> Verdict:
    train, val = losses["train"], losses["val"]
    fine = val < min(train + MEMORISED_NATS, math.log(V))
    text = f"the loss is {train:.4f} on the training split and {val:.4f} on the validation split"
    return Verdict("generalisation", fine, text + ("" if fine else ": the network overfits, or has learned nothing"))


def _update_verdict(name: str, ratio: float | None, ended: bool) -> Verdict:
    """The verdict on one parameter's ratio. `ended`: the schedule has lowered the learning rate to almost zero."""
    what = f"update_data.{name}"
    if ratio is None:
        return Verdict(what, True, f"{name}: all its values are equal, so it has no update-to-parameter ratio")
    if name == "b1":
        return Verdict(
            what, True, "b1: its gradient is zero up to rounding, since batchnorm subtracts b1 with the mean"
        )
    if ratio == 0:
        return Verdict(what, ended, f"{name}: the next step would not change it")
    power = math.log10(ratio)
    told = f"{name}: the update-to-parameter ratio is 10^{power:.1f}"
    if power > -2:
        return Verdict(what, False, f"{told} (about 10^-3 is healthy): the learning rate may be too large")
    if power < -5 and not ended:
        return Verdict(what, False, f"{told} (about 10^-3 is healthy): the parameter hardly changes")
    return Verdict(what, True, f"{told}" + (", a small step, as usual at the end of training" if power < -3.5 else ""))
