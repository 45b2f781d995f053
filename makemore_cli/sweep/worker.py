"""A worker process of a sweep: it trains trials, one after another, and prunes those worse than the median."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from makemore_cli.config import load as configuration
from makemore_cli.errors import MakemoreError, StoppedError, WriteError
from makemore_cli.sweep.liveness import Lookout, beating, give_back, sign
from makemore_cli.sweep.storage import StorageError, stored
from makemore_cli.sweep.study import (
    PARAMETERS,
    SECONDS,
    TOLD,
    TRAIN,
    Plan,
    open_study,
    require_optuna,
    trials_done,
)
from makemore_cli.training.observer import Observer, Progress

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import Trial, TrialState

TRIAL_EVALUATIONS = 10  # of a trial, unless train.eval_every is set


def serve(descriptor: int) -> None:
    """Run as a worker process, given the file descriptor of its end of the connection, which sends the plan."""
    sweeping = Connection(descriptor)
    with suppress(EOFError):
        work(sweeping.recv(), sweeping)


def work(plan: Plan, sweeping: Connection) -> None:
    """Train a trial for each request on the connection, until it is closed.

    Sends each trial's number, or an error, or None at the end.
    """
    import torch

    require_optuna()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // plan.jobs))
    caught: MakemoreError | None = None
    try:
        # A sweep that has ended has closed the connection. It sends nothing meanwhile.
        study, lookout = open_study(plan, sweeping.poll), Lookout()
        while sweeping.recv():
            number = None
            # Another machine may have run some of the trials.
            while number is None and trials_done(plan, study) < plan.goal:
                with stored(plan):
                    lookout.look(study)
                number = _trial(plan, study, sweeping)
            if number is None:
                break
            send(sweeping, number)
    except (EOFError, StoppedError):
        return
    except MakemoreError as error:
        caught = error
    send(sweeping, caught)


def _trial(plan: Plan, study: Study, sweeping: Connection) -> int | None:
    """Draw a configuration and train it. Raises StoppedError, WriteError, StorageError.

    Returns the trial's number, or None if another process has given it back, as after a long sleep of this one.
    """
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    try:
        with stored(plan):
            trial = study.ask()
            sign(trial)
            settings = {key: part.suggest(trial, key) for key, part in plan.space.items()}
        value, state = _result(plan, study, trial, settings, sweeping)
        with stored(plan):
            told = study.tell(trial, value, state, skip_if_finished=True)
    except UpdateFinishedTrialError:
        return None
    return None if told.state == TrialState.FAIL else trial.number


def _result(
    plan: Plan, study: Study, trial: Trial, settings: Mapping[str, Any], sweeping: Connection
) -> tuple[float | None, TrialState]:
    """Train a trial. Returns its validation loss and its state."""
    from optuna.trial import TrialState

    from makemore_cli.training.trainer import train

    source, observer = f"trial {trial.number}", TrialObserver(plan, trial, sweeping)
    try:
        config = configuration.change(plan.config, settings, source)
        every = config.train.eval_every or max(1, config.train.steps // TRIAL_EVALUATIONS)
        config = configuration.change(config, {"train.eval_every": every}, source)
        place = tempfile.TemporaryDirectory(prefix="makemore-trial-", ignore_cleanup_errors=True)
        with place as folder, beating(trial):
            summary = train(config, Path(folder), observer)
    except (StoppedError, WriteError, StorageError) as error:
        if isinstance(error, StoppedError) and observer.is_pruned:
            return None, TrialState.PRUNED
        with stored(plan):
            give_back(study, trial.number)
        raise
    except MakemoreError as error:  # it diverged, or its combination of settings is invalid
        with stored(plan):
            trial.set_user_attr(TOLD, str(error).removeprefix(f"{source}: "))
        return None, TrialState.PRUNED
    with stored(plan):
        trial.set_user_attr(TRAIN, summary.loss["train"])
        trial.set_user_attr(SECONDS, summary.seconds)
        trial.set_user_attr(PARAMETERS, summary.parameters)
    return summary.loss["val"], TrialState.COMPLETE


class TrialObserver(Observer):
    """Prunes a trial that is worse than the median after the same fraction of its steps."""

    def __init__(self, plan: Plan, trial: Trial, sweeping: Connection) -> None:
        self._plan, self._trial, self._sweeping = plan, trial, sweeping
        self._percent, self._steps = 0, 0
        self.is_pruned = False

    def progressed(self, progress: Progress) -> None:
        self._steps = progress.steps

    def evaluated(self, step: int, loss: Mapping[str, float]) -> None:
        """Report the validation loss. Raises StorageError."""
        percent = 100 * step // self._steps
        if percent > self._percent:
            self._percent = percent
            with stored(self._plan):
                self._trial.report(loss["val"], percent)
                self.is_pruned = self._trial.should_prune()

    def should_stop(self) -> bool:
        """Whether the trial is pruned, or the sweep has ended."""
        return self.is_pruned or self._sweeping.poll()


def send(connection: Connection, what: object) -> None:
    """Send something to the process at the other end, if it still exists."""
    with suppress(OSError):
        connection.send(what)
