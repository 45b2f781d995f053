"""What `import makemore_cli` offers: its names, its types, and how little it imports."""

from __future__ import annotations

import doctest
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import makemore_cli as mm
from tests.test_documentation import loaded

ROOT = Path(__file__).parents[2]
NAMES = [
    *("BatchProblem", "Chain", "ChainError", "CheckFailedError", "Columns", "MakemoreError", "Observer"),
    *("ParameterError", "Report", "Run", "Score", "StoppedError", "Value", "assert_gradients", "between", "chain"),
    *("given", "gradcheck", "index", "load", "positive", "problem", "step", "train"),
]


def test_the_names_are_these() -> None:
    """A name that goes, or a new one, is a decision: see docs/stability.md."""
    assert sorted(mm.__all__) == sorted(NAMES)
    assert {name for name in dir(mm) if not name.startswith("_")} >= set(NAMES)
    groups = loaded("references", ROOT / "docs" / "references.py").GROUPS
    assert sorted(name for group in groups.values() for name in group) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_exists_is_documented_and_is_no_module(name: str) -> None:
    value = getattr(mm, name)
    assert not inspect.ismodule(value)
    assert inspect.getdoc(value)


def test_the_examples_of_the_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the page's order, each with the names of those before it."""
    monkeypatch.chdir(tmp_path)
    groups = loaded("references", ROOT / "docs" / "references.py").GROUPS
    names: dict[str, Any] = {"mm": mm}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    tried = 0
    for name in (name for group in groups.values() for name in group):
        for example in doctest.DocTestFinder(recurse=True).find(getattr(mm, name), name, globs=names):
            example.globs = names
            runner.run(example, clear_globs=False)
            tried += len(example.examples)
    assert runner.summarize(verbose=False).failed == 0
    assert tried > 20


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        mm.trian  # noqa: B018


def test_the_import_needs_no_library() -> None:
    code = (
        "import sys, json, time; before = time.perf_counter(); import makemore_cli as mm; dir(mm); mm.MakemoreError; "
        "print(json.dumps([sorted(sys.modules), time.perf_counter() - before]))"
    )
    modules, seconds = json.loads(subprocess.check_output([sys.executable, "-c", code]))
    assert not {"torch", "numpy", "matplotlib", "numba", "rich", "pydantic", "typer"} & set(modules)
    assert seconds < 1  # about 5 ms; the machine may be busy


def test_sampling_needs_no_pytorch(trained: Path) -> None:
    code = (
        "import sys, makemore_cli as mm; run = mm.load(sys.argv[1]); run.sample(5); run.score('emma'); run.loss(); "
        "run.probabilities('em'); run.metrics; assert not {'torch', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(trained)], check=True)


USER = """
import makemore_cli as mm
import numpy as np
import torch
from matplotlib.figure import Figure

run: mm.Run = mm.train("tiny", steps=10, data=["emma", "olivia"], settings={"optim.lr": 0.05}, out="x", quiet=True)
run = mm.load("runs/tiny")
names: list[str] = run.sample(5, prefix="ma", temperature=0.8, top_k=3)
losses: list[float] = [score.loss for score in run.score(names)]
likely: dict[str, float] = run.probabilities("em")
loss: float = run.loss("val")
W1: np.ndarray[tuple[int, ...], np.dtype[np.floating]] = run.parameters["W1"]
figure: Figure = run.plot("dlogits")
columns: mm.Columns = run.metrics
steps = columns["step"].tolist()
p: mm.BatchProblem = mm.problem("lecture", dtype="float64")
report: mm.Report = p.check("logits", torch.zeros(32, 27))
if not report and not p.check(globals()):
    print(report.failures(), report.to_json()["ok"])
linear: mm.Chain = mm.chain(
    "linear", {"x": "n D", "W": "D H"}, mm.step("y", lambda x, W: x @ W, dx=lambda W, dy: dy @ W.T)
)
ok: bool = mm.gradcheck(linear, sizes={"n": 3}).ok


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, dy: torch.Tensor) -> torch.Tensor:
        return 2 * dy


mm.assert_gradients(Double, shapes={"x": mm.positive("n D")}, trials=3)
a = mm.Value(2.0, label="a")
(a * 3 + 1).backward()
gradient: float = a.grad
try:
    mm.load("nothing")
except mm.MakemoreError as error:
    print(error.parameters)
"""


@pytest.mark.slow
def test_a_users_script_is_typed(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(USER)
    # With the project's own settings, so that `mypy`, which CI runs next, finds the results in its cache.
    command = [sys.executable, "-m", "mypy", "--strict", str(tmp_path / "script.py")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout
