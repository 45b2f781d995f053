"""Engines: they run a chunk of training steps. Batches and learning rates go in, losses come out.

All engines start from the same parameters and see the same batches; what differs is how the gradients are made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from makemore_cli.backprop.fused import training_pass
from makemore_cli.model import BATCHNORM_EPSILON, Parameters
from makemore_cli.optim import SGD

# Multiplications in one forward pass. Measured on two cores: one thread is as fast or faster at 365,000 (the lecture's
# B = 32, H = 200), two are 10 % faster at 1,500,000 (B = 128) and 40 % at 22,000,000.
WORTH_SHARING = 2_000_000


@dataclass
class RunningStatistics:
    """Exponential averages of the batches' batchnorm statistics, kept while training."""

    mean: Float[Tensor, "1 hidden"]
    var: Float[Tensor, "1 hidden"]
    momentum: float  # the new batch's share

    def update(self, mean: Tensor, var: Tensor) -> None:
        """Move both averages towards a batch's own statistics."""
        self.mean.lerp_(mean, self.momentum)
        self.var.lerp_(var, self.momentum)


@runtime_checkable
class Engine(Protocol):
    """Owns the parameters while it trains; they are up to date between two chunks."""

    parameters: Parameters
    running: RunningStatistics | None

    def run(
        self,
        X: Int[Tensor, "steps batch context"],
        Y: Int[Tensor, "steps batch"],
        learning_rates: Sequence[float],
    ) -> Float[Tensor, " steps"]:
        """Train one step for each leading index. Returns the losses before each update, in nats a letter."""


class TensorEngine:
    """The hand-written pass, in eager PyTorch, on any device."""

    def __init__(
        self, parameters: Parameters, running: RunningStatistics | None = None, eps: float = BATCHNORM_EPSILON
    ) -> None:
        self.parameters, self.running, self.eps = parameters, running, eps
        self.optimiser = SGD()

    @torch.inference_mode()
    def run(self, X: Tensor, Y: Tensor, learning_rates: Sequence[float]) -> Tensor:
        """See `Engine.run`."""
        losses = []
        for x, y, lr in zip(X, Y, learning_rates, strict=True):
            loss, gradients, bnmean, bnvar = training_pass(self.parameters, x, y, self.eps)
            self.optimiser.step(self.parameters, gradients, lr)
            if self.running is not None:
                self.running.update(bnmean, bnvar)
            losses.append(loss)
        return torch.stack(losses)


class AutogradEngine:
    """The same network and the same batches with `loss.backward()`, as most people would write it: to compare."""

    def __init__(
        self, parameters: Parameters, running: RunningStatistics | None = None, eps: float = BATCHNORM_EPSILON
    ) -> None:
        self.parameters, self.running, self.eps = parameters, running, eps
        # Leaves that share the flat tensor's memory, so that an update of them is one of it.
        self.leaves = {name: view.detach().requires_grad_() for name, view in parameters.views.items()}

    def run(self, X: Tensor, Y: Tensor, learning_rates: Sequence[float]) -> Tensor:
        """See `Engine.run`."""
        losses = []
        for x, y, lr in zip(X, Y, learning_rates, strict=True):
            loss, bnmean, bnvar = forward(self.leaves, x, y, self.eps)
            for leaf in self.leaves.values():
                leaf.grad = None
            loss.backward()  # type: ignore[no-untyped-call]
            with torch.no_grad():
                for leaf in self.leaves.values():
                    assert leaf.grad is not None
                    leaf.sub_(leaf.grad, alpha=lr)
                if self.running is not None:
                    self.running.update(bnmean, bnvar)
            losses.append(loss.detach())
        return torch.stack(losses)


@contextmanager
def threads(parameters: Parameters, batch_size: int) -> Iterator[None]:
    """Keep PyTorch to one thread of the CPU where a batch is too small to be shared.

    There a second one gains nothing, and where another program wants its processor it costs several times the work.
    """
    s, before = parameters.sizes, torch.get_num_threads()
    if batch_size * s.hidden * (s.context * s.embedding + s.vocabulary) < WORTH_SHARING:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def forward(
    p: dict[str, Tensor], X: Int[Tensor, "n context"], Y: Int[Tensor, " n"], eps: float
) -> tuple[Float[Tensor, ""], Float[Tensor, "1 hidden"], Float[Tensor, "1 hidden"]]:
    """The network in PyTorch's own functions: loss, batch mean and unbiased batch variance."""
    hprebn = F.linear(F.embedding(X, p["C"]).flatten(1), p["W1"].T, p.get("b1"))
    bnmean, bnvar = hprebn.mean(0, keepdim=True), hprebn.var(0, keepdim=True)
    h = torch.tanh(p["bngain"] * (hprebn - bnmean) / torch.sqrt(bnvar + eps) + p["bnbias"])
    return F.cross_entropy(F.linear(h, p["W2"].T, p["b2"]), Y), bnmean, bnvar


ENGINES: dict[str, Callable[[Parameters, RunningStatistics | None, float], Engine]] = {
    "tensor": TensorEngine,
    "autograd": AutogradEngine,
}
