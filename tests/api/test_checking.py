"""`gradcheck` and `assert_gradients` on chains and autograd functions, and what pytest prints."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import makemore_cli as mm


class Scale(torch.autograd.Function):
    """Right."""

    @staticmethod
    def forward(ctx: Any, x: Any, gain: Any) -> Any:
        ctx.save_for_backward(x, gain)
        return x * gain

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        x, gain = ctx.saved_tensors
        return dy * gain, (dy * x).sum(0)


class Wrong(Scale):
    """The gradient of gain is a mean."""

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        x, gain = ctx.saved_tensors
        return dy * gain, (dy * x).mean(0)


class Annotated(torch.autograd.Function):
    """Its shapes are annotations."""

    @staticmethod
    def forward(ctx: Any, x: mm.positive("n D")) -> Any:
        ctx.save_for_backward(x)
        return x.log()

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        (x,) = ctx.saved_tensors
        return dy / x


SHAPES = {"x": "n D", "gain": "D"}


def linear(sign: float = 1.0) -> mm.Chain:
    return mm.chain(
        "linear",
        {"x": "n D", "W": "D H", "b": "H"},
        mm.step(
            "y",
            lambda x, W, b: x @ W + b,
            dx=lambda W, dy: dy @ W.T,
            dW=lambda x, dy: sign * x.T @ dy,
            db=lambda dy: dy.sum(0),
        ),
    )


def test_right_and_wrong_ones() -> None:
    assert mm.gradcheck(Scale, shapes=SHAPES)
    assert mm.gradcheck(Scale, shapes=SHAPES, sizes={"n": 3}, seed=5, dtype="float64", against="finite")
    assert mm.gradcheck(Annotated)
    assert mm.gradcheck(linear())
    assert mm.gradcheck("linear")
    report = mm.gradcheck(Wrong, shapes=SHAPES)
    assert not report
    assert "gain" in report.failures()[0]
    assert "shape" in mm.gradcheck(Scale).failures()[0], "without shapes, all are of the same"
    report = mm.gradcheck(linear(-1), sizes={"n": 3})
    assert not report
    assert "sign" in report.failures()[0]
    assert "n = 3" in repr(report)


def test_float32_constants_in_a_chain_are_no_mistake() -> None:
    """A line that creates float32 tensors is right in float64 too."""
    half = mm.chain(
        "half",
        {"x": "n"},
        mm.step("y", lambda x: x * torch.tensor(0.1), dx=lambda dy: dy * torch.tensor(0.1)),
    )
    assert mm.gradcheck(half)


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text('chain("own", {"x": "n"}, step("y", lambda x: 2 * x, dx=lambda dy: 2 * dy))\n')
    with pytest.raises(mm.MakemoreError, match="declares no chain"):
        mm.gradcheck(path)
    path.write_text(f"own = {path.read_text()}")
    assert mm.gradcheck(path)
    mm.assert_gradients(path)


def test_assert_gradients_names_the_line_the_diagnosis_the_worst_entry_and_the_seed() -> None:
    mm.assert_gradients(Scale, shapes=SHAPES)
    mm.assert_gradients(linear(), trials=2)
    with pytest.raises(AssertionError) as first:
        mm.assert_gradients(linear(-1))
    text = str(first.value)
    assert "the line for dW in the step y is wrong" in text
    assert "sign" in text
    assert re.search(r"at \[\d, \d\], \S+ against \S+", text)
    seed = int(re.search(r"to repeat: seed=(\d+), trials=1$", text)[1])
    with pytest.raises(AssertionError) as again:
        mm.assert_gradients(linear(-1), seed=seed, trials=1)
    assert str(again.value) == text


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        (lambda: mm.gradcheck(Scale, shapes={"z": "n"}), r"shapes must name inputs of forward \(x, gain\), got z"),
        (lambda: mm.gradcheck(Scale, shapes={"x": "n !", "gain": "D"}), "not a valid dimension"),
        (lambda: mm.gradcheck(linear(), shapes={"x": "n D"}), "shapes applies to a torch.autograd.Function only"),
        (lambda: mm.gradcheck(linear(), sizes={"K": 3}), "sizes must name a size of the chain"),
        (lambda: mm.gradcheck(linear(), dtype="float16"), "dtype must be one of"),
        (lambda: mm.gradcheck(linear(), of="kernel"), "of must be one of"),
        (lambda: mm.gradcheck("nothing"), "no such file or bundled chain"),
        (lambda: mm.gradcheck(3), "subject must be a chain"),
        (lambda: mm.gradcheck(torch.nn.Linear), "subject must be a chain"),
        (lambda: mm.assert_gradients(linear(), trials=0), "trials must be at least 1"),
    ],
)
def test_mistakes_name_the_parameter(mistake: Any, told: str) -> None:
    with pytest.raises(mm.MakemoreError, match=told):
        mistake()


SUITE = """
import makemore_cli as mm
import torch


class Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, gain):
        ctx.save_for_backward(x, gain)
        return x * gain

    @staticmethod
    def backward(ctx, dy):
        x, gain = ctx.saved_tensors
        return dy * gain, dy * x


class Right(Scale):
    @staticmethod
    def backward(ctx, dy):
        x, gain = ctx.saved_tensors
        return dy * gain, (dy * x).sum(0)


def test_right():
    mm.assert_gradients(Right, shapes={"x": "n D", "gain": "D"})


def test_wrong():
    mm.assert_gradients(Scale, shapes={"x": "n D", "gain": "D"})
"""


@pytest.mark.slow
def test_in_somebody_elses_suite(tmp_path: Path) -> None:
    (tmp_path / "test_scale.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, "test_scale.py"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 1
    assert "1 failed, 1 passed" in ran.stdout
    assert "dgain" in ran.stdout
    assert "to repeat: seed=" in ran.stdout
