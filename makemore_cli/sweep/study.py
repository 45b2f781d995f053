"""A sweep's study: its trials, as Optuna keeps them."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from makemore_cli.config import load as configuration
from makemore_cli.config.schema import Config
from makemore_cli.errors import MakemoreError
from makemore_cli.sweep.space import Space, label
from makemore_cli.sweep.storage import open_storage, stored

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

TELLING_TRIALS = 8  # complete trials needed to compute importances
RANDOM_TRIALS = 8  # trials that are drawn at random and not pruned
UNDECIDED_PERCENT = 20  # percent of its steps before which a trial is not pruned
OWN = "makemore"  # the study's attribute with digests of its configuration, space and data
TOLD, TRAIN, SECONDS, PARAMETERS = "told", "train", "seconds", "parameters"  # attributes of a trial
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


def require_optuna() -> None:
    """Raise MakemoreError if Optuna is not installed."""
    try:
        import optuna
    except ImportError:
        raise MakemoreError("a sweep needs Optuna, which is not installed; run: pip install optuna") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def open_study(plan: Plan, ended: Callable[[], bool] = lambda: False) -> Study:
    """Open the study, or create it. A database's server is waited for, until `ended`. Raises StorageError."""
    import optuna

    sampler = optuna.samplers.TPESampler(multivariate=True, constant_liar=plan.jobs > 1, n_startup_trials=RANDOM_TRIALS)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=RANDOM_TRIALS, n_warmup_steps=UNDECIDED_PERCENT)
    with stored(plan):
        return optuna.create_study(
            storage=open_storage(plan, ended), study_name=plan.name, load_if_exists=True, sampler=sampler, pruner=pruner
        )


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
