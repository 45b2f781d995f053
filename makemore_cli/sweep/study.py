"""A sweep's study: its trials, as Optuna keeps them, and their storage."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from makemore_cli.config import load as configuration
from makemore_cli.config.schema import Config
from makemore_cli.errors import MakemoreError
from makemore_cli.sweep.space import Space, label

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial

JOURNAL = "sweep.journal"
LONGEST_JOURNAL_LINE_BYTES = 1 << 20  # of a journal's last line
TELLING_TRIALS = 8  # complete trials needed to compute importances
RANDOM_TRIALS = 8  # trials that are drawn at random and not pruned
UNDECIDED_PERCENT = 20  # percent of its steps before which a trial is not pruned
OWN = "makemore"  # the study's attribute with digests of its configuration, space and data
HOST, PID, TOLD, TRAIN, SECONDS, PARAMETERS = "host", "pid", "told", "train", "seconds", "parameters"  # of a trial
# Keys that do not affect a trial's result, and may differ between machines.
ANYWHERE = {"data.path", "train.engine", "train.device", "train.threads"}


@dataclass(frozen=True)
class Plan:
    """Everything that a worker process of a sweep needs to know."""

    config: Config
    data_sha256: str
    space: Space
    folder: Path
    storage: str | None  # an Optuna URL; None for a journal in the folder
    name: str  # of the study
    goal: int  # trials in total
    jobs: int  # trials at a time


@dataclass(frozen=True)
class Outcome:
    """A trial that has ended."""

    number: int
    settings: Mapping[str, Any]  # by the configuration's keys
    state: str  # complete, pruned, or failed
    val: float | None  # nats per character: at its end, or when it was pruned
    train: float | None
    seconds: float | None  # in training steps
    parameters: int | None
    told: str | None  # why it failed

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


class StorageError(MakemoreError):
    """The storage of a sweep's trials can't be read or written."""


def require_optuna() -> None:
    """Raise MakemoreError if Optuna is not installed."""
    try:
        import optuna
    except ImportError:
        raise MakemoreError("a sweep needs Optuna, which is not installed; run: pip install optuna") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def open_study(plan: Plan) -> Study:
    """Open the study, or create it. Raises StorageError."""
    import optuna

    sampler = optuna.samplers.TPESampler(multivariate=True, constant_liar=plan.jobs > 1, n_startup_trials=RANDOM_TRIALS)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=RANDOM_TRIALS, n_warmup_steps=UNDECIDED_PERCENT)
    with stored(plan):
        return optuna.create_study(
            storage=_storage(plan), study_name=plan.name, load_if_exists=True, sampler=sampler, pruner=pruner
        )


@contextmanager
def stored(plan: Plan) -> Iterator[None]:
    """Turn any error of the storage into a StorageError with a one-line message.

    SQLAlchemy, database drivers, Redis and damaged journals all raise different errors.
    """
    try:
        yield
    except MakemoreError:
        raise
    except Exception as error:
        where = plan.storage or plan.folder / JOURNAL
        told = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        text = f"{where}: Optuna can't use this storage: {told}; choose another one"
        parameter = "folder" if plan.storage is None else "storage"
        raise StorageError(re.sub(r"(://[^:/@\s]*):[^@\s]*@", r"\1:***@", text), parameters=(parameter,)) from None


def mend_journal(path: Path) -> None:
    """Remove an incomplete last line from a journal. No process may be writing to it.

    Raises MakemoreError for a file that is not a sweep's journal.
    """
    try:
        with path.open("r+b") as file:
            if b'"op_code"' not in file.readline(4096):
                if file.seek(0, os.SEEK_END) == 0:
                    return
                raise MakemoreError(
                    f"{path}: exists, but is not the journal of a sweep; choose another folder", parameters=("folder",)
                )
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - LONGEST_JOURNAL_LINE_BYTES))
            last = file.read()
            if not last.endswith(b"\n"):
                file.truncate(end - len(last) + last.rfind(b"\n") + 1)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise MakemoreError(
            f"{path}: can't be read: {error.strerror}; choose another folder", parameters=("folder",)
        ) from None


def _storage(plan: Plan) -> str | BaseStorage:
    if plan.storage is not None:
        return plan.storage
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(plan.folder / JOURNAL)))


def begin(study: Study, plan: Plan) -> None:
    """Begin a study with the configuration's own values, or check that an existing one matches the plan.

    Losses on different data, or with different fixed settings, are not comparable. Raises MakemoreError.
    """
    settings = {k: v for k, v in configuration.flatten(plan.config.model_dump()).items() if k not in ANYWHERE}
    space = {key: part.to_json() for key, part in plan.space.items()}
    own = {"configuration": settings, "space": space, "data": plan.data_sha256}
    digests = {k: hashlib.sha256(json.dumps(v, sort_keys=True).encode()).hexdigest() for k, v in own.items()}
    before = study.user_attrs.get(OWN)
    if before is None:
        study.set_user_attr(OWN, digests)
        first = {k: label(settings[k]) for k, part in plan.space.items() if k in settings and part.holds(settings[k])}
        if first:
            study.enqueue_trial(first)
        return
    for what, digest in digests.items():
        if before.get(what) != digest:
            raise MakemoreError(
                f"{plan.folder}: the {what} is not what the study {plan.name} was started with, so its trials can't be "
                f"compared with new ones; choose another folder",
                parameters=("folder",),
            )


def bury(study: Study) -> None:
    """Give back the trials of killed processes of this machine, so that they are tried again."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.user_attrs.get(HOST) == socket.gethostname() and not _is_alive(trial.user_attrs.get(PID)):
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
    """End a trial without a result, and have its configuration tried again."""
    from optuna.trial import TrialState

    study.tell(number, state=TrialState.FAIL)
    trial = study.trials[number]
    params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}  # as far as they were drawn
    if params:
        study.enqueue_trial(params)


def outcomes(study: Study, space: Space) -> list[Outcome]:
    """All trials that have ended: complete ones, the best first, then pruned ones, then failed ones."""
    from optuna.trial import TrialState

    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    order = ("complete", "pruned", "failed")
    return sorted(
        (_outcome(trial, space) for trial in ended),
        key=lambda o: (order.index(o.state), o.val if o.val is not None else 0.0, o.number),
    )


def _outcome(trial: FrozenTrial, space: Space) -> Outcome:
    about, state = trial.user_attrs, "complete" if trial.state.name == "COMPLETE" else "pruned"
    return Outcome(
        trial.number,
        {key: part.value(trial.params[key]) for key, part in space.items() if key in trial.params},
        "failed" if TOLD in about else state,
        trial.value,  # for a pruned trial, the last reported value
        about.get(TRAIN),
        about.get(SECONDS),
        about.get(PARAMETERS),
        about.get(TOLD),
    )


def trials_done(plan: Plan, study: Study) -> int:
    """The number of trials that have ended. Raises StorageError."""
    with stored(plan):
        return len(outcomes(study, plan.space))


def importances(study: Study) -> dict[str, float]:
    """The importance of each key for the best trials, with sum 1; empty if there are too few trials.

    By PED-ANOVA: Watanabe et al., "PED-ANOVA: efficiently quantifying hyperparameter importance", 2023.
    """
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
    from optuna.trial import TrialState

    if len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) < TELLING_TRIALS:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
        except (ValueError, RuntimeError):  # too few trials, or all alike
            return {}
