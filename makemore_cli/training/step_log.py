"""The log of a run's steps: metrics in its folder, and progress for its observer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from makemore_cli.runs.run_folder import Run
from makemore_cli.training.chunk import TrainedChunk
from makemore_cli.training.engines import Engine
from makemore_cli.training.observer import Observer, Progress
from makemore_cli.training.step_statistics import diagnose

SMOOTHING_STEPS = 1000  # the smoothed loss is the mean of this many batches


class StepLog:
    """Writes trained chunks, and keeps the losses of the first and of the last steps that this process trained."""

    def __init__(self, run: Run, engine: Engine, observer: Observer, steps: int) -> None:
        self._run, self._engine, self._observer, self._steps = run, engine, observer, steps
        self.first: NDArray[np.float64] = np.empty(0)
        self.recent: NDArray[np.float64] = np.empty(0)

    def write(self, trained: TrainedChunk, steps_per_second: float) -> None:
        """Log a chunk whose numbers are finite. Raises WriteError."""
        chunk, losses = trained.chunk, trained.losses
        if trained.last_step is None:
            self._run.append_steps(chunk.start, losses.tolist(), chunk.learning_rates)
        else:
            engine = self._engine
            found = diagnose(*trained.last_step, chunk.X[-1], chunk.Y[-1], engine.eps, engine.smoothing)
            self._run.append_steps(chunk.start, losses[:-1].tolist(), chunk.learning_rates[:-1])
            # Written before the step's own record, because a run resumed after the step can't compute it again.
            self._run.append_metrics({"step": chunk.stop, "diagnose": found})
            self._run.append_steps(chunk.stop - 1, losses[-1:].tolist(), chunk.learning_rates[-1:])
            self._observer.diagnosed(chunk.stop, found)
        self.first = np.concatenate([self.first, losses])[: SMOOTHING_STEPS // 10]
        self.recent = np.concatenate([self.recent, losses])[-SMOOTHING_STEPS:]
        self._observer.progressed(
            Progress(
                chunk.stop, self._steps, losses, float(self.recent.mean()), chunk.learning_rates[-1], steps_per_second
            )
        )
