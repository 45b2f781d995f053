"""`makemore learn bug`, `check-the-check` and `notebook`."""

from __future__ import annotations

import random
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from makemore_cli.cli.learn import learn_app
from makemore_cli.cli.options import JsonOption
from makemore_cli.errors import MakemoreError
from makemore_cli.system import output

if TYPE_CHECKING:
    from makemore_cli.learn.bug_hunt import BugTask

SCORE_SECONDS = 120.0  # for the score of a check

SeedOption = Annotated[
    int | None,
    typer.Option("--seed", metavar="N", min=0, max=2**31 - 1, help="Random seed of the task. Default: a new one."),
]


@learn_app.command(epilog="Example: makemore learn bug --level 2 --seed 5 --answer 4")
def bug(
    level: Annotated[
        int,
        typer.Option(
            "--level",
            metavar="1-4",
            help="1: a slip in one line, with a comparison of the gradients; 2: without it; 3: a mistake with which "
            "training still works; 4: one that no loss shows, or two that hide each other.",
        ),
    ] = 1,
    seed: SeedOption = None,
    chain: Annotated[
        str,
        typer.Option("--chain", metavar="NAME", help="A bundled chain, or a file as for `gradcheck --chain`."),
    ] = "makemore",
    answer: Annotated[
        str | None,
        typer.Option(
            "--answer",
            metavar="N",
            help="The number of the wrong line, such as 3, or 3,5 for two; 0 if no line is wrong. Default: ask on a "
            "terminal.",
        ),
    ] = None,
    repair: Annotated[
        str | None,
        typer.Option("--repair", metavar="EXPRESSION", help="What should stand in the wrong line. Checked if given."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find the bug in a backward pass. There are any number of tasks; a level and a seed name one."""
    from makemore_cli.checks.check_chain import find
    from makemore_cli.checks.function_pair import FunctionPair
    from makemore_cli.learn.bug_hunt import bug_task
    from makemore_cli.learn.texts import bug_lines

    subject = find(chain)
    if isinstance(subject, FunctionPair) or not subject.gradient_names:
        raise MakemoreError("--chain: must be a chain of steps with backward lines")
    number = random.randrange(2**31) if seed is None else seed
    if answer is not None and seed is None:
        raise MakemoreError("--answer: needs the task's --seed")
    task = bug_task(subject, level, number)
    if answer is None:
        if as_json:
            lines = [line.text for line in task.lines]
            output.print_json({"level": level, "seed": number, "forward": task.forward, "backward": lines})
            return
        output.print_lines(bug_lines(task, shutil.get_terminal_size().columns))
        if sys.stdin is None or not sys.stdin.isatty():
            output.remark(f"answer with: makemore learn bug --level {level} --seed {number} --answer N")
            return
        answer = typer.prompt("Which line is wrong? (0: none)", err=True)
    given = _numbers(answer)
    is_right = task.is_right(given)
    fault = task.repairs(repair, min(task.answers)) if is_right and repair is not None and task.answers else None
    told = [f"{'Right' if is_right else 'No'}: {task.says}.", *_right_lines(task)]
    if fault is not None:
        told.append(f"The repair is not right: {fault}.")
    if as_json:
        numbers = sorted(task.answers)
        output.print_json({"ok": is_right and fault is None, "lines": numbers, "says": task.says, "repair": fault})
    else:
        output.print_lines(told)
    if not is_right or fault is not None:
        raise typer.Exit(1)


def _right_lines(task: BugTask) -> list[str]:
    """The lines that should stand in place of the wrong ones."""
    from makemore_cli.backprop.line_text import line_text

    return [
        f"  {number:>2}  {line.place[1]} = {line_text(task.chain.by_name[line.place[0]].backward[line.place[1]])}"
        for number, line in enumerate(task.lines, 1)
        if line.is_wrong
    ]


def _numbers(text: str) -> set[int]:
    """The numbers of an answer. Raises MakemoreError for anything else."""
    parts = [part.strip() for part in text.replace(" ", ",").split(",") if part.strip()]
    if not parts or not all(part.isascii() and part.isdigit() for part in parts):
        raise MakemoreError(f"--answer: must be a line's number, such as 3, or 0, got {text}")
    return {int(part) for part in parts}


@learn_app.command("check-the-check", epilog="Example: makemore learn check-the-check --template > my_check.py")
def check_the_check(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="A Python file with a function check(forward, backward, x)."),
    ] = None,
    template: Annotated[
        bool, typer.Option("--template", help="Print a file to start from, with a poor check.")
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", metavar="N", min=0, max=2**31 - 1, help="Random seed of the passes. Default: a new one."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Score a gradient check of your own, by the wrong passes that it refuses and the right ones that it accepts."""
    from makemore_cli.learn.check_the_check import TEMPLATE, score_or_error
    from makemore_cli.learn.texts import score_lines

    if template:
        output.print_lines(TEMPLATE.splitlines())
        return
    if file is None:
        raise MakemoreError("give a file with a function check, or --template")
    from makemore_cli.learn.check_process import Checker, read_text
    from makemore_cli.learn.course import BUNDLED

    number = random.randrange(2**31) if seed is None else seed
    found, printed = Checker(BUNDLED).run(
        score_or_error, (str(file.absolute()), read_text(file), number), SCORE_SECONDS
    )
    if isinstance(found, str):
        raise MakemoreError(f"{file.name}: {found}" if not found.startswith(file.name) else found)
    if as_json:
        output.print_json({**found.to_json(), "seed": number})
    else:
        output.print_lines([*printed, *score_lines(found)])
    if not found.is_perfect:
        raise typer.Exit(1)


@learn_app.command(epilog="Example: makemore learn notebook exercises.ipynb --only A,B")
def notebook(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="Notebook to write; it must not exist. Default: exercises.ipynb."),
    ] = None,
    only: Annotated[
        str | None, typer.Option("--only", metavar="A,B", help="Sections to write, such as A,C,E. Default: all.")
    ] = None,
    course: Annotated[Path | None, typer.Option("--course", metavar="FOLDER", help="Folder of another course.")] = None,
) -> None:
    """Write the exercises as a Jupyter notebook, with a check below each."""
    from makemore_cli.learn.course import BUNDLED, load_course
    from makemore_cli.learn.course import only as in_sections
    from makemore_cli.learn.notebook import notebook as content
    from makemore_cli.system.files import write_atomically

    path = file or Path("exercises.ipynb")
    if path.exists() or path.is_symlink():
        raise MakemoreError(f"{path}: exists already; choose another name")
    chosen = load_course(BUNDLED if course is None else course.absolute())
    names = list(chosen.names) if only is None else in_sections(chosen, only.split(","))
    write_atomically(path, content(chosen, names))
    output.print_lines([str(path)])
