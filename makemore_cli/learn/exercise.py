"""An exercise, and its source: the file that a learner gets, the solution, and typical mistakes, all in one.

The source of an exercise is a Python file. The line to write carries a marker, and after it come comments that no
learner sees:

    def slope(f, x, h):
        return 0.0  # not written yet
        #: return (f(x + h) - f(x)) / h
        #! The change is not divided by h.
        #!: return f(x + h) - f(x)

`#:` is a line of the solution, `#!` says what is wrong with a mistake, and `#!:` is a line of that mistake. Other lines
between the marker and these comments are shipped too, and the solution takes their place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from makemore_cli.errors import MakemoreError

MARKER = "# not written yet"
HINTS = 3


class Check(BaseModel):
    """How an exercise is checked.

    Either `function` is compared with the solution's on arguments from the function `draw` in the course's draws.py, or
    `gradient` is a tensor of a chain, whose gradient the function d<gradient> must compute.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    function: str | None = None
    draw: str | None = None
    observe: str | None = None  # a function in draws.py: what of the result and the arguments is compared
    chain: str | None = None
    gradient: str | None = None
    seconds: Annotated[float, Field(gt=0, le=3600)] = 10.0  # the longest time that a check may take
    trials: Annotated[int, Field(ge=1, le=100)] = 4  # how many times arguments are drawn
    keeps: bool = False  # changing a tensor among the arguments in place is a mistake; for a gradient it always is
    margin: float | None = None  # what is observed is a loss, which may be this much above the solution's

    @model_validator(mode="after")
    def _is_one_kind(self) -> Check:
        by_values, by_chain = (self.function, self.draw), (self.chain, self.gradient)
        if (None in by_values) is (None in by_chain) or (any(by_values) and any(by_chain)):
            raise ValueError("needs either function and draw, or chain and gradient")
        return self


class Entry(BaseModel):
    """What the manifest says of an exercise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z][0-9]+_[A-Za-z0-9_]+$")]
    title: str
    teaches: str
    hints: Annotated[tuple[str, ...], Field(min_length=HINTS, max_length=HINTS)]
    insight: str
    check: Check
    text: str = ""  # for a gradient: what its header adds to what the chain says

    @property
    def section(self) -> str:
        """The section's letter."""
        return self.name[0].upper()


@dataclass(frozen=True)
class Mistake:
    """A typical wrong answer."""

    says: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """The parts of an exercise's file."""

    before: tuple[str, ...]
    unwritten: tuple[str, ...]  # the line with the marker, and those that are replaced with it
    solution: tuple[str, ...]
    after: tuple[str, ...] = ()
    mistakes: tuple[Mistake, ...] = field(default=())

    def is_unwritten(self, text: str) -> bool:
        """Whether a learner's file still has the line with the marker, as it was shipped."""
        marked = self.unwritten[0].strip()
        return any(line.strip() == marked for line in text.splitlines())

    @property
    def shipped(self) -> str:
        """The file that a learner gets."""
        return self.written(self.unwritten)

    @property
    def solved(self) -> str:
        return self.written(self.solution)

    def written(self, lines: Sequence[str]) -> str:
        """The file with other lines in place of the one with the marker."""
        return "\n".join([*self.before, *lines, *self.after]) + "\n"


@dataclass(frozen=True)
class Exercise:
    """An exercise of a course."""

    entry: Entry
    source: Source

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def file_name(self) -> str:
        return f"{self.name}.py"


def parse(text: str, where: str) -> Source:
    """The parts of a source. Raises MakemoreError if there is no marker, more than one, or no solution."""
    lines = text.rstrip("\n").split("\n")
    marked = [place for place, line in enumerate(lines) if MARKER in line]
    if len(marked) != 1:
        raise MakemoreError(f"{where}: has {len(marked)} lines with {MARKER!r}; an exercise has one")
    end = marked[0] + 1
    while end < len(lines) and not _kind(lines[end]):
        end += 1
    unwritten = tuple(lines[marked[0] : end])
    solution: list[str] = []
    mistakes: list[tuple[str, list[str]]] = []
    while end < len(lines) and (kind := _kind(lines[end])):
        indent, content = lines[end].split(kind, 1)
        content = content.removeprefix(" ")
        if kind == "#:":
            solution.append(indent + content)
        elif kind == "#!:" and mistakes:
            mistakes[-1][1].append(indent + content)
        elif mistakes and not mistakes[-1][1]:
            mistakes[-1] = (f"{mistakes[-1][0]} {content}", [])
        else:
            mistakes.append((content, []))
        end += 1
    if not solution or any(not code for _, code in mistakes):
        raise MakemoreError(f"{where}: needs a solution (#:), and lines (#!:) for each mistake")
    return Source(
        tuple(lines[: marked[0]]),
        unwritten,
        tuple(solution),
        tuple(lines[end:]),
        tuple(Mistake(says, tuple(code)) for says, code in mistakes),
    )


def _kind(line: str) -> str:
    text = line.lstrip()
    return next((kind for kind in ("#!:", "#:", "#!") if text.startswith(kind)), "")
