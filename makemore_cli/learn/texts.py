"""What the learner reads: where they stand, verdicts, hints, and the list of exercises."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from makemore_cli.learn.verdict import Verdict
from makemore_cli.learn.workspace import Workspace

if TYPE_CHECKING:
    from makemore_cli.learn.bug_hunt import BugTask
    from makemore_cli.learn.check_the_check import Score

MARKS = {"solved": "x", "skipped": "-", "open": " "}
WIDEST = 100  # columns of prose
AGREES = 1e-6  # the largest relative difference of gradients that agree


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
        yield from wrapped(f"Replace the line that is marked “not written yet” in {path}.", width)
    elif verdict.ok:
        entry = workspace.course.exercise(verdict.name).entry
        yield f"{verdict.name}: solved"
        yield from ("", *wrapped(" ".join(entry.insight.split()), width))
    else:
        yield f"{verdict.name}: {'wrong' if verdict.state == 'wrong' else 'it does not run'}"
        for says in verdict.says:
            yield from ("", *wrapped(says, width))


def bug_lines(task: BugTask, width: int) -> Iterator[str]:
    """A task of finding the bug: the code, and the symptoms."""
    from makemore_cli.learn.bug_hunt import LEVELS

    yield from wrapped(f"Find the bug: level {task.level}, {LEVELS[task.level]}; seed {task.seed}.", width)
    yield from ("", "forward", *(f"      {line}" for line in task.forward), "", "backward")
    yield from (f"  {number:>2}  {line.text}" for number, line in enumerate(task.lines, 1))
    if task.level == 1:
        yield from ("", "gradient of       agrees   difference, over its largest entry")
        yield from (
            f"{name:<16}  {'yes' if apart < AGREES else 'no':<6}  {apart:10.1e}" for name, apart in task.comparison()
        )
    if (losses := task.losses()) is not None:
        yield from ("", "  step   loss with these lines   with right ones")
        yield from (f"{step:6}   {ours:21.4f}   {right:15.4f}" for step, ours, right in losses)


def score_lines(score: Score) -> Iterator[str]:
    """How a learner's check judges."""
    yield f"wrong passes refused    {score.refused:4} of {score.wrong}"
    yield f"right passes accepted   {score.accepted:4} of {score.right}"
    for mistaken in score.mistaken:
        yield f"  it {mistaken}"
