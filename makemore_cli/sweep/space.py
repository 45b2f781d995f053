"""The search space of a sweep: the values that some of the configuration's keys may have.

optim.lr: {low: 0.0005, high: 0.01, log: true}     # a range; of integers if both ends are integers
model.context_length: {low: 4, high: 8}
model.hidden_size: {low: 128, high: 1024, step: 128}
optim.name: [sgd, adamw]                           # or a list of values
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import Field, ValidationError, model_validator

from makemore_cli.config import load as configuration
from makemore_cli.config.schema import Config, Section
from makemore_cli.errors import MakemoreError

if TYPE_CHECKING:
    from optuna.trial import Trial

DRAWN_CONFIGURATIONS = 100  # configurations drawn at random, at least one of which must be valid
FINEST_STEPS = 10**9  # most steps in a range
EXPECTED = "a search space gives each configuration key a list of values or {low: …, high: …}"


class Range(Section):
    """All numbers from `low` to `high`, or all integers if both are integers."""

    low: int | float
    high: int | float
    log: bool = Field(False, description="whether to search on a logarithmic scale")
    step: int | float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _sane(self) -> Range:
        if self.low >= self.high:
            raise ValueError("low must be less than high")
        if self.step is not None and (self.high - self.low) / self.step > FINEST_STEPS:
            raise ValueError("step is too small for the range")
        if self.log and self.low <= 0:
            raise ValueError("low must be above 0 if log is true")
        if self.log and self.step is not None:
            raise ValueError("step can't be combined with log")
        if self.whole and isinstance(self.step, float):
            raise ValueError("step must be an integer if low and high are integers")
        return self

    @property
    def whole(self) -> bool:
        """Whether its numbers are integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def holds(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return self.low <= value <= self.high and abs(steps - round(steps)) < 1e-9

    def value(self, held: Any) -> Any:
        return held

    def to_json(self) -> object:
        return self.model_dump()

    def draw(self, rng: random.Random) -> int | float:
        return rng.randint(int(self.low), int(self.high)) if self.whole else rng.uniform(self.low, self.high)

    def suggest(self, trial: Trial, key: str) -> int | float:
        if self.whole:
            return trial.suggest_int(key, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return trial.suggest_float(key, self.low, self.high, step=self.step, log=self.log)


@dataclass(frozen=True)
class Choice:
    """A list of values, by their labels. A section's label is its JSON, since a study can only hold scalars."""

    values: Mapping[str | int | float | bool | None, Any]

    def holds(self, value: object) -> bool:
        return value in self.values.values()

    def value(self, held: Any) -> Any:
        """The value that has a label."""
        return self.values[held]

    def to_json(self) -> object:
        return list(self.values)

    def draw(self, rng: random.Random) -> Any:
        return rng.choice(list(self.values.values()))

    def suggest(self, trial: Trial, key: str) -> Any:
        return self.values[trial.suggest_categorical(key, list(self.values))]


Space = Mapping[str, Range | Choice]


def label(value: Any) -> Any:
    """A value's label in a study: a scalar itself, anything else as JSON."""
    return value if isinstance(value, str | int | float | bool | None) else json.dumps(value)


def short(value: Any) -> str:
    """A value as short YAML."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False).removesuffix("\n...\n").strip()


def load_space(path: Path, config: Config) -> Space:
    """Read a space, and check that the configuration accepts its values. Raises MakemoreError."""
    raw = configuration.read_mapping(path, EXPECTED)
    if not raw:
        raise MakemoreError(f"{path}: is empty; {EXPECTED}")
    settings = configuration.flatten(config.model_dump())
    space: dict[str, Range | Choice] = {}
    for key, value in raw.items():
        if not isinstance(key, str) or not key.strip("."):
            raise MakemoreError(f"{path}: {EXPECTED}, but {key!r} is not a key")
        if key.partition(".")[0] == "data":
            raise MakemoreError(f"{path}: {key}: losses on different data can't be compared; remove this key")
        part = space[key] = _part(value, isinstance(settings.get(key), float), f"{path}: {key}")
        for end in [part.low, part.high] if isinstance(part, Range) else part.values.values():
            _check(config, key, end, str(path))
    _check_some(config, space, str(path))
    return space


def _part(value: Any, real: bool, source: str) -> Range | Choice:
    """A key's values. If `real`, they are not integers, even if both ends are."""
    if isinstance(value, list):
        if not all(_is_plain(choice) for choice in value):
            raise MakemoreError(f"{source}: has a value that a configuration can't have, such as a date")
        values = {label(choice): choice for choice in value}
        if len(values) < 2 or len(values) < len(value):
            raise MakemoreError(f"{source}: give at least two values, all different")
        return Choice(values)
    if isinstance(value, dict):
        if real:
            value |= {end: float(n) for end in ("low", "high", "step") if type(n := value.get(end)) is int}
        try:
            return Range.model_validate(value)
        except ValidationError as error:
            mistake = error.errors()[0]
            where = f"{mistake['loc'][0]}: " if mistake["loc"] else ""
            if mistake["type"] == "extra_forbidden":
                told = f"unknown key; known here: {', '.join(Range.model_fields)}"
            elif mistake["type"] == "missing":
                told = "is missing"
            elif mistake["type"] == "value_error":
                told = str(mistake["ctx"]["error"])
            else:
                told = f"should be {'true or false' if where == 'log: ' else 'a number'}, but is " + configuration.kind(
                    mistake["input"]
                )
            raise MakemoreError(f"{source}: {where}{told}") from None
    raise MakemoreError(f"{source}: give a list of values or {{low: …, high: …}}, not {configuration.kind(value)}")


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(inner) for key, inner in value.items())
    if isinstance(value, list):
        return all(_is_plain(inner) for inner in value)
    return isinstance(value, str | int | float | bool | None)


def _check(config: Config, key: str, value: Any, source: str) -> None:
    """Raise MakemoreError for a value that the key can never have. Those that other keys make invalid are accepted."""
    try:
        configuration.change(config, {key: value}, source)
    except MakemoreError as error:
        if str(error).startswith(f"{source}: {key}"):
            raise


def _check_some(config: Config, space: Space, source: str) -> None:
    """Raise MakemoreError if none of many configurations drawn at random is valid."""
    draw, refused = random.Random(0), None
    for _ in range(DRAWN_CONFIGURATIONS):
        try:
            configuration.change(config, {key: part.draw(draw) for key, part in space.items()}, source)
        except MakemoreError as error:
            refused = refused or error
        else:
            return
    if refused:
        raise refused
