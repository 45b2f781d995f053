"""`makemore learn bug`."""

from __future__ import annotations

import random
import shutil
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from makemore_cli.cli.learn import SeedOption, learn_app
from makemore_cli.cli.options import JsonOption
from makemore_cli.errors import MakemoreError
from makemore_cli.system import output

if TYPE_CHECKING:
    from makemore_cli.learn.bug_hunt import BugTask


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
