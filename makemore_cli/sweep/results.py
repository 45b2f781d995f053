"""The results of a sweep, as a table, as JSON, as a configuration and as a plot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from makemore_cli.config import load as configuration
from makemore_cli.sweep.space import short
from makemore_cli.sweep.storage import stored
from makemore_cli.sweep.study import Outcome, Plan, importances, outcomes
from makemore_cli.system.console import foreign, plain_table
from makemore_cli.system.files import write_atomically

if TYPE_CHECKING:
    from optuna.study import Study

BEST, PICTURE = "best.yaml", "sweep.png"
SHOWN_TRIALS = 10  # trials in the table


@dataclass(frozen=True)
class Results:
    """The results of a sweep."""

    plan: Plan
    trials: list[Outcome]  # the best first
    importance: Mapping[str, float]
    files: list[Path]  # that were written

    def to_json(self) -> dict[str, Any]:
        return {
            "folder": str(self.plan.folder),
            "study": self.plan.name,
            "trials": [trial.to_json() for trial in self.trials],
            "importance": dict(self.importance),
            "files": [str(file) for file in self.files],
        }

    def show(self, console: Console) -> None:
        """Print the best trials, the importance of each key, and the files."""
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
            console.print(foreign(f"importance: {shares}"), soft_wrap=True)
        for file in self.files:
            console.print(foreign(file), soft_wrap=True)


def write_results(plan: Plan, study: Study) -> Results:
    """Write the best trial's configuration, which `makemore train` takes, and the plot."""
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


def trial_line(plan: Plan, study: Study, number: int) -> str:
    """The result of a trial in one line."""
    with stored(plan):
        trials = outcomes(study, plan.space)
    trial, first = next(t for t in trials if t.number == number), trials[0]
    if trial.state == "complete":
        came = f"val {_number(trial.val, '.4f')} in {_number(trial.seconds, '.0f')} s"
    else:
        came = f"failed: {trial.told}" if trial.told else f"pruned at val {_number(trial.val, '.4f')}"
    settings = ", ".join(f"{key}={short(value)}" for key, value in trial.settings.items())
    best = f"; the best is trial {first.number}: {_number(first.val, '.4f')}" if first.state == "complete" else ""
    return f"{len(trials)}/{plan.goal}  trial {number}: {came}{best}  ({settings})"


def _number(value: float | None, format: str) -> str:
    return "" if value is None else f"{value:{format}}"
