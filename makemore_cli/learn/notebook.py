"""The exercises as a Jupyter notebook, and their checks there.

import makemore_cli.learn.notebook as learn

learn.check("a1_slope", slope)
"""

from __future__ import annotations

import ast
import inspect
import json
import random
from collections.abc import Callable, Iterable, Iterator
from html import escape
from pathlib import Path
from types import ModuleType
from typing import Any

from makemore_cli.errors import MakemoreError
from makemore_cli.learn.check import check_module
from makemore_cli.learn.course import Course, load_course
from makemore_cli.learn.exercise import Exercise
from makemore_cli.learn.verdict import Verdict

SEEDS = 2**31
WHAT_TO_DO = "In each cell, replace the line that is marked `not written yet`, and run the cell."
NAME = "learn"  # under which the notebook imports this module

Cell = dict[str, Any]


def check(
    name: str, function: Callable[..., Any], *, seed: int | None = None, course: str | Path | None = None
) -> Verdict:
    """Check a function that was written in a notebook, on new random inputs, or on those of a seed.

    Raises MakemoreError for an unknown exercise, or for something that is not a function.
    """
    found = load_course() if course is None else load_course(Path(course))
    exercise = found.exercise(name)
    if not callable(function):
        raise MakemoreError(f"{exercise.name}: give the function to check, got {type(function).__name__}")
    if any(exercise.source.is_unwritten(text) for text in _sources(exercise, function)):
        return Verdict(exercise.name, "not written", ("not written yet",))
    module = ModuleType(exercise.name)
    setattr(module, exercise.entry.check.function or f"d{exercise.entry.check.gradient}", function)
    path = Path(inspect.getfile(function)) if _source(function) else Path(exercise.file_name)
    try:
        verdict = check_module(found, exercise, module, path, random.randrange(SEEDS) if seed is None else seed)
    except MakemoreError as error:
        return Verdict(exercise.name, "failed", (str(error),))
    return verdict if not verdict.ok else Verdict(exercise.name, "solved", (_flat(exercise.entry.insight),))


def _sources(exercise: Exercise, function: Callable[..., Any]) -> Iterator[str]:
    """The source of a function, and of the exercise's other functions, which it may call."""
    names = [node.name for node in ast.parse(exercise.source.shipped).body if isinstance(node, ast.FunctionDef)]
    others = getattr(function, "__globals__", {})
    yield from map(_source, [function, *(others[name] for name in names if name in others)])


def _source(function: Any) -> str:
    """The source of a function, or "" if there is none."""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return ""


def notebook(course: Course, names: Iterable[str]) -> bytes:
    """The content of a notebook with these exercises; equal exercises give equal bytes."""
    cells = list(_cells(course, names))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    language = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    content = {"cells": cells, "metadata": language, "nbformat": 4, "nbformat_minor": 5}
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def _cells(course: Course, names: Iterable[str]) -> Iterator[Cell]:
    yield _text(f"# {course.manifest.title}\n\n{WHAT_TO_DO}")
    place = "" if course.folder == load_course().folder else f"\nCOURSE = {str(course.folder)!r}"
    yield _code(f"import makemore_cli.learn.notebook as {NAME}{place}")
    section = ""
    for name in names:
        exercise = course.exercise(name)
        if exercise.entry.section != section:
            section = exercise.entry.section
            yield _text(f"## {section}. {course.manifest.sections[section]}")
        about, code = _parts(exercise)
        yield _text(f"### {name}\n\n```text\n{about}\n```\n{_hints(exercise)}")
        function = exercise.entry.check.function or f"d{exercise.entry.check.gradient}"
        more = ", course=COURSE" if place else ""
        yield _code(f'{code}\n\n\n{NAME}.check("{name}", {function}{more})')


def _parts(exercise: Exercise) -> tuple[str, str]:
    """The text above an exercise's code, and the code."""
    shipped = exercise.source.shipped
    tree = ast.parse(shipped)
    about = ast.get_docstring(tree) or exercise.entry.title
    first = tree.body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    lines = shipped.splitlines()
    return about, "\n".join(lines[first.end_lineno if is_docstring else 0 :]).strip("\n")


def _hints(exercise: Exercise) -> str:
    """The hints, each folded."""
    return "\n".join(
        f"<details><summary>hint {number}</summary>\n\n{escape(_flat(hint), quote=False)}\n\n</details>"
        for number, hint in enumerate(exercise.entry.hints, 1)
    )


def _flat(text: str) -> str:
    return " ".join(text.split())


def _text(text: str) -> Cell:
    return {"cell_type": "markdown", "metadata": {}, "source": text.splitlines(keepends=True)}


def _code(text: str) -> Cell:
    lines = text.splitlines(keepends=True)
    return {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": lines}
