"""Engines run a chunk of training steps: batches and learning rates go in, losses come out.

All engines start from the same parameters and see the same batches; they differ in how they compute gradients.
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
from makemore_cli.backprop.whole_batch import WHOLE
from makemore_cli.checks.network import SOURCES
from makemore_cli.checks.sources import Source
from makemore_cli.config.schema import Config, SgdConfig
from makemore_cli.network import reference
from makemore_cli.network.model import BATCHNORM_EPSILON
from makemore_cli.network.parameters import Parameters
from makemore_cli.training.cuda_graph import RecordedStep, Recorder, record
from makemore_cli.training.optimisers import Optimiser
from makemore_cli.training.thread_choice import ThreadChoice, counts

if TYPE_CHECKING:
    from makemore_cli.backprop.kernel.kernel import Kernel


@dataclass
class RunningStatistics:
    """Exponential moving averages of the batches' batchnorm statistics."""

    mean: Float[Tensor, "1 hidden"]
    var: Float[Tensor, "1 hidden"]
    momentum: float  # weight of a new batch

    def update(self, mean: Tensor, var: Tensor) -> None:
        """Move both averages towards a batch's statistics."""
        self.mean.lerp_(mean, self.momentum)
        self.var.lerp_(var, self.momentum)


def running_statistics(config: Config, like: Tensor) -> RunningStatistics | None:
    """Averages before the first step; None if the statistics are calibrated after training."""
    if config.model.batchnorm.statistics == "calibrated":
        return None
    hidden = config.model.hidden_size
    return RunningStatistics(like.new_zeros((1, hidden)), like.new_ones((1, hidden)), config.model.batchnorm.momentum)


class Engine(ABC):
    """Owns the parameters during training; they are up to date between chunks."""

    source: str  # the name of its source of gradients in gradcheck

    def __init__(
        self,
        parameters: Parameters,
        running: RunningStatistics | None = None,
        eps: float = BATCHNORM_EPSILON,
        optimiser: Optimiser | None = None,
        smoothing: float = 0.0,
        threads: int | None = None,
    ) -> None:
        """If `optimiser` is None, the engine uses plain stochastic gradient descent.

        If `threads` is None, it chooses the number of threads, up to PyTorch's current number.
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
        """Train one step per leading index. Returns each batch's loss before its update, in nats per character.

        `start` is the number of steps trained before.
        """

    @property
    def training_source(self) -> Source:
        """The source of the gradients that the engine trains with, for a crosscheck."""
        return SOURCES[self.source]

    @property
    def averaged(self) -> Parameters:
        """The average of the parameters if one is kept, otherwise the parameters."""
        average = self.optimiser.kept.get("average")
        return self.parameters if average is None else Parameters(self.parameters.sizes, average)

    def state(self) -> list[Tensor]:
        """A copy of all that training changes."""
        return [tensor.clone() for tensor in self._changing()]

    def restore(self, state: Sequence[Tensor]) -> None:
        """Restore a state that `state` returned."""
        for tensor, copy in zip(self._changing(), state, strict=True):
            tensor.copy_(copy)

    def is_finite(self) -> bool:
        """Whether all numbers that training changes are finite."""
        return all(bool(tensor.isfinite().all()) for tensor in self._changing())

    def _changing(self) -> list[Tensor]:
        running = [] if self.running is None else [self.running.mean, self.running.var]
        return [self.parameters.flat, *running, *self.optimiser.kept.values()]

    def prepare(self, batch_size: int, say: Callable[[str], None]) -> None:  # noqa: B027 (most have nothing to do)
        """Do one-off work before the first step; call `say` if it takes long."""


class KernelEngine(Engine):
    """The hand-written pass, compiled for the CPU. It does not call PyTorch within a chunk."""

    source = "kernel"
    _kernel: Kernel | None = None

    def kernel(self, batch_size: int) -> Kernel:
        """The compiled pass, with buffers for batches of this size."""
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
        """Compile the pass, unless its machine code is already on disk."""
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
    """The hand-written pass in PyTorch, on any device. On CUDA, its step is recorded and replayed as one graph."""

    source = "fused"
    batch = WHOLE  # or what this process knows of the other ranks' examples

    def step(
        self, x: Int[Tensor, "batch context"], y: Int[Tensor, " batch"], factors: Float[Tensor, " 5"]
    ) -> Float[Tensor, ""]:
        """Train one step, in place. Returns the loss before it.

        It can be recorded: it waits for no value, and what changes from step to step is in tensors.
        """
        loss, _, bnmean, bnvar = training_pass(
            self.parameters, x, y, self.eps, self.smoothing, self.gradients, self.batch
        )
        self.optimiser.update(self.parameters.flat, self.gradients.flat, factors)
        if self.running is not None:
            self.running.update(bnmean, bnvar)
        return loss

    @torch.inference_mode()
    def run(self, X: Tensor, Y: Tensor, learning_rates: Sequence[float], start: int = 0) -> Tensor:
        step = self._recorded(X.shape[1]) if self.recorder else self.step
        factors = self.optimiser.factors(learning_rates, start)
        return torch.stack([step(*given) for given in zip(X, Y, factors, strict=True)])

    def prepare(self, batch_size: int, say: Callable[[str], None]) -> None:
        """Record the step if it is replayed later."""
        if self.recorder:
            self._recorded(batch_size)

    @property
    def recorder(self) -> Recorder | None:
        """How the step is recorded; None if its operations are launched one by one."""
        return record if self.parameters.flat.device.type == "cuda" else None

    @torch.inference_mode()
    def _recorded(self, batch_size: int) -> RecordedStep:
        """The step for batches of one size, recorded once. That trains some steps, which are then undone."""
        if batch_size not in self._recordings:
            assert self.recorder is not None
            flat, before = self.parameters.flat, self.state()
            x = torch.zeros((batch_size, self.parameters.sizes.context), dtype=torch.int64, device=flat.device)
            inputs = (x, x[:, 0].clone(), self.optimiser.factors([0.0], 0)[0])
            self._recordings[batch_size] = RecordedStep(self.step, inputs, self.recorder)
            Engine.restore(self, before)
        return self._recordings[batch_size]

    @cached_property
    def _recordings(self) -> dict[int, RecordedStep]:
        return {}

    @cached_property
    def gradients(self) -> Parameters:
        return Parameters(self.parameters.sizes, torch.empty_like(self.parameters.flat))


class AutogradEngine(Engine):
    """The same network and batches with `loss.backward()`, as most people would write it, for comparison."""

    source = "functions"

    @cached_property
    def leaves(self) -> dict[str, Tensor]:
        """Autograd's leaf tensors. They share memory with the flat tensor, so updating it updates them."""
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
