"""Observers of a training run: a progress display, TensorBoard, a sweep's pruning, or your own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Progress:
    """The progress of a run. Losses are in nats per character."""

    step: int  # steps trained
    steps: int  # the run's total
    losses: NDArray[np.float64]  # of each batch since the last report
    loss: float  # the mean over the last batches, up to 1,000
    lr: float  # the learning rate of the last step
    steps_per_second: float  # over about the last second

    @property
    def seconds_left(self) -> float:
        """The time to the end at the current speed; infinite if the speed is unknown."""
        return (self.steps - self.step) / self.steps_per_second if self.steps_per_second else float("inf")


class Observer:
    """Follows a training run. Override the methods that you need; the others do nothing.

    All but `stopping` are called from the thread that called `train`. `step` is the number of steps trained.
    """

    def started(self, folder: Path, step: int) -> None:
        """The run folder is ready; training starts, or resumes after `step`."""

    def progressed(self, progress: Progress) -> None:
        """Some steps were trained and logged. Called about ten times a second."""

    def evaluated(self, step: int, loss: Mapping[str, float]) -> None:
        """Losses over whole splits were computed; `loss` has them by split."""

    def diagnosed(self, step: int, statistics: Mapping[str, Any]) -> None:
        """A step's statistics were computed (see `step_statistics.diagnose`)."""

    def sampled(self, step: int, names: Sequence[str]) -> None:
        """Names were sampled."""

    def finished(self, step: int, loss: Mapping[str, float]) -> None:
        """All steps are trained; `loss` has the losses of all splits."""

    def message(self, text: str) -> None:
        """A line of information about the run."""

    def warning(self, text: str) -> None:
        """A line about a likely mistake."""

    def stopping(self, text: str) -> None:
        """A signal was received, and stopping takes a while. Called from another thread."""

    def should_stop(self) -> bool:
        """Whether to save and stop the run now. Called after every chunk of steps."""
        return False

    def close(self) -> None:
        """The run has ended, with or without an error."""


class Observers(Observer):
    """Several observers as one; each event goes to them in order."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def started(self, folder: Path, step: int) -> None:
        for observer in self._observers:
            observer.started(folder, step)

    def progressed(self, progress: Progress) -> None:
        for observer in self._observers:
            observer.progressed(progress)

    def evaluated(self, step: int, loss: Mapping[str, float]) -> None:
        for observer in self._observers:
            observer.evaluated(step, loss)

    def diagnosed(self, step: int, statistics: Mapping[str, Any]) -> None:
        for observer in self._observers:
            observer.diagnosed(step, statistics)

    def sampled(self, step: int, names: Sequence[str]) -> None:
        for observer in self._observers:
            observer.sampled(step, names)

    def finished(self, step: int, loss: Mapping[str, float]) -> None:
        for observer in self._observers:
            observer.finished(step, loss)

    def message(self, text: str) -> None:
        for observer in self._observers:
            observer.message(text)

    def warning(self, text: str) -> None:
        for observer in self._observers:
            observer.warning(text)

    def stopping(self, text: str) -> None:
        for observer in self._observers:
            observer.stopping(text)

    def should_stop(self) -> bool:
        return any(observer.should_stop() for observer in self._observers)

    def close(self) -> None:
        with ExitStack() as stack:  # all of them, even if one raises
            for observer in reversed(self._observers):
                stack.callback(observer.close)
