"""Training failures: numbers that are not finite, and networks that do not learn."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from makemore_cli.backprop.atomic import network_up_to
from makemore_cli.backprop.stable import StableRun, run_chain
from makemore_cli.errors import MakemoreError
from makemore_cli.names.vocabulary import END, Vocabulary
from makemore_cli.network.parameters import Parameters
from makemore_cli.training.chunk import Chunk, TrainedChunk, run
from makemore_cli.training.engines import Engine
from makemore_cli.training.step_statistics import saturated

MOSTLY_SATURATED = 0.99  # fraction of tanh's outputs above which a network can hardly learn
LEAST_CHANGE = 0.01  # fraction of the first loss: a network whose loss falls by less is not learning


@dataclass(frozen=True)
class Failure:
    """The first training step with a loss or a result that is not finite."""

    step: int  # the run's first step is 1
    loss: float  # before the step's update, in nats per character
    text: str  # names the first tensor that is not finite, and says what is wrong with it


def find_failure(engine: Engine, trained: TrainedChunk, vocabulary: Vocabulary) -> Failure:
    """Train a chunk again, step by step, and examine the first step that fails."""
    engine.restore(trained.state_before)
    chunk = trained.chunk
    for start in range(chunk.start, chunk.stop):
        here = chunk.part(start, start + 1)
        p = engine.parameters.to(device="cpu")
        loss = float(run(engine, here)[0])
        if not (math.isfinite(loss) and engine.is_finite()):
            break
    chain = run_chain(p, here.X[0].cpu(), here.Y[0].cpu(), engine.eps, engine.smoothing)
    text = _first_of_the_chain(chain, p, vocabulary) or _after_the_update(chain, engine, here.learning_rates[0])
    return Failure(here.stop, loss, text)


def diverged(fact: str, lr: float, saved_step: int | None) -> MakemoreError:
    """The error for numbers that are no longer finite, given the learning rate and the last saved step."""
    saved = "there is no checkpoint yet"
    if saved_step is not None:
        saved = f"the last good checkpoint is from step {saved_step:,}"
    advice = f"try a smaller learning rate (it is {lr:g}) in a new run"
    return MakemoreError(f"{fact}; {advice}; {saved}", parameters=("overwrite", "folder"))


def not_learning(
    engine: Engine, chunk: Chunk, first: NDArray[np.float64] | None, recent: NDArray[np.float64]
) -> str | None:
    """The reason to think that the network is not learning, or None.

    `first` and `recent` are losses in nats per character: of the run's first steps (None if unknown) and of its latest.
    """
    share, lr = saturated(engine.parameters, chunk.X[-1], engine.eps), chunk.learning_rates[-1]
    if share > MOSTLY_SATURATED:
        return (
            f"{share:.0%} of tanh's outputs are saturated, so almost no gradient passes through; try a smaller "
            f"learning rate (it is {lr:g})"
        )
    if first is None:
        return None
    began, now = float(first.mean()), float(recent[-len(first) :].mean())
    if now <= (1 - LEAST_CHANGE) * began:
        return None
    try_this = "a smaller" if now > (1 + LEAST_CHANGE) * began else "another"
    return (
        f"the loss is {now:.4g}, and it began at {began:.4g}: the network is not learning; try {try_this} learning "
        f"rate (it is {lr:g})"
    )


def _first_of_the_chain(found: StableRun, p: Parameters, vocabulary: Vocabulary) -> str | None:
    """The first tensor of the atomic chain that is not finite, and what is wrong with it. The parameters are finite.

    From the logits to the loss and back, cross-entropy is one expression, since the atomic steps would overflow where
    it does not.
    """
    _, values, gradients = found
    x, y = values["X"], values["Y"]
    chain = {s.name: values[s.name] for s in network_up_to("logits", p.sizes.first_bias).steps}
    chain |= {f"d{name}": gradient for name, gradient in gradients.items()}
    for name, tensor in chain.items():
        wrong = ~tensor.isfinite()
        if wrong.any():
            text = f"{name} {tuple(tensor.shape)} is the first tensor with numbers that are not finite"
            text += f" ({int(wrong.sum()):,} of {wrong.numel():,}"
            if len(tensor) == len(x) and tensor.dim() > 1:
                row = int(wrong.flatten(1).any(1).nonzero()[0])
                context = "".join(vocabulary.decode([token]) or END for token in x[row].tolist())
                letter = vocabulary.decode([int(y[row])]) or END
                text += f", first in row {row} of the batch: {letter!r} after {context!r}"
            return text + ")"
    return None


def _after_the_update(found: StableRun, engine: Engine, lr: float) -> str:
    """The first tensor that is not finite after an update with a finite gradient."""
    kept = {name: Parameters(engine.parameters.sizes, flat) for name, flat in engine.optimiser.kept.items()}
    for what, tensors in {"": engine.parameters, **kept}.items():
        for name, view in tensors.views.items():
            if not view.isfinite().all():
                largest = float(found.gradients[name].abs().max())
                whose = f"the optimiser's {what} of {name}" if what else name
                return f"{whose} is not finite after the update; its gradient's largest absolute value is {largest:.3g}"
    return f"batchnorm's running averages are not finite after the update, at a learning rate of {lr:g}"
