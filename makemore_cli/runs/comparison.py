"""Compare the runs in a folder: their settings and their results."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from makemore_cli.config import load as configuration
from makemore_cli.config.schema import Config
from makemore_cli.errors import MakemoreError, ParameterError
from makemore_cli.names.dataset import NAMED
from makemore_cli.names.splits import SPLITS
from makemore_cli.runs.file_names import CHECKPOINT, CONFIG, METRICS, SUMMARY
from makemore_cli.runs.metrics import load_ending
from makemore_cli.runs.run_folder import holds_run
from makemore_cli.runs.summary import load_summary
from makemore_cli.system.console import foreign, plain_table
from makemore_cli.system.output import duration


@dataclass(frozen=True)
class RunInfo:
    """A summary of a run. A field is None if an unfinished run does not have it yet."""

    run: Path
    config: Config
    step: int
    loss: Mapping[str, float]  # of the last evaluation, by split
    parameters: int | None
    seconds: float | None
    date: datetime  # when it ended, or when something was last written
    environment: Mapping[str, str]  # at its end

    @property
    def finished(self) -> bool:
        return self.step >= self.goal

    @property
    def goal(self) -> int:
        """The number of steps to train in all."""
        return self.config.train.steps

    @property
    def network(self) -> str:
        m = self.config.model
        return f"T{m.context_length} E{m.embedding_size} H{m.hidden_size}"

    @property
    def data(self) -> str:
        """The name of the data set, or of its file."""
        path = self.config.data.path
        return path if path in NAMED else Path(path).name

    def to_json(self) -> dict[str, Any]:
        return {
            "run": str(self.run),
            "data": self.config.data.path,
            "step": self.step,
            "steps": self.goal,
            "finished": self.finished,
            "loss": dict(self.loss),
            "parameters": self.parameters,
            "seconds": self.seconds,
            "date": self.date.isoformat(timespec="seconds"),
            "config": self.config.model_dump(),
        }


def find_runs(folder: Path) -> tuple[list[RunInfo], list[MakemoreError]]:
    """All runs in a folder and its subfolders, sorted by name, and the errors of those that can't be read.

    Links to folders are not followed. Raises MakemoreError if there is no such folder.
    """
    if not folder.is_dir():
        raise MakemoreError(f"{folder}: is not a folder; give the folder that holds your runs", parameters=("folder",))
    found, unreadable = [], []
    for place, folders, _ in os.walk(folder):
        folders.sort()
        if holds_run(Path(place)):
            folders.clear()
            try:
                found.append(run_info(Path(place)))
            except MakemoreError as error:
                unreadable.append(error)
    return found, unreadable


def run_info(run: Path) -> RunInfo:
    """Summarise a run. Raises MakemoreError if there is none, or if its files can't be read."""
    if not holds_run(run):
        raise MakemoreError(f"{run}: holds no run; give a run folder")
    config, summary = configuration.load(run / CONFIG), load_summary(run)
    file = next(file for name in (SUMMARY, METRICS, CHECKPOINT) if (file := run / name).is_file())
    date = datetime.fromtimestamp(file.stat().st_mtime, UTC)
    if summary is None:
        ending = load_ending(run)
        return RunInfo(run, config, ending.step, ending.loss, None, None, date, {})
    return RunInfo(
        run,
        config,
        summary.steps,
        summary.loss,
        summary.parameters,
        summary.seconds,
        summary.date or date,
        summary.environment,
    )


SORTS = ("name", "data", "train", "val", "test", "steps", "time", "date")


def sort_runs(runs: list[RunInfo], by: str) -> list[RunInfo]:
    """Sort runs: losses, steps and times ascending, dates from the latest; missing values come last.

    Raises ParameterError if `by` is not one of SORTS.
    """
    if by not in SORTS:
        raise ParameterError("sort", f"must be one of {', '.join(SORTS)}, got {by}")

    def key(info: RunInfo) -> tuple[bool, Any]:
        value: Any = {
            "name": str(info.run),
            "data": info.data,
            "steps": info.step,
            "time": info.seconds,
            "date": -info.date.timestamp(),
        }.get(by, info.loss.get(by))
        return value is None, value if value is not None else 0

    return sorted(runs, key=key)


def show_runs(runs: list[RunInfo], console: Console) -> None:
    """Print a table of runs, with as many columns as fit."""
    # In order of importance: the last ones are dropped if they do not fit.
    columns: dict[str, list[str]] = {
        "run": [str(info.run) for info in runs],
        "val": [_loss(info.loss.get("val")) for info in runs],
        "train": [_loss(info.loss.get("train")) for info in runs],
        "steps": [f"{info.step:,}" if info.finished else f"{info.step:,} of {info.goal:,}" for info in runs],
        "network": [info.network for info in runs],
        "data": [info.data for info in runs],
        "time": ["–" if info.seconds is None else duration(info.seconds) for info in runs],
        "test": [_loss(info.loss.get("test")) for info in runs],
        "date": [info.date.astimezone().strftime("%Y-%m-%d %H:%M") for info in runs],
        "lr": [f"{info.config.optim.lr:g}" for info in runs],
        "batch": [f"{info.config.train.batch_size}" for info in runs],
    }
    order = ["run", "data", "network", "batch", "lr", "steps", "train", "val", "test", "time", "date"]
    while True:
        table = plain_table()
        for name in filter(columns.__contains__, order):
            right = name not in ("run", "data", "network", "date")
            table.add_column(name, justify="right" if right else "left", overflow="fold", no_wrap=name != "run")
        for row in zip(*(columns[name] for name in order if name in columns), strict=True):
            table.add_row(*map(foreign, row))
        if len(columns) == 2 or _width(table, console) <= console.width:
            console.print(table)
            return
        columns.popitem()


def _width(table: Table, console: Console) -> int:
    """The width of a table that is not cut, in characters."""
    return Measurement.get(console, console.options.update(max_width=10_000), table).maximum


def _loss(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


@dataclass(frozen=True)
class Difference:
    """Two runs, and how they differ."""

    first: RunInfo
    second: RunInfo

    def settings(self) -> Iterator[tuple[str, Any, Any]]:
        """The keys of the configuration that differ, with both values."""
        before, after = (configuration.flatten(info.config.model_dump()) for info in (self.first, self.second))
        for key in dict.fromkeys([*before, *after]):
            if before.get(key) != after.get(key):
                yield key, before.get(key), after.get(key)

    def losses(self) -> Iterator[tuple[str, float, float]]:
        """The splits for which both runs have a loss, with both losses."""
        for split in SPLITS:
            if split in self.first.loss and split in self.second.loss:
                yield split, self.first.loss[split], self.second.loss[split]

    def to_json(self) -> dict[str, Any]:
        return {
            "runs": [str(self.first.run), str(self.second.run)],
            "settings": {key: [before, after] for key, before, after in self.settings()},
            "loss": {split: [before, after] for split, before, after in self.losses()},
            "step": [self.first.step, self.second.step],
            "parameters": [self.first.parameters, self.second.parameters],
            "seconds": [self.first.seconds, self.second.seconds],
        }


def show_difference(difference: Difference, console: Console) -> None:
    """Print the settings that differ, and both runs' losses."""
    a, b = difference.first, difference.second
    settings = list(difference.settings())
    if settings:
        table = plain_table()
        for name in ("setting", str(a.run), str(b.run)):
            table.add_column(foreign(name), overflow="fold")
        for key, before, after in settings:
            table.add_row(key, *(foreign("–" if value is None else value) for value in (before, after)))
        console.print(table)
    else:
        console.print("The settings are the same.\n")
    table = plain_table()
    table.add_column("")
    for name in (str(a.run), str(b.run), "second − first"):
        table.add_column(foreign(name), justify="right", overflow="fold")
    for split, before, after in difference.losses():
        table.add_row(f"{split} loss", _loss(before), _loss(after), f"{after - before:+.4f}".replace("-", "−"))
    table.add_row("steps", f"{a.step:,}", f"{b.step:,}", "")
    for label, values in (
        ("parameters", [None if n is None else f"{n:,}" for n in (a.parameters, b.parameters)]),
        ("time", [None if s is None else duration(s) for s in (a.seconds, b.seconds)]),
    ):
        table.add_row(label, *(value or "–" for value in values), "")
    console.print(table)
