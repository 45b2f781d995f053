"""Hyperparameter search: Optuna chooses the configuration of each trial from the results of earlier trials.

A trial is a run whose configuration is drawn from a space, trained in a folder that is removed afterwards. Trials are
compared by their validation loss only; the test split is left for the configuration that is finally chosen.
`worker.py` trains and prunes the trials; the pruning rule is part of the study (`study.py`).
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import TYPE_CHECKING

from makemore_cli.config.schema import Config
from makemore_cli.errors import MakemoreError, StoppedError, WriteError
from makemore_cli.names import dataset
from makemore_cli.sweep.liveness import bury
from makemore_cli.sweep.results import BEST, PICTURE, Results, trial_line, write_results
from makemore_cli.sweep.space import load_space
from makemore_cli.sweep.storage import JOURNAL, StorageError, alone, mend_journal, stored
from makemore_cli.sweep.study import Plan, begin, open_study, require_optuna, trials_done
from makemore_cli.sweep.worker import send
from makemore_cli.system import child_processes as children
from makemore_cli.system.files import check_replaceable, lock, open_log
from makemore_cli.system.signals import Held, Watch
from makemore_cli.training.setup import resolve, without_kernel

if TYPE_CHECKING:
    from optuna.study import Study

LOCK = ".lock"
CONTINUE = "run the same sweep again to continue it"


def plan(
    config: Config, space: Path, folder: Path, *, storage: str | None = None, trials: int = 20, jobs: int = 1
) -> Plan:
    """Plan a sweep. Raises MakemoreError for a user's mistake, before anything is trained."""
    require_optuna()
    resolved = resolve(config)
    # Each trial resolves `auto` for itself, but all have the same absolute data path.
    config = config.model_copy(update={"data": resolved.data})
    parts = load_space(space, config)
    names = dataset.load(config.data, config.model.context_length)
    for name in (BEST, PICTURE):
        check_replaceable(folder / name, "folder")
    name = "sweep" if storage is None else Path(os.path.abspath(folder)).name  # noqa: PTH100 (without following links)
    return Plan(config, names.sha256, parts, folder, storage, name, trials, jobs)


def sweep(plan: Plan, say: Callable[[str], None]) -> Results:
    """Run trials until there are as many as the plan says, including those of earlier calls.

    A trial that was stopped or killed does not count; its configuration is tried again. Raises MakemoreError for a
    user's mistake, StoppedError after a signal.
    """
    require_optuna()
    try:
        file = open_log(plan.folder / LOCK)
    except OSError as error:
        raise WriteError(f"{plan.folder}: can't write: {error.strerror}") from None
    with file:
        if not lock(file):
            raise MakemoreError(
                f"{plan.folder}: another sweep is running in this folder; choose another folder", parameters=("folder",)
            )
        if plan.storage is None:
            mend_journal(plan.folder / JOURNAL)
        workers: dict[Connection, subprocess.Popen[bytes]] = {}

        def kill() -> None:
            for worker in workers.values():
                worker.kill()

        signals = Held(Watch("stopping: the trials are finishing their current step or evaluation", before=kill))
        with stored(plan), alone(plan):
            study = open_study(plan, lambda: signals.caught is not None)
            begin(study, plan)
            bury(study)
        try:
            missing = plan.goal - trials_done(plan, study)
            if missing > 0:
                slower = without_kernel(plan.config)
                if slower:
                    say(slower)
                _run(plan, study, missing, say, workers, signals)
        except StorageError:
            raise
        except MakemoreError:
            with suppress(StorageError):  # the error at hand says more
                write_results(plan, study)
            raise
        results = write_results(plan, study)
    if results.trials and all(trial.state == "failed" for trial in results.trials):
        last = max(results.trials, key=lambda trial: trial.number)
        raise MakemoreError(f"{plan.folder}: no trial succeeded; the last one failed: {last.told}")
    return results


def _run(
    plan: Plan,
    study: Study,
    missing: int,
    say: Callable[[str], None],
    workers: dict[Connection, subprocess.Popen[bytes]],
    signals: Held,
) -> None:
    """Train the missing trials in worker processes, each of which gets one trial at a time."""
    told: MakemoreError | None = None
    with signals:
        with _ignored(signal.SIGINT):  # Ctrl-C is for this process, which stops the workers
            for _ in range(min(plan.jobs, missing)):
                ours, theirs = Pipe()
                code = f"from makemore_cli.sweep.worker import serve; serve({theirs.fileno()})"
                workers[ours] = children.start(code, [theirs.fileno()])
                theirs.close()
                send(ours, plan)
        waiting = missing
        for connection in workers:
            waiting -= 1
            send(connection, True)
        busy = set(workers)
        try:
            while busy and not (signals.caught or told):
                for ready in wait(list(busy), timeout=0.2):
                    assert isinstance(ready, Connection)
                    try:
                        result = ready.recv()
                    except EOFError:
                        result = None
                    if isinstance(result, int):
                        say(trial_line(plan, study, result))
                        waiting -= 1
                        send(ready, waiting >= 0)
                    else:
                        told = result or told
                        busy.remove(ready)
        except StorageError as error:
            told = error
        for connection in workers:
            connection.close()  # a worker that is training stops, and gives its trial back
        for worker in workers.values():
            worker.wait()
    if signals.caught:
        try:
            done = f" after {trials_done(plan, study):,} of {plan.goal:,} trials"
        except StorageError:
            done = ""
        raise StoppedError(f"stopped{done}; {CONTINUE}", signals.caught)
    if told:
        raise told
    if any(worker.returncode for worker in workers.values()):
        with stored(plan):
            bury(study)
        raise MakemoreError(f"a worker of the sweep was killed, perhaps because memory ran out; {CONTINUE}")


@contextmanager
def _ignored(number: int) -> Iterator[None]:
    """Ignore a signal; processes that are started meanwhile keep ignoring it."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)
