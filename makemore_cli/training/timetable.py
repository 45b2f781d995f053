"""The steps after which an evaluation, samples, a checkpoint, diagnostics or a crosscheck are due."""

from __future__ import annotations

from typing import Literal

from makemore_cli.config.schema import TrainConfig

Event = Literal["evaluate", "sample", "save", "crosscheck", "check learning"]
FIRST_LEARNING_CHECK_STEPS = 1000  # the next checks are after 10 times as many steps, 100 times as many, and so on


class Timetable:
    """The events of a run, by the number of steps trained."""

    def __init__(self, train: TrainConfig, crosscheck_every: int = 0) -> None:
        self.steps, self.diagnose_every = train.steps, train.diagnose_every
        self._periods: dict[Event, int] = {
            "evaluate": train.eval_every,
            "sample": train.sample_every,
            "save": train.checkpoint_every,
            "crosscheck": crosscheck_every,
        }

    def due(self, step: int) -> set[Event]:
        """The events after a step, without the evaluation and the checkpoint at the end of the run."""
        due: set[Event] = set()
        if 0 < step < self.steps:
            due = {event for event, period in self._periods.items() if _falls_on(period, step)}
        if "save" in due:
            due.add("evaluate")  # to keep the best checkpoint
        if step in (_next_learning_check(step - 1), self.steps) and step >= FIRST_LEARNING_CHECK_STEPS:
            due.add("check learning")
        return due

    def next(self, step: int) -> int:
        """The first step after `step` at which a chunk must end."""
        periods = (self.diagnose_every, *self._periods.values())
        ends = [(step // period + 1) * period for period in periods if period]
        return min(self.steps, _next_learning_check(step), *ends)

    def diagnoses(self, step: int) -> bool:
        """Whether the last of `step` steps is diagnosed."""
        return _falls_on(self.diagnose_every, step)

    def crosschecks(self, step: int) -> bool:
        """Whether the gradients of the step after `step` are checked. The first step's are, if any are."""
        return _falls_on(self._periods["crosscheck"], step)


def _falls_on(period: int, step: int) -> bool:
    return period > 0 and step % period == 0


def _next_learning_check(step: int) -> int:
    check = FIRST_LEARNING_CHECK_STEPS
    while check <= step:
        check *= 10
    return check
