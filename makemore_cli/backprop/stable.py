"""The atomic chain up to the logits, followed by cross-entropy as one expression.

The atomic steps from the logits to the loss take the logarithm of a probability, which may be rounded to zero. The
single expression does not.
"""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor

from makemore_cli.backprop import fused
from makemore_cli.backprop.atomic import given, network_up_to
from makemore_cli.backprop.step import Values
from makemore_cli.network.model import BATCHNORM_EPSILON
from makemore_cli.network.parameters import Parameters


class StableRun(NamedTuple):
    """The tensors and gradients of one batch, by name."""

    loss: Float[Tensor, ""]  # nats per character
    values: Values  # up to the logits
    gradients: dict[str, Tensor]  # by the tensor's name, from the logits back


def run_chain(
    p: Parameters,
    X: Int[Tensor, "n context"],
    Y: Int[Tensor, " n"],
    eps: float = BATCHNORM_EPSILON,
    smoothing: float = 0.0,
) -> StableRun:
    """Run the chain forward and backward. Raises ValueError for a batch of one example, which has no variance."""
    chain = network_up_to("logits", p.sizes.first_bias)
    values = chain.forward(given(p, X, Y, eps))
    loss, dlogits = fused.cross_entropy(values["logits"], Y, smoothing)
    return StableRun(loss, values, {"logits": dlogits, **chain.backward(values, {"logits": dlogits})})
