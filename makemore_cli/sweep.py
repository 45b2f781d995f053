"""The search for a good configuration: many runs, each drawn in the light of those before, by Optuna.

A trial is a run whose configuration is drawn from a space, trained in a folder that is removed afterwards. Trials are
judged by the loss of the validation split alone; the test split is left for the one configuration that is chosen.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import shutil
import socket
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from makemore_cli import config as configuration
from makemore_cli import dataset
from makemore_cli.config import Config
from makemore_cli.errors import MakemoreError, StoppedError, WriteError
from makemore_cli.files import check_replaceable, lock, open_log, write_atomically
from makemore_cli.progress import Display, Status
from makemore_cli.signals import Held
from makemore_cli.space import load_space, short
from makemore_cli.start import resolve
from makemore_cli.study import (
    HOST,
    PARAMETERS,
    PID,
    SECONDS,
    TOLD,
    TRAIN,
    Outcome,
    Plan,
    begin,
    bury,
    give_back,
    importances,
    open_study,
    outcomes,
    require_optuna,
)

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import Trial

LOCK, BEST, PICTURE = ".lock", "best.yaml", "sweep.png"
TRIAL = ".trial-"  # begins the name of a folder that a trial is trained in
LOOKS = 10  # at a trial's validation loss on its way, where the configuration asks for none
SHOWN = 10  # trials in the table
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
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        for name in ("val", "train", "seconds", "trial"):
            table.add_column(name, justify="right")
        table.add_column("settings")
        for trial in self.trials[:SHOWN]:
            told = [] if trial.state == "complete" else [trial.state]
            cells = [_number(trial.val, ".4f"), _number(trial.train, ".4f"), _number(trial.seconds, ".1f")]
            settings = ", ".join(f"{key}={short(trial.settings[key])}" for key in keys if key in trial.settings)
            table.add_row(*cells, " ".join([str(trial.number), *told]), Text(settings))
        console.print(table)
        states = [trial.state for trial in self.trials]
        counts = ", ".join(f"{states.count(state):,} {state}" for state in dict.fromkeys(states))
        console.print(f"{len(states):,} trials: {counts}", soft_wrap=True)
        if self.importance:
            shares = ", ".join(f"{key} {share:.0%}" for key, share in self.importance.items())
            console.print(f"what mattered: {shares}", soft_wrap=True)
        for file in self.files:
            console.print(str(file), soft_wrap=True, markup=False)


def plan(
    config: Config, space: Path, folder: Path, *, storage: str | None = None, trials: int = 20, jobs: int = 1
) -> Plan:
    """What a sweep is to do. Raises MakemoreError for what the user can mend, before anything is written."""
    require_optuna()
    config = resolve(config)
    names = dataset.load(config.data, config.model.context_length)
    parts = load_space(space, config)
    check_replaceable(folder / PICTURE)
    return Plan(config, names.sha256, parts, folder, storage, folder.absolute().name, trials, jobs)


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
        for left in plan.folder.glob(f"{TRIAL}*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        study = open_study(plan)
        begin(study, plan)
        bury(study)
        try:
            missing = plan.goal - len(outcomes(study, plan.space))
            if missing > 0:
                _run(plan, study, missing, say)
        finally:
            trials, importance = outcomes(study, plan.space), importances(study)
            files = _write(plan, trials, importance)
        return Results(plan, trials, importance, files)


def _run(plan: Plan, study: Study, missing: int, say: Callable[[str], None]) -> None:
    """Have the trials that are missing, in processes of their own."""
    context = multiprocessing.get_context("spawn")
    jobs = min(plan.jobs, missing)
    tickets, results = context.Queue(), context.Queue()
    for ticket in [True] * missing + [False] * jobs:
        tickets.put(ticket)
    workers = [context.Process(target=work, args=(plan, tickets, results)) for _ in range(jobs)]
    with Held() as signals:
        for worker in workers:
            worker.start()
        told: str | None = None
        while not (signals.caught or told) and (any(w.is_alive() for w in workers) or not results.empty()):
            with suppress(queue.Empty):
                result = results.get(timeout=0.2)
                if isinstance(result, str):
                    told = result
                else:
                    say(_line(plan, outcomes(study, plan.space), result))
        for worker in workers:
            if signals.caught or told:
                worker.terminate()  # it gives its trial back
        for worker in workers:
            worker.join()
    if told:
        raise MakemoreError(told)
    if signals.caught:
        done = len(outcomes(study, plan.space))
        raise StoppedError(f"stopped after {done:,} of {plan.goal:,} trials; {GOES_ON}", signals.caught)
    if any(worker.exitcode for worker in workers):
        bury(study)
        raise MakemoreError(f"a process of the sweep was killed, perhaps for want of memory; {GOES_ON}")


def work(plan: Plan, tickets: Any, results: Any) -> None:
    """Train a trial for each ticket, until one says that there are no more: a process of the sweep.

    Puts each trial's number into `results`, or the text of what went wrong.
    """
    import torch

    with Held() as signals:
        require_optuna()
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // plan.jobs))
        try:
            study = open_study(plan)
            # Another machine may have some of the trials.
            while tickets.get() and not signals.caught and len(outcomes(study, plan.space)) < plan.goal:
                results.put(_trial(plan, study, signals))
        except StoppedError:
            pass
        except MakemoreError as error:
            results.put(str(error))


def _trial(plan: Plan, study: Study, signals: Held) -> int:
    """Draw a configuration and train it. Returns the trial's number. Raises StoppedError, WriteError."""
    import optuna
    from optuna.trial import TrialState

    from makemore_cli.train import train

    trial = study.ask()
    trial.set_user_attr(HOST, socket.gethostname())
    trial.set_user_attr(PID, os.getpid())
    source, settings = f"trial {trial.number}", {key: part.suggest(trial, key) for key, part in plan.space.items()}
    try:
        config = configuration.change(plan.config, settings, source)
        every = config.train.eval_every or max(1, config.train.steps // LOOKS)
        config = configuration.change(config, {"train.eval_every": every}, source)
        with tempfile.TemporaryDirectory(prefix=TRIAL, dir=plan.folder, ignore_cleanup_errors=True) as folder:
            summary = train(config, Path(folder), Judge(trial, config.train.steps, signals))
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
    except (StoppedError, WriteError):
        give_back(study, trial.number, trial.params)
        raise
    except MakemoreError as error:  # it diverged, or its settings do not go together
        trial.set_user_attr(TOLD, str(error).removeprefix(f"{source}: "))
        study.tell(trial, state=TrialState.PRUNED)
    else:
        trial.set_user_attr(TRAIN, summary.loss["train"])
        trial.set_user_attr(SECONDS, summary.seconds)
        trial.set_user_attr(PARAMETERS, summary.parameters)
        study.tell(trial, summary.loss["val"])
    return trial.number


class Judge(Display):
    """Shows nothing, but gives a trial up that is worse than most were after the same share of their steps."""

    def __init__(self, trial: Trial, steps: int, signals: Held) -> None:
        self.trial, self.steps, self.signals, self.percent = trial, steps, signals, 0

    def update(self, status: Status) -> None:
        """Raises StoppedError for a signal that came before the training held them back itself."""
        if self.signals.caught:
            raise StoppedError("stopped", self.signals.caught)

    def evaluated(self, step: int, loss: Mapping[str, float]) -> None:
        """Report the validation loss. Raises optuna.TrialPruned."""
        import optuna

        percent = 100 * step // self.steps
        if percent > self.percent:
            self.percent = percent
            self.trial.report(loss["val"], percent)
            if self.trial.should_prune():
                raise optuna.TrialPruned

    def warn(self, text: str) -> None:
        """A trial's own troubles are not worth a line."""


def _write(plan: Plan, trials: list[Outcome], importance: Mapping[str, float]) -> list[Path]:
    """Write the best trial's configuration, which `makemore train` takes, and the picture. Returns the files."""
    if not trials or trials[0].state != "complete":
        return []
    config = configuration.change(plan.config, trials[0].settings, f"trial {trials[0].number}")
    write_atomically(plan.folder / BEST, configuration.dump(config).encode())
    from makemore_cli.plots.sweep import SweepPicture

    picture = SweepPicture(trials, plan.space, importance, str(plan.folder))
    write_atomically(plan.folder / PICTURE, picture.render("png"))
    return [plan.folder / BEST, plan.folder / PICTURE]


def _line(plan: Plan, trials: list[Outcome], number: int) -> str:
    """What to say of a trial."""
    trial = next(t for t in trials if t.number == number)
    if trial.state == "complete":
        came = f"val {_number(trial.val, '.4f')} in {_number(trial.seconds, '.0f')} s"
    else:
        came = f"failed: {trial.told}" if trial.told else f"given up at val {_number(trial.val, '.4f')}"
    settings = ", ".join(f"{key}={short(value)}" for key, value in trial.settings.items())
    first = trials[0]
    best = f"; the best is trial {first.number}: {_number(first.val, '.4f')}" if first.state == "complete" else ""
    return f"{len(trials)}/{plan.goal}  trial {number}: {came}{best}  ({settings})"


def _number(value: float | None, format: str) -> str:
    return "" if value is None else f"{value:{format}}"
