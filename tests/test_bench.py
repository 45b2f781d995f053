"""The benchmark: what it times does the same work. How fast it is, no test asks."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from makemore_cli.bench.contenders import LR, lecture_loop
from makemore_cli.training.engines import AutogradEngine

from .conftest import problem


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


@pytest.mark.slow
def test_what_it_reports() -> None:
    """In a process of its own, since JAX, where it is installed, minds forks."""
    command = [sys.executable, "-m", "makemore_cli", "bench", "--batch-size", "8", "--hidden-size", "32", "--json"]
    result = subprocess.run([*command, "--rounds", "1"], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    contenders = {timing["contender"]: timing for timing in report["steps"]}
    assert set(contenders) - {"jax", "torch.compile"} == {"kernel", "tensor", "lecture"}
    assert contenders["lecture"]["speedup"] == 1
    for timing in contenders.values():
        assert 0 < timing["microseconds"] <= timing["median"]
    assert len(report["others"]) == 13
    assert all(value > 0 for value in report["others"].values())
