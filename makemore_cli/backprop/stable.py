"""The atomic chain as far as the logits, and from there cross-entropy's one expression.

The atomic steps from the logits to the loss take the logarithm of a probability, which may be rounded to zero. Here
losses and gradients are finite whenever parameters of finite size allow it.
"""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor

from makemore_cli.backprop import atomic as steps
from makemore_cli.backprop import fused
from makemore_cli.network.model import BATCHNORM_EPSILON
from makemore_cli.network.parameters import Parameters


class Chain(NamedTuple):
    """The tensors and gradients of one batch, by name."""

    loss: Float[Tensor, ""]  # nats per character
    values: steps.Values  # as far as the logits
    gradients: dict[str, Tensor]  # by the tensor's name, from the logits on


def run_chain(
    p: Parameters,
    X: Int[Tensor, "n context"],
    Y: Int[Tensor, " n"],
    eps: float = BATCHNORM_EPSILON,
    smoothing: float = 0.0,
) -> Chain:
    """Run it forward and backward. Raises ValueError for a batch of one example, which has no variance."""
    table = steps.up_to("logits", p.sizes.first_bias)
    values = steps.forward(p, X, Y, eps=eps, table=table)
    loss, dlogits = fused.cross_entropy(values["logits"], Y, smoothing)
    gradients = steps.backward(values, table=table, above={"dlogits": dlogits})
    return Chain(loss, values, {"logits": dlogits, **gradients})
