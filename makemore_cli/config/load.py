"""Load a configuration from YAML, and change it with settings such as `optim.lr=0.05`."""

from __future__ import annotations

import difflib
import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import ValidationError

from makemore_cli.config.schema import CONFIG, KINDS, Config, Section
from makemore_cli.config.strict_yaml import parse_yaml
from makemore_cli.errors import MakemoreError, ParameterError
from makemore_cli.system.bundled_files import bundled
from makemore_cli.system.files import read

LARGEST_CONFIG_BYTES = 1 << 20


def name(file: Path) -> str:
    """The name of a configuration: that of its run folder, or of its file without the suffix."""
    return file.absolute().parent.name if file.name == CONFIG else file.stem


def find(config: str | None, folder: str = "configs", what: str = "configuration") -> Path:
    """Find a configuration file by its path, or a bundled one by its bare name ("lecture")."""
    name = "quickstart" if config is None else config
    path = Path(name)
    try:
        if config and path.exists() and not path.is_dir():
            return path
    except OSError as error:
        raise MakemoreError(f"{name}: the {what} can't be read: {error.strerror}") from None
    shipped = bundled(f"{folder}/{name}.yaml")
    if re.fullmatch(r"[\w-]+", name) and shipped.is_file():
        return shipped
    known = ", ".join(sorted(file.stem for file in shipped.parent.glob("*.yaml")))
    raise MakemoreError(f"{name}: no such {what}; give a YAML file, or a bundled one by its name ({known})")


Settings = Mapping[str, Any] | Iterable[str]  # {"optim.lr": 0.05} or ["optim.lr=0.05"]


def load(path: Path, settings: Settings = (), **overrides: Any) -> Config:
    """Read a YAML file, and apply settings and then overrides ("train.steps" written train__steps).

    Overrides that are None are ignored. Raises MakemoreError, which names the file and the key, or ParameterError for a
    setting or an override.
    """
    raw = read_mapping(path, "a configuration has sections (data, model, optim, train)")
    validate(raw, str(path))  # before the settings, so that a mistake in the file is reported as the file's
    for setting in as_texts(settings):
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise ParameterError("settings", f"must be key=value, as in optim.lr=0.05, got {_cut(setting)}")
        try:
            _assign(raw, key.strip(), parse_yaml(value, _cut(setting)), _cut(setting))
            validate(raw, _cut(setting))
        except MakemoreError as error:
            raise ParameterError("settings", str(error)) from None
    return override(validate(raw, str(path)), **overrides)


def as_texts(settings: Settings) -> list[str]:
    """Settings as they are typed, "optim.lr=0.05", with the value in YAML. Raises ParameterError for another type."""
    if not isinstance(settings, Mapping):
        texts = [settings] if isinstance(settings, str) else list(settings)
        if any(not isinstance(text, str) for text in texts):
            raise ParameterError("settings", f"must be a dictionary, or texts such as optim.lr=0.05, got {settings}")
        return texts
    try:
        flat = flatten(settings)
        return [f"{key}={json.dumps(value, ensure_ascii=False, default=_plain)}" for key, value in flat.items()]
    except (TypeError, ValueError):
        raise ParameterError("settings", f"must have numbers, strings or sections as values, got {settings}") from None


def _plain(value: Any) -> Any:
    """A path or a number of NumPy's as JSON has it. Raises TypeError for anything else."""
    return value.item() if isinstance(value, np.generic) else os.fspath(value)


def read_mapping(path: Path, expected: str) -> dict[Any, Any]:
    """The keys and values of a YAML file. Raises MakemoreError, which quotes `expected`, for anything else."""
    try:
        text = read(path, LARGEST_CONFIG_BYTES)
    except OSError as error:
        raise MakemoreError(f"{path}: can't be read: {error.strerror}") from None
    raw = parse_yaml(text, str(path))
    if raw is None:
        raw = {}
    if not isinstance(raw, dict):
        raise MakemoreError(f"{path}: {expected}, but this is {kind(raw)}")
    return raw


def change(config: Config, settings: Mapping[str, Any], source: str) -> Config:
    """A copy of the configuration with new values at some dotted keys. Raises MakemoreError, which names the source."""
    raw = config.model_dump()
    for key, value in settings.items():
        _assign(raw, key, value, source)
    return validate(raw, source)


def override(config: Config, **overrides: Any) -> Config:
    """A copy of the configuration with new values ("train.steps" written train__steps); None changes nothing.

    Raises ParameterError, which names the key.
    """
    for name, value in overrides.items():
        if value is not None:
            key = name.replace("__", ".")
            value = value.item() if isinstance(value, np.generic) else value
            try:
                config = change(config, {key: value}, str(value))
            except MakemoreError as error:
                raise ParameterError(key, str(error).replace(f": {key}: ", ": ", 1)) from None
    return config


def _assign(raw: dict[str, Any], key: str, value: Any, source: str) -> None:
    """Set a dotted key to a value, and create missing sections."""
    *sections, last = key.split(".")
    place = raw
    for section in sections:
        if place.get(section) is None:
            place[section] = {}
        place = place[section]
        if not isinstance(place, dict):
            raise MakemoreError(f"{source}: {section} is a value, not a section")
    place[last] = value


def validate(raw: Any, source: str) -> Config:
    """A Config from plain values. Raises MakemoreError with the first mistake, its key and its source."""
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        mistakes = error.errors()
        more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
        raise MakemoreError(f"{source}: {_describe(mistakes[0])}{more}") from None


def _describe(mistake: Any) -> str:
    """Describe one of pydantic's errors: the key, what is wrong, and what is allowed."""
    path, section = _place(mistake["loc"])
    key = ".".join(path)
    if mistake["type"] in ("union_tag_invalid", "union_tag_not_found"):
        if not isinstance(mistake["input"], dict):
            return f"{key}: should be a section, but is {kind(mistake['input'])}"
        kinds = ", ".join(KINDS[path[-1]])
        return f"{key}.name: should be one of {kinds}, but is {kind(mistake['input'].get('name'))}"
    if mistake["type"] == "extra_forbidden":
        known = list(section.model_fields)
        close = difflib.get_close_matches(path[-1], known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
        return f"{_cut(key)}: unknown key; {hint}"
    if mistake["type"] == "value_error" and isinstance(mistake["input"], dict):
        return f"{key}: {mistake['ctx']['error']}" if key else str(mistake["ctx"]["error"])
    given = mistake["input"]
    message = re.sub(r"^(Input|Value error,) ?", "", mistake["msg"])
    message = re.sub(r"0\.0{5,}\d+|\b10{12,}\b", lambda number: f"{float(number[0]):g}", message)
    if mistake["type"] == "string_pattern_mismatch":
        message = "should be auto, cpu, cuda, cuda:N or mps"
    if mistake["type"] == "model_type":
        message = "should be a section"
    return f"{key}: {message}, but is {_cut(repr(given)) if isinstance(given, list) else kind(given)}"


def _place(location: Iterable[Any]) -> tuple[list[str], type[Section]]:
    """The path of keys to a mistake, and the section that holds the last of them.

    If a section has several kinds, pydantic inserts the name of the kind between the section and its keys.
    """
    path: list[str] = []
    section: type[Section] = Config
    inner: Any = Config
    for part in map(str, location):
        if path and inner is None and part in KINDS.get(path[-1], {}):
            inner = KINDS[path[-1]][part]
            continue
        section = inner if inner is not None else section
        path.append(part)
        field = section.model_fields.get(part)
        inner = field.annotation if field is not None else None
        inner = inner if isinstance(inner, type) and issubclass(inner, Section) else None
    return path, section


def kind(value: Any) -> str:
    """A value as a message shows it, shortened if it is long."""
    if value is None:
        return "empty"
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:100]}…"


def flatten(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every setting of a section by its dotted key."""
    settings: dict[str, Any] = {}
    for key, value in section.items():
        settings |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return settings


def dump(config: Config) -> str:
    """The configuration as YAML, with every key; `load` reads it back as an equal one."""
    return yaml.safe_dump(config.model_dump(), sort_keys=False, allow_unicode=True)
