"""The exercises as a notebook, executed by a real kernel: unsolved and solved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import makemore_cli.learn.notebook as learn
from makemore_cli.errors import MakemoreError
from makemore_cli.learn.course import load_course
from tests.conftest import Cli

COURSE = load_course()


def executed(notebook: Any, folder: Path) -> dict[str, str]:
    """What each check prints, by exercise."""
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    told = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output["output_type"] == "stream":  # names that were sampled
                assert output["name"] == "stdout", output
                continue
            assert output["output_type"] == "execute_result", output
            text = output["data"]["text/plain"]
            assert output["data"]["text/html"]
            told[text.partition(":")[0]] = text
    return told


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_unsolved_and_solved(tmp_path: Path, cli: Cli) -> None:
    path = tmp_path / "exercises.ipynb"
    assert cli("learn", "notebook", path).code == 0
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    told = executed(notebook, tmp_path)
    assert list(told) == list(COURSE.names)
    assert all("not written yet" in text for text in told.values())

    solved = nbformat.read(path, 4)
    for name in COURSE.names:
        source = COURSE.exercise(name).source
        shipped, right = "\n".join(source.unwritten), "\n".join(source.solution)
        (cell,) = [cell for cell in solved.cells if cell.cell_type == "code" and f'"{name}"' in cell.source]
        assert shipped in cell.source, name
        cell.source = cell.source.replace(shipped, right)
    told = executed(solved, tmp_path)
    assert list(told) == list(COURSE.names)
    assert all(": solved" in text for text in told.values()), told


def test_checks_in_python() -> None:
    def slope(f: Any, x: float, h: float) -> float:
        return f(x + h) - f(x)

    verdict = learn.check("a1", slope, seed=3)
    assert verdict.state == "wrong"
    assert "divided by the change of x" in repr(verdict)
    assert "<b" in verdict._repr_html_()
    assert learn.check("a1", lambda f, x, h: (f(x + h) - f(x)) / h).ok

    def unwritten(f: Any, x: float, h: float) -> float:
        return 0.0  # not written yet

    assert learn.check("a1", unwritten).state == "not written"

    def failing(f: Any, x: float, h: float) -> float:
        return f(x) / 0

    verdict = learn.check("a1_slope", failing)
    assert verdict.state == "failed"
    assert "return f(x) / 0" in verdict.says[0]
    for name, function in (("z1", slope), ("a1", 3)):
        with pytest.raises(MakemoreError):
            learn.check(name, function)  # type: ignore[arg-type]


def test_a_notebook_is_never_replaced(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli("learn", "notebook", "--only", "A").out == "exercises.ipynb\n"
    before = (tmp_path / "exercises.ipynb").read_bytes()
    assert learn.notebook(COURSE, COURSE.names[:4]) == before
    result = cli("learn", "notebook")
    assert (result.code, "exists already" in result.err) == (2, True)
    assert (tmp_path / "exercises.ipynb").read_bytes() == before
