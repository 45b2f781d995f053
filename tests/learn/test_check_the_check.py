"""`makemore learn check-the-check`: a good check has a full score, poor ones do not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from makemore_cli.learn.check_the_check import TEMPLATE, cases, score
from tests.conftest import Cli

GOOD = TEMPLATE.replace("torch.ones_like(forward(x))", "torch.randn_like(forward(x))").replace(
    "    h = 1e-6", "    if dx.shape != x.shape:\n        return False\n    h = 1e-6"
)
GOOD = GOOD.replace("(dx - numeric).abs() < 0.1", "(dx - numeric).abs() <= 1e-4 * numeric.abs().max().clamp_min(1e-3)")
AUTOGRAD = """
import torch


def check(forward, backward, x):
    x = x.clone().requires_grad_()
    out = forward(x)
    dy = torch.randn_like(out)
    (true,) = torch.autograd.grad(out, x, dy)
    dx = backward(x.detach(), dy)
    return dx.shape == true.shape and bool(((dx - true).abs() <= 1e-8 * true.abs().max().clamp_min(1e-3)).all())
"""


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_a_good_check_has_a_full_score(seed: int, tmp_path: Path) -> None:
    found = score(str(tmp_path / "check.py"), AUTOGRAD, seed)
    assert found.is_perfect, found
    assert found.right > 50
    assert found.wrong > 80


@pytest.mark.slow
def test_so_has_a_check_by_differences(tmp_path: Path) -> None:
    found = score(str(tmp_path / "check.py"), GOOD, 1)
    assert found.accepted == found.right, found
    assert found.refused >= 0.97 * found.wrong, found


def test_poor_checks_lose(tmp_path: Path) -> None:
    poor = score(str(tmp_path / "check.py"), AUTOGRAD.replace("1e-8", "10"), 1)
    assert poor.accepted == poor.right
    assert poor.refused < 0.8 * poor.wrong
    assert poor.mistaken[0].startswith("accepts ")
    strict = score(str(tmp_path / "check.py"), AUTOGRAD.replace("1e-8", "-1"), 1)
    assert strict.refused == strict.wrong
    assert strict.accepted == 0
    assert strict.mistaken[0].startswith("refuses ")


def test_cases_are_what_they_say() -> None:
    """Each right pass is right, and each wrong one wrong, by autograd."""
    import torch

    for case in cases(5):
        x = case.x.clone().requires_grad_()
        out = case.forward(x)
        dy = torch.randn_like(out)
        (true,) = torch.autograd.grad(out, x, dy, allow_unused=True)
        found = case.backward(case.x, dy)
        true = torch.zeros_like(case.x) if true is None else true
        same = found.shape == true.shape and torch.allclose(found, true, atol=1e-9)
        assert same is case.is_right, case.about


@pytest.mark.slow
def test_the_command(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli("learn", "check-the-check", "--template").out == TEMPLATE
    Path("check.py").write_text(AUTOGRAD)
    result = cli("learn", "check-the-check", "check.py", "--seed", 1, "--json")
    assert result.code == 0, result.err
    told = json.loads(result.out)
    assert told["refused"] == told["wrong"]
    for text, message in (
        ("def check(forward, backward, x):\n    return 1\n", "check returns int, not True or False"),
        ("def check(forward, backward, x):\n    return 1 / 0\n", "check.py, line 2: ZeroDivisionError"),
        ("x = 1\n", "has no function check any more"),
        ("def check(forward, backward, x):\n    import os; os._exit(3)\n", "ended the process with exit code 3"),
    ):
        Path("check.py").write_text(text)
        result = cli("learn", "check-the-check", "check.py")
        assert (result.code, message in result.err) == (2, True), result.err
    assert "no such file" in cli("learn", "check-the-check", "nothing.py").err
    assert "or --template" in cli("learn", "check-the-check").err
