"""Trials whose process no longer lives are given back: their configurations are tried again.

A process of this machine is looked up. Trials of other machines have a heartbeat, a number that changes, which the
others compare with what they saw earlier, by their own clock. Optuna's heartbeats are not used: they compare local
times, which jump twice a year, and end with the first error of the storage.
"""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import Trial

MACHINE, PID, BEAT = "machine", "pid", "beat"  # attributes of a trial
BEAT_SECONDS = 15
# Longer than a heartbeat and the time for which a worker waits for a server.
GRACE_SECONDS = 120


def machine() -> str:
    """A name for this machine since its last start, and for this container: they may share a host name."""
    parts = [socket.gethostname()]
    with suppress(OSError):  # it is not Linux
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def sign(trial: Trial) -> None:
    """Record in a trial that it is this process's."""
    trial.set_user_attr(MACHINE, machine())
    trial.set_user_attr(PID, os.getpid())


@contextmanager
def beating(trial: Trial) -> Iterator[None]:
    """Record heartbeats of a trial meanwhile, in a thread."""
    ended = threading.Event()

    def beat() -> None:
        for count in itertools.count(1):
            with suppress(Exception):  # the next report of the trial will fail too, and say so
                trial.set_user_attr(BEAT, count)
            if ended.wait(BEAT_SECONDS):
                return

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class Lookout:
    """Gives back the trials whose heartbeat has not changed for a while, and those without any."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[object, float]] = {}  # by a trial's number, its heartbeat, and since when

    def look(self, study: Study) -> None:
        from optuna.trial import TrialState

        seen, self._seen, now = self._seen, {}, time.monotonic()
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            beat = trial.user_attrs.get(BEAT)
            before, since = seen.get(trial.number, (beat, now))
            if before != beat:
                since = now
            if now - since > GRACE_SECONDS:
                give_back(study, trial.number)
            else:
                self._seen[trial.number] = beat, since


def bury(study: Study) -> None:
    """Give back the trials of killed processes of this machine."""
    from optuna.trial import TrialState

    here = machine()
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.user_attrs.get(MACHINE) == here and not _is_alive(trial.user_attrs.get(PID)):
            give_back(study, trial.number)


def _is_alive(pid: object) -> bool:
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        pass
    return True


def give_back(study: Study, number: int) -> None:
    """End a trial without a result, and have its configuration tried again, unless another process has done so."""
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    try:
        study.tell(number, state=TrialState.FAIL)
    except (ValueError, UpdateFinishedTrialError):
        return
    trial = study.trials[number]
    params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}  # as far as they were drawn
    if params:
        study.enqueue_trial(params)
