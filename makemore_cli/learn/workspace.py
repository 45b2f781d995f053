"""A learner's folder: the exercises' files, and progress.yaml, which says by name what is solved."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from makemore_cli.config.load import read_mapping
from makemore_cli.errors import MakemoreError
from makemore_cli.learn.course import BUNDLED, Course, load_course
from makemore_cli.learn.exercise import HINTS
from makemore_cli.system.files import write_atomically

PROGRESS = "progress.yaml"
COPIES = "copies"  # the folder with copies of files that were reset
BUNDLED_NAME = "bundled"
HEADER = "# Written by `makemore learn`: the course, and the exercises that are solved or skipped, by name.\n"


class Progress(BaseModel):
    """The content of progress.yaml."""

    model_config = ConfigDict(extra="forbid")

    course: str = BUNDLED_NAME  # or the folder of another course
    exercises: list[str] = []  # those that were laid out
    solved: dict[str, date] = {}
    skipped: list[str] = []
    hints: dict[str, Annotated[int, Field(ge=0, le=HINTS)]] = {}  # how many were shown
    current: str | None = None  # the exercise that was started, if it is not simply the first one that is open


@dataclass
class Workspace:
    """A folder of exercises. Raises MakemoreError if its files can't be read or written."""

    folder: Path
    course: Course
    progress: Progress = field(default_factory=Progress)

    @property
    def names(self) -> list[str]:
        """The exercises that were laid out and that the course still has, in its order."""
        return [name for name in self.course.names if name in self.progress.exercises]

    def path(self, name: str) -> Path:
        """The learner's file of an exercise."""
        return self.folder / f"{name}.py"

    def find(self, name: str) -> str:
        """The whole name of an exercise that was laid out; see `Course.find`."""
        found = self.course.find(name)
        if found not in self.progress.exercises:
            raise MakemoreError(f"{self.folder}: exercise {found} was not laid out here; lay it out first")
        return found

    def state(self, name: str) -> str:
        """Whether an exercise is "solved", "skipped" or "open"."""
        if name in self.progress.solved:
            return "solved"
        return "skipped" if name in self.progress.skipped else "open"

    @property
    def current(self) -> str | None:
        """The current exercise: the one that was started, or the first one that is open; None if none is."""
        started = self.progress.current
        if started in self.names and self.state(started) == "open":
            return started
        after = self.names.index(started) if started in self.names else 0
        ordered = self.names[after:] + self.names[:after]
        return next((name for name in ordered if self.state(name) == "open"), None)

    def solve(self, name: str) -> None:
        """Record that an exercise is solved."""
        if name not in self.progress.solved:
            self.progress.solved[name] = date.today()
        if name in self.progress.skipped:
            self.progress.skipped.remove(name)
        self.save()

    def fail(self, name: str) -> None:
        """Record that the file of an exercise does not pass any more."""
        if self.progress.solved.pop(name, None):
            self.save()

    def skip(self, name: str) -> None:
        """Record that an exercise is skipped."""
        if name not in self.progress.skipped and name not in self.progress.solved:
            self.progress.skipped.append(name)
        if self.progress.current == name:
            self.progress.current = None
        self.save()

    def start(self, name: str) -> None:
        """Work on an exercise, wherever it is in the order."""
        self.progress.current = name
        if name in self.progress.skipped:
            self.progress.skipped.remove(name)
        self.save()

    def hint(self, name: str) -> tuple[int, str]:
        """The next hint, and its number. After the last one they begin again."""
        number = self.progress.hints.get(name, 0) % HINTS + 1
        self.progress.hints[name] = number
        self.save()
        return number, self.course.exercise(name).entry.hints[number - 1]

    def lay_out(self, names: Iterable[str]) -> tuple[list[str], list[str]]:
        """Write the files that are missing. Returns the names of those written, and of those that were there.

        A file that is there is never touched.
        """
        texts = {name: self.course.exercise(name).source.shipped for name in names}  # all, before anything is written
        written, there = [], []
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name, text in texts.items():
                path = self.path(name)
                if path.exists() or path.is_symlink():
                    there.append(name)
                else:
                    path.write_text(text, encoding="utf-8")
                    written.append(name)
                if name not in self.progress.exercises:
                    self.progress.exercises.append(name)
        except OSError as error:
            raise MakemoreError(f"{error.filename or self.folder}: can't be written: {error.strerror}") from None
        self.save()
        return written, there

    def reset(self, name: str) -> Path | None:
        """Write the file as it was laid out. Returns where a copy of the learner's own was kept, if it had changed."""
        path, shipped = self.path(name), self.course.exercise(name).source.shipped
        kept = None
        try:
            own = path.read_bytes() if path.exists() else b""
            if own and own != shipped.encode():
                kept = self._free_place(name)
                kept.parent.mkdir(exist_ok=True)
                kept.write_bytes(own)
            path.write_text(shipped, encoding="utf-8")
        except OSError as error:
            raise MakemoreError(f"{error.filename or path}: can't be written: {error.strerror}") from None
        self.progress.solved.pop(name, None)
        self.save()
        return kept

    def _free_place(self, name: str) -> Path:
        number = 1
        while (place := self.folder / COPIES / f"{name}.{number}.py").exists():
            number += 1
        return place

    def save(self) -> None:
        """Write progress.yaml. Raises WriteError."""
        content = yaml.safe_dump(self.progress.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        write_atomically(self.folder / PROGRESS, (HEADER + content).encode())


def open_workspace(folder: Path) -> Workspace:
    """The exercises in a folder. Raises MakemoreError if there are none, or their progress can't be read."""
    path = folder / PROGRESS
    if not path.is_file():
        raise MakemoreError(f"{folder}: there are no exercises here; lay them out first", parameters=("folder",))
    raw: dict[Any, Any] = read_mapping(path, "progress has course, exercises, solved and skipped")
    try:
        progress = Progress.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise MakemoreError(
            f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}; correct or delete it"
        ) from None
    return Workspace(folder, load_course(course_folder(progress.course)), progress)


def new_workspace(folder: Path, course: str | None) -> Workspace:
    """The exercises in a folder, or new ones of a course. Raises MakemoreError if the folder has another course's."""
    if not (folder / PROGRESS).is_file():
        name = BUNDLED_NAME if course is None else str(Path(course).absolute())
        return Workspace(folder, load_course(course_folder(name)), Progress(course=name))
    found = open_workspace(folder)
    if course is not None and course_folder(found.progress.course) != Path(course).absolute():
        raise MakemoreError(f"{folder}: holds the exercises of another course, {found.progress.course}")
    return found


def course_folder(name: str) -> Path:
    """The folder of a course, from its name in progress.yaml."""
    return BUNDLED if name == BUNDLED_NAME else Path(name)
