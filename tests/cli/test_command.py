"""The library speaks of parameters, and the command line of its options."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
import typer

import makemore_cli
from makemore_cli.cli.app import app
from makemore_cli.cli.command import OPTION_OF_KEY, App, CommandError, exit_code
from makemore_cli.config.load import flatten
from makemore_cli.config.schema import Config
from makemore_cli.errors import CheckFailedError, MakemoreError, ParameterError, StoppedError, WriteError
from makemore_cli.inference.next_letters import Options

PACKAGE = Path(makemore_cli.__file__).parent
LIBRARY = sorted(path for path in PACKAGE.rglob("*.py") if path.parent.name != "cli")


def run(error: Exception) -> CommandError:
    """What becomes of an error in a command with two options."""
    small = App()

    @small.command()
    def command(
        top_k: int = 1, folder: Annotated[Path, typer.Option("--out", "-o")] = Path(), device: str = ""
    ) -> None:
        raise error

    with pytest.raises(CommandError) as told:
        small([], standalone_mode=False)
    return told.value


@pytest.mark.parametrize(
    ("error", "text", "code"),
    [
        (MakemoreError("a file is gone"), "a file is gone", 2),
        (ParameterError("top_k", "must be 1"), "--top-k must be 1", 2),
        (ParameterError("train.device", "must be cpu"), "--device must be cpu", 2),
        (ParameterError("model.hidden_size", "must be 1"), "model.hidden_size must be 1", 2),
        (MakemoreError("is taken", parameters=("resume", "folder")), "is taken (--out)", 2),
        (MakemoreError("is taken", parameters=("folder", "top_k")), "is taken (--out, --top-k)", 2),
        (MakemoreError("is taken", parameters=("resume",)), "is taken", 2),
        (WriteError("full", resume=Path("my run")), "full; resume with: makemore train --resume 'my run'", 2),
        (StoppedError("stopped", 15), "stopped", 143),
        (StoppedError("stopped"), "stopped", 2),
        (CheckFailedError("dC differs"), "dC differs", 1),
    ],
)
def test_errors_are_told_by_options(error: MakemoreError, text: str, code: int) -> None:
    told = run(error)
    assert (str(told), told.exit_code) == (text, code)
    assert exit_code(error) == code


def test_a_parameter_error_names_the_parameter_and_the_fact() -> None:
    with pytest.raises(ParameterError, match=r"^temperature must be at least 0 and finite, got -1\.0$") as error:
        Options(temperature=-1.0)
    assert error.value.parameters == ("temperature",)
    assert error.value.fact == "must be at least 0 and finite, got -1.0"


def test_keys_with_options_exist() -> None:
    train = typer.main.get_command(app).commands["train"]  # type: ignore[attr-defined]
    assert set(OPTION_OF_KEY) - {"folder"} <= set(flatten(Config().model_dump()))
    assert set(OPTION_OF_KEY.values()) <= {parameter.name for parameter in train.params}


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """The string constants of a file that are not docstrings."""
    tree = ast.parse(path.read_text())
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def test_the_library_names_no_options_of_the_command_line() -> None:
    assert len(LIBRARY) > 80
    named = [
        f"{path.relative_to(PACKAGE)}:{line}: {text}"
        for path in LIBRARY
        for line, text in texts(path)
        if re.search(r"(?<![\w-])--[a-z]", text.replace("tensorboard --logdir", ""))
    ]
    assert not named


def test_only_the_command_line_and_displays_print() -> None:
    """Others return values, or draw on a console that they are given."""
    may = {"system/output.py", "system/signals.py", "training/progress_display.py"}
    may.add("learn/exercises/f2_probabilities.py")  # the learner's own file
    printing = re.compile(r"\boutput\.(remark|print_\w+)|(?<![\w.])print\(|\bsys\.std(out|err)\.write\b")
    names = {str(path.relative_to(PACKAGE)) for path in LIBRARY if printing.search(path.read_text())}
    assert names <= may, names - may
