"""`makemore learn`: exercises."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from makemore_cli.cli.app import app
from makemore_cli.cli.command import App
from makemore_cli.cli.options import JsonOption
from makemore_cli.errors import MakemoreError
from makemore_cli.system import output

if TYPE_CHECKING:
    from makemore_cli.learn.workspace import Workspace

DEFAULT = Path("exercises")

learn_app = App(invoke_without_command=True)
app.add_typer(learn_app, name="learn")

FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--dir",
        metavar="DIR",
        help="Folder of the exercises. Default: the current folder if it has exercises, else exercises/.",
    ),
]
SeedOption = Annotated[
    int | None,
    typer.Option("--seed", metavar="N", min=0, max=2**31 - 1, help="Random seed. Default: a new one."),
]
NameArgument = Annotated[
    str | None,
    typer.Argument(metavar="[NAME]", help="Exercise, such as a1_slope or a1. Default: the current one."),
]


@learn_app.callback(epilog="Example: makemore learn init && makemore learn")
def learn(context: typer.Context, folder: FolderOption = None, as_json: JsonOption = False) -> None:
    """Learn backpropagation by exercises: write each gradient yourself. Without a command, show where you stand."""
    if context.invoked_subcommand is not None:
        return
    from makemore_cli.learn.texts import status

    workspace = _open(folder)
    if as_json:
        states = {name: workspace.state(name) for name in workspace.names}
        output.print_json({"exercises": states, "next": workspace.current})
        return
    output.print_lines(status(workspace, _width()))
    output.remark("check it: makemore learn check; a hint: makemore learn hint; all: makemore learn list")


@learn_app.command(epilog="Example: makemore learn init && makemore learn check a1")
def init(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Folder for the exercises. Default: exercises/.")
    ] = None,
    only: Annotated[
        str | None,
        typer.Option("--only", metavar="A,B", help="Sections to lay out, such as A,C,E. Default: all."),
    ] = None,
    course: Annotated[
        str | None,
        typer.Option("--course", metavar="FOLDER", help="Folder of another course, with a course.yaml of its own."),
    ] = None,
) -> None:
    """Lay out the exercises as small Python files. Files that are there stay as they are."""
    from makemore_cli.learn.course import only as in_sections
    from makemore_cli.learn.workspace import new_workspace

    workspace = new_workspace(folder or DEFAULT, course)
    names = list(workspace.course.names) if only is None else in_sections(workspace.course, only.split(","))
    written, there = workspace.lay_out(names)
    output.print_lines([str(workspace.folder)])
    kept = f", {len(there)} that were there stay as they are" if there else ""
    output.remark(f"{len(written)} exercises written{kept}; next: makemore learn")


@learn_app.command(epilog="Example: makemore learn check && makemore learn check a1")
def check(
    name: NameArgument = None,
    folder: FolderOption = None,
    every: Annotated[bool, typer.Option("--all", help="Check all exercises.")] = False,
    seed: SeedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check an exercise on new random inputs. The exit code is 1 if it is not solved."""
    from makemore_cli.learn.check_process import Checker
    from makemore_cli.learn.texts import verdict_lines

    workspace = _open(folder)
    if every and name is not None:
        raise MakemoreError("--all: checks all exercises; omit NAME")
    names = workspace.names if every else [_chosen(workspace, name)]
    checker, verdicts = Checker(workspace.course.folder), []
    if every:
        checker.warm_up()
    for one in names:
        verdicts.append(verdict := checker.check(one, workspace.path(one), seed))
        if not verdict.ok and workspace.state(one) == "solved":
            output.remark(f"{one} was solved; it now counts as open again")
        (workspace.solve if verdict.ok else workspace.fail)(one)
        if not as_json and not every:
            output.print_lines(verdict_lines(verdict, workspace, _width()))
        elif not as_json:
            output.print_lines([f"{one}: {verdict.state}"])
    if as_json:
        told = [verdict.to_json() for verdict in verdicts]
        output.print_json(told if every else told[0])
    elif verdicts[-1].ok and not every and workspace.current is not None:
        output.remark(f"next: {workspace.path(workspace.current)}, then: makemore learn check")
    if not all(verdict.ok for verdict in verdicts):
        raise typer.Exit(1)


@learn_app.command(epilog="Example: makemore learn watch")
def watch(folder: FolderOption = None) -> None:
    """Check an exercise whenever its file is saved. Keys: h hint, r run again, s skip, l list, q quit."""
    workspace = _open(folder)
    from makemore_cli.cli.learn_watch import watch as run

    run(workspace)


@learn_app.command(epilog="Example: makemore learn hint a1")
def hint(name: NameArgument = None, folder: FolderOption = None) -> None:
    """Show the next of an exercise's three hints: a nudge, the rule, almost the line."""
    from makemore_cli.learn.exercise import HINTS
    from makemore_cli.learn.texts import wrapped

    workspace = _open(folder)
    chosen = _chosen(workspace, name)
    number, text = workspace.hint(chosen)
    output.print_lines(wrapped(" ".join(text.split()), _width()))
    more = f"; its solution: makemore learn solution {chosen} --spoil" if number == HINTS else ""
    output.remark(f"hint {number} of {HINTS}{more}")


@learn_app.command(epilog="Example: makemore learn solution a1 --spoil")
def solution(
    name: NameArgument = None,
    folder: FolderOption = None,
    spoil: Annotated[bool, typer.Option("--spoil", help="Show it although the exercise is not solved.")] = False,
) -> None:
    """Show an exercise's solution, once you have solved it."""
    workspace = _open(folder)
    chosen = _chosen(workspace, name)
    if workspace.state(chosen) != "solved" and not spoil:
        raise MakemoreError(f"{chosen}: is not solved yet; to see its solution all the same, add --spoil")
    output.print_texts([workspace.course.exercise(chosen).source.solved])


@learn_app.command(epilog="Example: makemore learn reset a1 --yes")
def reset(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Exercise, such as a1_slope or a1.")],
    folder: FolderOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Write an exercise's file as it was laid out. Asks first, and keeps a copy of yours."""
    workspace = _open(folder)
    chosen = workspace.find(name)
    if not yes:
        if sys.stdin is None or not sys.stdin.isatty():
            raise MakemoreError(f"{chosen}: to reset it without being asked, add --yes")
        if not typer.confirm(f"Reset {workspace.path(chosen)}?", err=True):
            return
    kept = workspace.reset(chosen)
    output.print_lines([str(workspace.path(chosen))])
    if kept is not None:
        output.remark(f"yours is kept as {kept}")


@learn_app.command("list", epilog="Example: makemore learn list")
def list_exercises(folder: FolderOption = None, as_json: JsonOption = False) -> None:
    """List all exercises, with those that are solved (x) or skipped (-), and the current one (>)."""
    from makemore_cli.learn.texts import listing

    workspace = _open(folder)
    if as_json:
        entries = [workspace.course.exercise(name).entry for name in workspace.names]
        told = [
            {"name": e.name, "title": e.title, "teaches": e.teaches, "state": workspace.state(e.name)} for e in entries
        ]
        output.print_json(told)
        return
    output.print_lines(listing(workspace, _width()))


@learn_app.command(epilog="Example: makemore learn skip b6")
def skip(name: NameArgument = None, folder: FolderOption = None) -> None:
    """Skip an exercise."""
    workspace = _open(folder)
    workspace.skip(_chosen(workspace, name))
    _tell_next(workspace)


@learn_app.command(epilog="Example: makemore learn start d1")
def start(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Exercise, such as d01_logprobs or d01.")],
    folder: FolderOption = None,
) -> None:
    """Start anywhere: work on this exercise, and then on those after it."""
    workspace = _open(folder)
    workspace.start(workspace.find(name))
    _tell_next(workspace)


def _tell_next(workspace: Workspace) -> None:
    current = workspace.current
    output.print_lines([] if current is None else [str(workspace.path(current))])


def _open(folder: Path | None) -> Workspace:
    from makemore_cli.learn.workspace import PROGRESS, open_workspace

    if folder is None:
        folder = Path() if Path(PROGRESS).is_file() else DEFAULT
        if not (folder / PROGRESS).is_file():
            raise MakemoreError("there are no exercises here yet; run: makemore learn init")
    return open_workspace(folder)


def _chosen(workspace: Workspace, name: str | None) -> str:
    """The exercise that is meant. Raises MakemoreError if none is left."""
    if name is not None:
        return workspace.find(name)
    if workspace.current is None:
        raise MakemoreError("no exercise is left; name one")
    return workspace.current


def _width() -> int:
    return shutil.get_terminal_size().columns
