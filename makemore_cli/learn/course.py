"""A course: exercises in order, from a folder with a manifest, course.yaml, and the exercises' sources."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from makemore_cli.config.load import read_mapping
from makemore_cli.errors import MakemoreError, ParameterError
from makemore_cli.learn.exercise import Entry, Exercise, parse
from makemore_cli.system.files import read

BUNDLED = Path(__file__).parent / "exercises"
MANIFEST, DRAWS = "course.yaml", "draws.py"
LARGEST_SOURCE_BYTES = 1 << 20


class Manifest(BaseModel):
    """The content of course.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    sections: dict[Annotated[str, Field(pattern=r"^[A-Z]$")], str]
    exercises: Annotated[tuple[Entry, ...], Field(min_length=1)]


@dataclass(frozen=True)
class Course:
    """The exercises of a folder."""

    folder: Path
    manifest: Manifest

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The exercises' names, in order."""
        return tuple(entry.name for entry in self.manifest.exercises)

    def exercise(self, name: str) -> Exercise:
        """An exercise by its name, or by its letter and number, such as d3. Raises ParameterError if there is none."""
        entry = self.manifest.exercises[self.names.index(self.find(name))]
        path = self.folder / f"{entry.name}.py"
        if path.is_file():
            return Exercise(entry, parse(read(path, LARGEST_SOURCE_BYTES).decode(), str(path)))
        if entry.check.chain is None:
            raise MakemoreError(f"{path}: no such file; the manifest names it")
        from makemore_cli.checks.check_chain import find
        from makemore_cli.checks.function_pair import FunctionPair
        from makemore_cli.learn.gradient_source import gradient_source

        subject = find(self.chain_name(entry))
        if isinstance(subject, FunctionPair):
            raise MakemoreError(f"{self.folder}: {entry.check.chain}: must be a chain of steps")
        return Exercise(entry, gradient_source(subject, entry))

    def chain_name(self, entry: Entry) -> str:
        """The name of an exercise's chain, or the path of its file, which may lie in the course's folder."""
        own = self.folder / (entry.check.chain or "")
        return str(own) if entry.check.chain and own.is_file() else entry.check.chain or ""

    def find(self, name: str) -> str:
        """The whole name of an exercise. Raises ParameterError if there is none."""
        name = name.removesuffix(".py")
        short = [one for one in self.names if one == name or ("_" not in name and _number(one) == _number(name))]
        if len(short) != 1:
            raise ParameterError(
                "name", f"must be an exercise, such as {self.names[0]} or d3, got {name}; see the list"
            )
        return short[0]

    @cached_property
    def draws(self) -> ModuleType:
        """The course's draws.py, whose functions draw the arguments of an exercise's function."""
        module: ModuleType = loaded(self.folder / DRAWS)
        return module


def _number(name: str) -> str:
    """The letter and the number of an exercise, without leading zeros: d1 for d01_logprobs."""
    return re.sub(r"^([a-z])0+", r"\1", name.partition("_")[0])


def load_course(folder: Path = BUNDLED) -> Course:
    """Read a course's manifest. Raises MakemoreError, which names the file and the key."""
    path = folder / MANIFEST
    if not path.is_file():
        raise MakemoreError(f"{folder}: has no {MANIFEST}; give the folder of a course")
    raw = read_mapping(path, "a manifest has title, sections and exercises")
    try:
        manifest = Manifest.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise MakemoreError(f"{path}: {key}: {first['msg'].removeprefix('Value error, ')}") from None
    names = [entry.name for entry in manifest.exercises]
    if len({*names}) < len(names):
        raise MakemoreError(f"{path}: two exercises have the same name: {next(n for n in names if names.count(n) > 1)}")
    if unknown := {entry.section for entry in manifest.exercises} - manifest.sections.keys():
        raise MakemoreError(f"{path}: no section {', '.join(sorted(unknown))}; add it to sections")
    return Course(folder, manifest)


def only(course: Course, letters: Iterable[str]) -> list[str]:
    """The names of the exercises in some sections. Raises ParameterError for an unknown section."""
    wanted = [letter.strip().upper() for letter in letters if letter.strip()]
    for letter in wanted:
        if letter not in course.manifest.sections:
            raise ParameterError("only", f"must be sections ({', '.join(course.manifest.sections)}), got {letter}")
    return [entry.name for entry in course.manifest.exercises if entry.section in wanted]


def loaded(path: Path) -> Any:
    """A Python file as a module. Errors in it are raised as they are."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
