"""The benchmark: what it times does the same work. How fast it is, no test asks."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from makemore_cli.bench import contenders
from makemore_cli.bench.contenders import LR, lecture_loop
from makemore_cli.training.engines import AutogradEngine

from .conftest import Cli, problem


def test_the_lectures_loop_trains_as_the_engines_do() -> None:
    """The same batches, drawn by the same generator, end at the same parameters."""
    p, X, Y = problem(n=100, H=16)
    theirs = p.to()
    lecture_loop(theirs, X, Y, 8)(5)
    index = torch.randint(0, 100, (5, 8), generator=torch.Generator().manual_seed(0))
    ours = p.to()
    AutogradEngine(ours).run(X[index], Y[index], [LR] * 5)
    assert not torch.equal(theirs.flat, p.flat)
    torch.testing.assert_close(theirs.flat, ours.flat, rtol=0, atol=1e-6)


CASE = contenders.Case(contenders.C_BATCH, contenders.C_SIZES.hidden)
CONTENDERS = {
    "tensor": lambda: contenders.tensor(CASE),
    "c": lambda: contenders.hand_written_c(Path(__file__).parent.parent / "docs" / "training_pass.c"),
    "torch.compile": lambda: contenders.torch_compile(CASE),
    "jax": lambda: contenders.jax(CASE),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of PyTorch's own, when it compiles
@pytest.mark.parametrize("name", CONTENDERS)
def test_contenders_train_the_same(name: str) -> None:
    """Twenty steps of each have the kernel's losses."""
    if name == "jax" and not contenders.has_jax():
        pytest.skip("JAX is not installed")
    if name in ("c", "torch.compile") and not (shutil.which("cc") and contenders.compiles_graphs()):
        pytest.skip("there is no compiler")
    theirs = CONTENDERS[name]()(20)
    assert np.nextafter(0.0, 1.0) > 0  # C with -ffast-math may turn off subnormal numbers
    losses = torch.tensor([float(loss) for loss in theirs]).double()
    torch.testing.assert_close(losses, contenders.kernel(CASE, 1)(20), rtol=0, atol=3e-6)


@pytest.mark.slow
def test_steps_that_processes_share(cli: Cli) -> None:
    result = cli("bench", "--ranks", 2, "--ranks", 3, "--batch-size", 7, "--hidden-size", 20, "--rounds", 1, "--json")
    assert result.code == 0, result.err
    steps = json.loads(result.out)["steps"]
    assert [one["ranks"] for one in steps] == [1, 2, 3]
    assert steps[0]["speedup"] == 1
    assert all(one["exchange"] > 0 and one["milliseconds"] > 0 for one in steps)
    parameters = 27 * 10 + 30 * 20 + 20 + 20 * 27 + 27 + 40
    received = [one["kilobytes"] * 250 for one in steps]  # in numbers
    parts = -(-(parameters + 1) // 3)
    assert received == pytest.approx([0, 4 * 20 + parameters + 1, 8 * 20 + 4 * parts])


@pytest.mark.slow
def test_what_it_reports() -> None:
    """In a process of its own, since JAX, if it is installed, minds forks."""
    command = [sys.executable, "-m", "makemore_cli", "bench", "--batch-size", "8", "--hidden-size", "32", "--json"]
    result = subprocess.run([*command, "--rounds", "1"], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    names = [timing["contender"] for timing in report["steps"]]
    assert set(names) - {"jax", "torch.compile"} == {"kernel", "tensor", "lecture"}
    assert report["steps"][names.index("lecture")]["speedup"] == 1
    for timing in report["steps"]:
        assert 0 < timing["microseconds"] <= timing["median"]
    assert len(report["others"]) == 13
    assert all(value > 0 for value in report["others"].values())
