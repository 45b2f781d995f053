"""What the learner reads: where they stand, verdicts, hints, and the list of exercises."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from makemore_cli.learn.verdict import Verdict
from makemore_cli.learn.workspace import Workspace

MARKS = {"solved": "x", "skipped": "-", "open": " "}
WIDEST = 100  # columns of prose


def wrapped(text: str, width: int, head: str = "") -> list[str]:
    """Text on lines of at most `width` columns; the first begins with `head`, and the others are indented alike."""
    return textwrap.wrap(text, max(20, min(width, WIDEST)), initial_indent=head, subsequent_indent=" " * len(head))


def status(workspace: Workspace, width: int) -> Iterator[str]:
    """How far the learner is, and what comes next."""
    names = workspace.names
    solved = sum(workspace.state(name) == "solved" for name in names)
    yield f"{solved} of {len(names)} exercises solved  {bar(solved, len(names), min(30, width - 34))}".rstrip()
    current = workspace.current
    yield ""
    if current is None:
        left = len(names) - solved
        yield from wrapped("All are solved." if not left else f"{left} skipped; the others are solved.", width)
        return
    exercise = workspace.course.exercise(current)
    yield from wrapped(f"next: {exercise.entry.title} ({exercise.entry.teaches})", width)
    yield f"file: {workspace.path(current)}"


def bar(done: int, of: int, width: int) -> str:
    """A progress bar, in characters that every terminal has."""
    if width < 5 or of == 0:
        return ""
    filled = done * width // of
    return f"[{'#' * filled}{'.' * (width - filled)}]"


def listing(workspace: Workspace, width: int) -> Iterator[str]:
    """All exercises by section."""
    section = ""
    for name in workspace.names:
        entry = workspace.course.exercise(name).entry
        if entry.section != section:
            section = entry.section
            yield from ("", *wrapped(f"{section}  {workspace.course.manifest.sections[section]}", width))
        arrow = ">" if name == workspace.current else " "
        yield from wrapped(entry.title, width, f"{arrow}[{MARKS[workspace.state(name)]}] {name:<22} ")


def verdict_lines(verdict: Verdict, workspace: Workspace, width: int) -> Iterator[str]:
    """A verdict, and after success what the exercise has taught."""
    if verdict.printed:
        yield from ("Your code printed:", *(f"    {line}" for line in verdict.printed))
    if verdict.state == "not written":
        yield f"{verdict.name}: not written yet"
        path = workspace.path(verdict.name)
        yield from wrapped(f"Write the line in {path}, and remove its marker, the comment “not written yet”.", width)
    elif verdict.ok:
        entry = workspace.course.exercise(verdict.name).entry
        yield f"{verdict.name}: solved"
        yield from ("", *wrapped(" ".join(entry.insight.split()), width))
    else:
        yield f"{verdict.name}: {'wrong' if verdict.state == 'wrong' else 'it does not run'}"
        for says in verdict.says:
            yield from ("", *wrapped(says, width))
