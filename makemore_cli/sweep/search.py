"""The search for a good configuration: many runs, each drawn in the light of those before, by Optuna.

A trial is a run whose configuration is drawn from a space, trained in a folder that is removed afterwards. Trials are
judged by the loss of the validation split alone; the test split is left for the one configuration that is chosen.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from makemore_cli.config import load as configuration
from makemore_cli.config.schema import Config
from makemore_cli.errors import MakemoreError, StoppedError, WriteError
from makemore_cli.names import dataset
from makemore_cli.sweep.space import load_space, short
from makemore_cli.sweep.study import (
    HOST,
    JOURNAL,
    PARAMETERS,
    PID,
    SECONDS,
    TOLD,
    TRAIN,
    Outcome,
    Plan,
    StorageError,
    begin,
    bury,
    give_back,
    importances,
    mend_journal,
    open_study,
    outcomes,
    require_optuna,
    stored,
)
from makemore_cli.system import child_processes as children
from makemore_cli.system.console import foreign, plain_table
from makemore_cli.system.files import check_replaceable, lock, open_log, write_atomically
from makemore_cli.system.signals import Held, Watch
from makemore_cli.training.progress_display import Display, Status
from makemore_cli.training.setup import resolve, without_kernel

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import Trial

LOCK, BEST, PICTURE = ".lock", "best.yaml", "sweep.png"
TRIAL_EVALUATIONS = 10  # at a trial's validation loss on its way, where the configuration asks for none
SHOWN_TRIALS = 10  # trials in the table
GOES_ON = "the same command goes on"


@dataclass(frozen=True)
class Results:
    """What a sweep has come to."""

    plan: Plan
    trials: list[Outcome]  # the best first
    importance: Mapping[str, float]
    files: list[Path]  # that were written

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON takes it."""
        return {
            "folder": str(self.plan.folder),
            "study": self.plan.name,
            "trials": [trial.to_json() for trial in self.trials],
            "importance": dict(self.importance),
            "files": [str(file) for file in self.files],
        }

    def show(self, console: Console) -> None:
        """Print the best trials, what mattered, and where to find more."""
        keys = sorted(self.plan.space, key=lambda key: -self.importance.get(key, 0.0))
        table = plain_table()
        for name in ("val", "train", "seconds", "trial"):
            table.add_column(name, justify="right")
        table.add_column("settings")
        for trial in self.trials[:SHOWN_TRIALS]:
            told = [] if trial.state == "complete" else [trial.state]
            cells = [_number(trial.val, ".4f"), _number(trial.train, ".4f"), _number(trial.seconds, ".1f")]
            settings = ", ".join(f"{key}={short(trial.settings[key])}" for key in keys if key in trial.settings)
            why = f" ({trial.told})" if trial.told else ""
            table.add_row(*cells, " ".join([str(trial.number), *told]), foreign(settings + why))
        console.print(table)
        states = [trial.state for trial in self.trials]
        counts = ", ".join(f"{states.count(state):,} {state}" for state in dict.fromkeys(states))
        console.print(f"{len(states):,} trials: {counts}", soft_wrap=True)
        if self.importance:
            shares = ", ".join(f"{key} {share:.0%}" for key, share in self.importance.items())
            console.print(foreign(f"what mattered: {shares}"), soft_wrap=True)
        for file in self.files:
            console.print(foreign(file), soft_wrap=True)


def plan(
    config: Config, space: Path, folder: Path, *, storage: str | None = None, trials: int = 20, jobs: int = 1
) -> Plan:
    """What a sweep is to do. Raises MakemoreError for what the user can mend, before anything is trained."""
    require_optuna()
    resolved = resolve(config)
    # Whatever is `auto` is decided for each trial; but the data are the same from wherever one looks.
    config = config.model_copy(update={"data": resolved.data})
    parts = load_space(space, config)
    names = dataset.load(config.data, config.model.context_length)
    for name in (BEST, PICTURE):
        check_replaceable(folder / name)
    name = "sweep" if storage is None else Path(os.path.abspath(folder)).name  # noqa: PTH100 (without following links)
    return Plan(config, names.sha256, parts, folder, storage, name, trials, jobs)


def sweep(plan: Plan, say: Callable[[str], None]) -> Results:
    """Have as many trials as the plan says, those of earlier calls counted.

    A trial that was stopped or killed does not count; its configuration is tried again. Raises MakemoreError for what
    the user can mend, StoppedError where a signal ended it.
    """
    require_optuna()
    try:
        file = open_log(plan.folder / LOCK)
    except OSError as error:
        raise WriteError(f"{plan.folder}: can't write: {error.strerror}") from None
    with file:
        if not lock(file):
            raise MakemoreError(f"{plan.folder}: another `makemore sweep` is at work there; give another --out")
        if plan.storage is None:
            mend_journal(plan.folder / JOURNAL)
        study = open_study(plan)
        with stored(plan):
            begin(study, plan)
            bury(study)
        try:
            missing = plan.goal - _done(plan, study)
            if missing > 0:
                slower = without_kernel(plan.config)
                if slower:
                    say(slower)
                _run(plan, study, missing, say)
        finally:
            results = _write(plan, study)
    if results.trials and all(trial.state == "failed" for trial in results.trials):
        last = max(results.trials, key=lambda trial: trial.number)
        raise MakemoreError(f"{plan.folder}: none of {len(results.trials):,} trials came to anything; {last.told}")
    return results


def _done(plan: Plan, study: Study) -> int:
    with stored(plan):
        return len(outcomes(study, plan.space))


def _run(plan: Plan, study: Study, missing: int, say: Callable[[str], None]) -> None:
    """Have the trials that are missing, in processes of their own, which get leave for each of them."""
    workers: dict[Connection, subprocess.Popen[bytes]] = {}
    told: str | None = None

    def kill() -> None:
        for worker in workers.values():
            worker.kill()

    watch = Watch("stopping: the trials end their present step or evaluation first", before=kill)
    with Held(watch) as signals:
        with _ignored(signal.SIGINT):  # Ctrl-C is for this process, which passes it on
            for _ in range(min(plan.jobs, missing)):
                ours, theirs = Pipe()
                code = f"from makemore_cli.sweep.search import serve; serve({theirs.fileno()})"
                workers[ours] = children.start(code, [theirs.fileno()])
                theirs.close()
                _send(ours, plan)
        waiting = missing
        for connection in workers:
            waiting -= 1
            _send(connection, True)
        busy = set(workers)
        while busy and not (signals.caught or told):
            for ready in wait(list(busy), timeout=0.2):
                assert isinstance(ready, Connection)
                try:
                    result = ready.recv()
                except EOFError:
                    result = None
                if isinstance(result, int):
                    say(_line(plan, study, result))
                    waiting -= 1
                    _send(ready, waiting >= 0)
                else:
                    told = result or told
                    busy.remove(ready)
        for connection in workers:
            connection.close()  # whoever trains stops, and gives its trial back
        for worker in workers.values():
            worker.wait()
    if told:
        raise MakemoreError(told)
    if signals.caught:
        done = f"{_done(plan, study):,} of {plan.goal:,} trials"
        raise StoppedError(f"stopped after {done}; {GOES_ON}", signals.caught)
    if any(worker.returncode for worker in workers.values()):
        with stored(plan):
            bury(study)
        raise MakemoreError(f"a process of the sweep was killed, perhaps for want of memory; {GOES_ON}")


def _send(connection: Connection, what: object) -> None:
    """Send it to the process at the other end, if there is one still."""
    with suppress(OSError):
        connection.send(what)


@contextmanager
def _ignored(number: int) -> Iterator[None]:
    """Ignore a signal, in the processes that are begun meanwhile for ever."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


def serve(descriptor: int) -> None:
    """What a process of the sweep is there for, given its end of the connection, through which the plan comes first."""
    sweeping = Connection(descriptor)
    with suppress(EOFError):
        work(sweeping.recv(), sweeping)


def work(plan: Plan, sweeping: Connection) -> None:
    """Train a trial for each leave that comes from the process that sweeps, until that comes no more.

    Sends it each trial's number, or what went wrong, or None at the end.
    """
    import torch

    require_optuna()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // plan.jobs))
    told: str | None = None
    try:
        study = open_study(plan)
        # Another machine may have had some of the trials.
        while sweeping.recv() and _done(plan, study) < plan.goal:
            _send(sweeping, _trial(plan, study, sweeping))
    except (EOFError, StoppedError):
        return
    except MakemoreError as error:
        told = str(error)
    _send(sweeping, told)


def _trial(plan: Plan, study: Study, sweeping: Connection) -> int:
    """Draw a configuration and train it. Returns the trial's number. Raises StoppedError, WriteError."""
    import optuna
    from optuna.trial import TrialState

    from makemore_cli.training.trainer import train

    with stored(plan):
        trial = study.ask()
        trial.set_user_attr(HOST, socket.gethostname())
        trial.set_user_attr(PID, os.getpid())
        settings = {key: part.suggest(trial, key) for key, part in plan.space.items()}
    source = f"trial {trial.number}"
    try:
        config = configuration.change(plan.config, settings, source)
        every = config.train.eval_every or max(1, config.train.steps // TRIAL_EVALUATIONS)
        config = configuration.change(config, {"train.eval_every": every}, source)
        with tempfile.TemporaryDirectory(prefix="makemore-trial-", ignore_cleanup_errors=True) as folder:
            summary = train(config, Path(folder), Judge(plan, trial, config.train.steps, sweeping))
    except optuna.TrialPruned:
        with stored(plan):
            study.tell(trial, state=TrialState.PRUNED)
    except (StoppedError, WriteError, StorageError):
        with stored(plan):
            give_back(study, trial.number)
        raise
    except MakemoreError as error:  # it diverged, or its settings do not go together
        with stored(plan):
            trial.set_user_attr(TOLD, str(error).removeprefix(f"{source}: "))
            study.tell(trial, state=TrialState.PRUNED)
    else:
        with stored(plan):
            trial.set_user_attr(TRAIN, summary.loss["train"])
            trial.set_user_attr(SECONDS, summary.seconds)
            trial.set_user_attr(PARAMETERS, summary.parameters)
            study.tell(trial, summary.loss["val"])
    return trial.number


class Judge(Display):
    """Shows nothing, but gives a trial up that is worse than most were after the same share of their steps."""

    def __init__(self, plan: Plan, trial: Trial, steps: int, sweeping: Connection) -> None:
        self.plan, self.trial, self.steps, self.sweeping, self.percent = plan, trial, steps, sweeping, 0

    def update(self, status: Status) -> None:
        """Raises StoppedError where the sweep is at its end, or the process that sweeps was killed."""
        if self.sweeping.poll():  # it sends nothing in the meantime, so it has closed its end
            raise StoppedError("the sweep was stopped", signal.SIGTERM)

    def evaluated(self, step: int, loss: Mapping[str, float]) -> None:
        """Report the validation loss. Raises optuna.TrialPruned."""
        import optuna

        percent = 100 * step // self.steps
        if percent > self.percent:
            self.percent = percent
            with stored(self.plan):
                self.trial.report(loss["val"], percent)
                if self.trial.should_prune():
                    raise optuna.TrialPruned

    def warn(self, text: str) -> None:
        """A trial's own troubles are not worth a line."""

    def tell(self, text: str) -> None:
        """Nor is that it takes long to end: the process that sweeps says so."""


def _write(plan: Plan, study: Study) -> Results:
    """Write the best trial's configuration, which `makemore train` takes, and the picture."""
    with stored(plan):
        trials, importance = outcomes(study, plan.space), importances(study)
    if not trials or trials[0].state != "complete":
        return Results(plan, trials, importance, [])
    from makemore_cli.sweep.picture import SweepPicture

    best, picture = trials[0], SweepPicture(trials, plan.space, importance, str(plan.folder))
    config = configuration.change(plan.config, best.settings, f"trial {best.number}")
    about = f"# The best trial of a `makemore sweep`: number {best.number} of {len(trials)}, val loss {best.val:.4f}\n"
    contents = {BEST: (about + configuration.dump(config)).encode(), PICTURE: picture.render("png")}
    for name, content in contents.items():
        write_atomically(plan.folder / name, content)
    return Results(plan, trials, importance, [plan.folder / name for name in contents])


def _line(plan: Plan, study: Study, number: int) -> str:
    """What to say of a trial."""
    with stored(plan):
        trials = outcomes(study, plan.space)
    trial, first = next(t for t in trials if t.number == number), trials[0]
    if trial.state == "complete":
        came = f"val {_number(trial.val, '.4f')} in {_number(trial.seconds, '.0f')} s"
    else:
        came = f"failed: {trial.told}" if trial.told else f"given up at val {_number(trial.val, '.4f')}"
    settings = ", ".join(f"{key}={short(value)}" for key, value in trial.settings.items())
    best = f"; the best is trial {first.number}: {_number(first.val, '.4f')}" if first.state == "complete" else ""
    return f"{len(trials)}/{plan.goal}  trial {number}: {came}{best}  ({settings})"


def _number(value: float | None, format: str) -> str:
    return "" if value is None else f"{value:{format}}"
