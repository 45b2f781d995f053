"""What a sweep searches: for some of the configuration's keys, the values that they may have.

optim.lr: {low: 0.0005, high: 0.01, log: true}     # a range; of whole numbers where both ends are
model.context_length: {low: 4, high: 8}
model.hidden_size: {low: 128, high: 1024, step: 128}
optim.name: [sgd, adamw]                           # or some values
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import Field, ValidationError, model_validator

from makemore_cli import config as configuration
from makemore_cli.config import Config, Section
from makemore_cli.errors import MakemoreError

if TYPE_CHECKING:
    from optuna.trial import Trial

EXPECTED = "a space has keys of the configuration, each with a list of values or {low: …, high: …}"


class Range(Section):
    """All numbers between two, or whole ones where both are whole."""

    low: int | float
    high: int | float
    log: bool = Field(False, description="whether the search goes by ratios")
    step: int | float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _sane(self) -> Range:
        if self.low >= self.high:
            raise ValueError("low must be less than high")
        if self.log and self.low <= 0:
            raise ValueError("log needs numbers above zero")
        if self.log and self.step is not None:
            raise ValueError("log has no step")
        if self.whole and isinstance(self.step, float):
            raise ValueError("whole numbers have whole steps")
        return self

    @property
    def whole(self) -> bool:
        """Whether it is one of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def holds(self, value: object) -> bool:
        """Whether a value lies in it."""
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        on_a_step = self.step is None or abs((value - self.low) / self.step % 1) < 1e-9
        return self.low <= value <= self.high and on_a_step

    def value(self, held: Any) -> Any:
        """The value that a study holds."""
        return held

    def to_json(self) -> object:
        """What it is, as JSON takes it."""
        return self.model_dump()

    def suggest(self, trial: Trial, key: str) -> int | float:
        """A trial's value."""
        if self.whole:
            return trial.suggest_int(key, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return trial.suggest_float(key, self.low, self.high, step=self.step, log=self.log)


@dataclass(frozen=True)
class Choice:
    """Some values, by what each is called: a section by its JSON, since a study holds nothing but single values."""

    values: Mapping[str | int | float | bool | None, Any]

    def holds(self, value: object) -> bool:
        """Whether a value is one of them."""
        return value in self.values.values()

    def value(self, held: Any) -> Any:
        """The value that a study holds something in place of."""
        return self.values[held]

    def to_json(self) -> object:
        """What it is, as JSON takes it."""
        return list(self.values)

    def suggest(self, trial: Trial, key: str) -> Any:
        """A trial's value."""
        return self.values[trial.suggest_categorical(key, list(self.values))]


Space = Mapping[str, Range | Choice]


def label(value: Any) -> Any:
    """What a study holds in place of a value."""
    return value if isinstance(value, str | int | float | bool | None) else json.dumps(value)


def short(value: Any) -> str:
    """A value in few signs, as YAML has it."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False).removesuffix("\n...\n").strip()


def load_space(path: Path, config: Config) -> Space:
    """Read a space, and make sure that the configuration takes its values. Raises MakemoreError."""
    raw = configuration.read_mapping(path, EXPECTED)
    if not raw:
        raise MakemoreError(f"{path}: is empty; {EXPECTED}")
    space: dict[str, Range | Choice] = {}
    for key, value in raw.items():
        if not isinstance(key, str):
            raise MakemoreError(f"{path}: {EXPECTED}, but here is the key {key!r}")
        part = space[key] = _part(value, f"{path}: {key}")
        ends = [part.low, part.high] if isinstance(part, Range) else list(part.values.values())
        for end in ends:
            _check(config, key, end, str(path))
    return space


def _part(value: Any, source: str) -> Range | Choice:
    if isinstance(value, list):
        values = {label(choice): choice for choice in value}
        if len(values) < 2 or len(values) < len(value):
            raise MakemoreError(f"{source}: give at least two values, each once")
        return Choice(values)
    if isinstance(value, dict):
        try:
            return Range.model_validate(value)
        except ValidationError as error:
            mistake = error.errors()[0]
            where = ".".join([*map(str, mistake["loc"][:1])])
            told = mistake["msg"].removeprefix("Value error, ").removeprefix("Input ")
            raise MakemoreError(f"{source}: {f'{where}: ' if where else ''}{told}") from None
    raise MakemoreError(f"{source}: give a list of values or {{low: …, high: …}}, not {configuration.kind(value)}")


def _check(config: Config, key: str, value: Any, source: str) -> None:
    """Raises MakemoreError for a value that the key may never have; others depend on those of other keys."""
    try:
        configuration.change(config, {key: value}, source)
    except MakemoreError as error:
        if str(error).startswith(f"{source}: {key}"):
            raise
