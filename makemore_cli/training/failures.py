"""Where numbers cease to be finite in training: the step, and the first tensor of the chain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from makemore_cli.backprop import atomic as steps
from makemore_cli.backprop.stable import Chain, run_chain
from makemore_cli.names.dataset import END, Vocabulary
from makemore_cli.network.parameters import Parameters
from makemore_cli.training.engines import Engine


@dataclass(frozen=True)
class Failure:
    """The first training step after which not every number was finite."""

    index: int  # of the step within its chunk
    loss: float  # before the step's update, in nats per character
    text: str  # the first tensor of the chain that holds such numbers, forward or backward, and what is wrong with it


def find_failure(
    engine: Engine, before: Sequence[Tensor], X: Tensor, Y: Tensor, lrs: list[float], first: int, vocabulary: Vocabulary
) -> Failure:
    """Train a chunk once more, from its beginning and step by step, and look into the step that fails.

    `before` is the engine's state at the beginning of the chunk, X (steps, n, T) and Y (steps, n) its batches, and
    `first` the number of its first step.
    """
    engine.restore(before)
    for index in range(len(lrs)):
        here = slice(index, index + 1)
        p = engine.parameters.to(device="cpu")
        loss = float(engine.run(X[here], Y[here], lrs[here], first + index)[0])
        if not (math.isfinite(loss) and engine.is_finite()):
            break
    chain = run_chain(p, X[index].cpu(), Y[index].cpu(), engine.eps, engine.smoothing)
    text = _first_of_the_chain(chain, p, vocabulary) or _after_the_update(chain, engine, lrs[index])
    return Failure(index, loss, text)


def _first_of_the_chain(found: Chain, p: Parameters, vocabulary: Vocabulary) -> str | None:
    """The first tensor of the atomic chain that is not finite, given parameters that are, and what is wrong with it.

    From the logits to the loss and back, cross-entropy's one expression takes the place of the atomic steps, which
    overflow where it does not.
    """
    _, values, gradients = found
    x, y = values["X"], values["Y"]
    chain = {s.name: values[s.name] for s in steps.up_to("logits", p.sizes.first_bias)}
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


def _after_the_update(found: Chain, engine: Engine, lr: float) -> str:
    """What is not finite after an update with a gradient that is: a parameter, or what the optimiser keeps."""
    kept = {name: Parameters(engine.parameters.sizes, flat) for name, flat in engine.optimiser.kept.items()}
    for what, tensors in {"": engine.parameters, **kept}.items():
        for name, view in tensors.views.items():
            if not view.isfinite().all():
                largest = float(found.gradients[name].abs().max())
                whose = f"the optimiser's {what} of {name}" if what else name
                return f"{whose} is not finite after the update, whose gradient reaches {largest:.3g}"
    return f"the averages of batchnorm's statistics are not finite after it, at a learning rate of {lr:g}"
