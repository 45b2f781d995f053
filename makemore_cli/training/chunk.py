"""A chunk: training steps that an engine runs in one call."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from makemore_cli.network.parameters import Parameters
from makemore_cli.training.engines import Engine


@dataclass(frozen=True)
class Chunk:
    """The batches and learning rates of consecutive training steps."""

    start: int  # steps trained before the chunk
    X: Int[Tensor, "steps batch context"]
    Y: Int[Tensor, "steps batch"]
    learning_rates: list[float]

    @property
    def stop(self) -> int:
        """The number of steps trained when the chunk ends."""
        return self.start + len(self.learning_rates)

    def part(self, start: int, stop: int) -> Chunk:
        """The steps after step `start`, up to and including step `stop`. The run's first step is 1."""
        here = slice(start - self.start, stop - self.start)
        return Chunk(start, self.X[here], self.Y[here], self.learning_rates[here])


@dataclass(frozen=True)
class TrainedChunk:
    """A chunk and the result of training it."""

    chunk: Chunk
    state_before: list[Tensor]  # the engine's state
    losses: NDArray[np.float64]  # each batch's loss before its update, in nats per character
    finite: bool  # whether the losses and the engine's new state are finite
    seconds: float
    last_step: tuple[Parameters, Parameters] | None  # parameters before and after the last step, if it is diagnosed


def train_chunk(engine: Engine, chunk: Chunk, *, diagnose: bool) -> TrainedChunk:
    """Train a chunk; with `diagnose`, keep the parameters before and after its last step."""
    state, started, last_step = engine.state(), time.perf_counter(), None
    if diagnose:
        cut = chunk.stop - 1
        losses = [run(engine, chunk.part(chunk.start, cut))] if cut > chunk.start else []
        before = engine.parameters.to()
        losses.append(run(engine, chunk.part(cut, chunk.stop)))
        last_step = (before, engine.parameters.to())
    else:
        losses = [run(engine, chunk)]
    seconds = time.perf_counter() - started
    finite = all(np.isfinite(part).all() for part in losses) and engine.is_finite()
    return TrainedChunk(chunk, state, np.concatenate(losses), finite, seconds, last_step)


def run(engine: Engine, chunk: Chunk) -> NDArray[np.float64]:
    """Train a chunk's steps. Returns the losses (steps,) in nats per character."""
    losses: NDArray[np.float64] = engine.run(chunk.X, chunk.Y, chunk.learning_rates, chunk.start).double().cpu().numpy()
    return losses
