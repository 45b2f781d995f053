"""Engines: they run a chunk of training steps. Batches and learning rates go in, losses come out.

All engines start from the same parameters and see the same batches; what differs is how the gradients are made.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from makemore_cli.backprop.fused import training_pass
from makemore_cli.config.schema import SgdConfig
from makemore_cli.network import reference
from makemore_cli.network.model import BATCHNORM_EPSILON
from makemore_cli.network.parameters import Parameters
from makemore_cli.training.optimisers import Optimiser
from makemore_cli.training.thread_choice import ThreadChoice, counts

if TYPE_CHECKING:
    from makemore_cli.backprop.kernel.kernel import Kernel


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


class Engine(ABC):
    """Owns the parameters while it trains; they are up to date between two chunks."""

    source: str  # of gradients, by its name in gradcheck

    def __init__(
        self,
        parameters: Parameters,
        running: RunningStatistics | None = None,
        eps: float = BATCHNORM_EPSILON,
        optimiser: Optimiser | None = None,
        smoothing: float = 0.0,
        threads: int | None = None,
    ) -> None:
        """Without an optimiser, it is plain stochastic gradient descent.

        Without `threads`, the engine chooses how many it uses, at most as many as PyTorch has now.
        """
        self.parameters, self.running, self.eps, self.smoothing = parameters, running, eps, smoothing
        self.threads, self.cores = threads, torch.get_num_threads()
        self.optimiser = optimiser or Optimiser(SgdConfig(), 1, parameters.flat)

    @abstractmethod
    def run(
        self,
        X: Int[Tensor, "steps batch context"],
        Y: Int[Tensor, "steps batch"],
        learning_rates: Sequence[float],
        start: int = 0,
    ) -> Float[Tensor, " steps"]:
        """Train one step for each leading index. Returns the losses before each update, in nats per character.

        `start` is the number of steps that were trained before.
        """

    @property
    def averaged(self) -> Parameters:
        """The parameters' average if one is kept, and otherwise the parameters."""
        average = self.optimiser.kept.get("average")
        return self.parameters if average is None else Parameters(self.parameters.sizes, average)

    def state(self) -> list[Tensor]:
        """A copy of all that training changes."""
        return [tensor.clone() for tensor in self._changing()]

    def restore(self, state: Sequence[Tensor]) -> None:
        """Go back to a state that was copied."""
        for tensor, copy in zip(self._changing(), state, strict=True):
            tensor.copy_(copy)

    def is_finite(self) -> bool:
        """Whether all that training changes is still made of finite numbers."""
        return all(bool(tensor.isfinite().all()) for tensor in self._changing())

    def _changing(self) -> list[Tensor]:
        running = [] if self.running is None else [self.running.mean, self.running.var]
        return [self.parameters.flat, *running, *self.optimiser.kept.values()]

    def prepare(self, batch_size: int, say: Callable[[str], None]) -> None:  # noqa: B027 (most have nothing to do)
        """Do what must be done once before the first step, and say so if it takes long."""


class KernelEngine(Engine):
    """The hand-written pass, compiled for the CPU: PyTorch is not called within a chunk."""

    source = "kernel"
    _kernel: Kernel | None = None

    def kernel(self, batch_size: int) -> Kernel:
        """The compiled pass, with memory for batches of this size."""
        from makemore_cli.backprop.kernel.kernel import Kernel

        if self._kernel is None or self._kernel.batch_size != batch_size:
            p, optimiser = self.parameters, self.optimiser
            self._kernel = Kernel(
                p.sizes,
                batch_size,
                p.flat.numpy().dtype,
                self.eps,
                smoothing=self.smoothing,
                rule=optimiser.kernel_rule(),
                kept=list(optimiser.kept),
            )
            most = min(self.threads or self.cores, self._kernel.most_threads)
            self._choice = ThreadChoice(counts(most) if self.threads is None else [most])
        return self._kernel

    def prepare(self, batch_size: int, say: Callable[[str], None]) -> None:
        """Have the pass compiled, which is done once for all runs."""
        self.kernel(batch_size).prepare(say)

    def run(self, X: Tensor, Y: Tensor, learning_rates: Sequence[float], start: int = 0) -> Tensor:
        kernel, running, p = self.kernel(X.shape[1]), self.running, self.parameters
        averages = None if running is None else (running.mean.numpy()[0], running.var.numpy()[0], running.momentum)
        kept = {name: Parameters(p.sizes, flat).arrays() for name, flat in self.optimiser.kept.items()}
        factors = self.optimiser.factor_table(learning_rates, start)
        losses = np.empty(len(X))
        kernel.load(p.arrays(), kept)
        step = 0
        while step < len(X):
            threads, steps = self._choice.next(len(X) - step)
            part, began = slice(step, step + steps), time.perf_counter()
            losses[part] = kernel.train(X[part].numpy(), Y[part].numpy(), factors[part], averages, threads=threads)
            self._choice.took(threads, steps, time.perf_counter() - began)
            step += steps
        kernel.store(p.arrays(), kept)
        return torch.from_numpy(losses)


class TensorEngine(Engine):
    """The hand-written pass, in eager PyTorch, on any device."""

    source = "fused"

    @torch.inference_mode()
    def run(self, X: Tensor, Y: Tensor, learning_rates: Sequence[float], start: int = 0) -> Tensor:
        losses = []
        gradients = Parameters(self.parameters.sizes, torch.empty_like(self.parameters.flat))
        for x, y, factors in zip(X, Y, self.optimiser.factors(learning_rates, start), strict=True):
            loss, _, bnmean, bnvar = training_pass(self.parameters, x, y, self.eps, self.smoothing, gradients)
            self.optimiser.update(self.parameters.flat, gradients.flat, factors)
            if self.running is not None:
                self.running.update(bnmean, bnvar)
            losses.append(loss)
        return torch.stack(losses)


class AutogradEngine(Engine):
    """The same network and the same batches with `loss.backward()`, as most people would write it: to compare."""

    source = "functions"

    @cached_property
    def leaves(self) -> dict[str, Tensor]:
        """The leaves that autograd follows. They share the flat tensor's memory, so an update of it updates them."""
        return {name: view.detach().requires_grad_() for name, view in self.parameters.views.items()}

    def run(self, X: Tensor, Y: Tensor, learning_rates: Sequence[float], start: int = 0) -> Tensor:
        losses = []
        for x, y, factors in zip(X, Y, self.optimiser.factors(learning_rates, start), strict=True):
            loss, bnmean, bnvar = reference.forward(self.leaves, x, y, self.eps, self.smoothing)
            for leaf in self.leaves.values():
                leaf.grad = None
            loss.backward()  # type: ignore[no-untyped-call]
            with torch.no_grad():
                gradients = {name: leaf.grad for name, leaf in self.leaves.items() if leaf.grad is not None}
                gradient = Parameters.pack(self.parameters.sizes, gradients).flat
                self.optimiser.update(self.parameters.flat, gradient, factors)
                if self.running is not None:
                    self.running.update(bnmean, bnvar)
            losses.append(loss.detach())
        return torch.stack(losses)


ENGINES: dict[str, type[Engine]] = {
    "kernel": KernelEngine,
    "tensor": TensorEngine,
    "autograd": AutogradEngine,
}
