"""The compiled kernel: its gradients against float64, its steps against the tensor engine's, its arithmetic."""

from __future__ import annotations

from makemore_cli.gradcheck.check import compare_sources
from makemore_cli.gradcheck.sources import SOURCES

from .conftest import problem


def test_one() -> None:
    p, X, Y = problem(32, 3, 10, 64)
    assert compare_sources(p, X, Y, 1e-5, SOURCES["kernel"], SOURCES["float64"]).ok
