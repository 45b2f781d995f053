"""`gradcheck` and `assert_gradients` on chains and autograd functions, and what pytest prints."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import suppress
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
        (lambda: mm.assert_gradients(linear(), trials=0), "trials must be a whole number of at least 1, got 0"),
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


def function(backward: Any) -> type[torch.autograd.Function]:
    """Doubles its input; with the given backward."""

    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return 2 * x

    Double.backward = staticmethod(backward)  # type: ignore[assignment]
    return Double


@pytest.mark.parametrize(
    ("backward", "told"),
    [
        (lambda ctx, dy: dy * missing, "missing"),  # type: ignore[name-defined]  # noqa: F821
        (lambda ctx, dy: ctx.saved_tensor[0], "saved_tensor"),
        (lambda ctx, dy: dy / 0 + 1 // 0, "zero"),
        (lambda ctx, dy: {}["x"], "x"),
        (lambda ctx, dy: (2 * dy, dy), "returns 2 gradients, but forward has 1 inputs"),
        (lambda ctx, dy: [2 * dy], "returns a list"),
    ],
)
def test_a_backward_that_does_not_run_is_one_error(backward: Any, told: str) -> None:
    """A failed check, with the line; or a ChainError."""
    with suppress(mm.ChainError):
        report = mm.gradcheck(function(backward))
        assert not report
        assert told in repr(report)
        return
    with pytest.raises(mm.ChainError, match=told):
        mm.gradcheck(function(backward))


def test_an_output_that_is_marked_as_constant_needs_no_gradient() -> None:
    class WithMean(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            mean = x.mean(0)
            ctx.mark_non_differentiable(mean)
            return 2 * x, mean

        @staticmethod
        def backward(ctx: Any, dy: Any, dmean: Any) -> Any:
            return 2 * dy

    assert mm.gradcheck(WithMean)


sizes, inputs = {"train": 100}, {"x": torch.ones(3)}  # names of this module that a check must not read


def test_other_names_of_the_module_do_not_matter() -> None:
    assert mm.gradcheck(Scale, shapes=SHAPES)


FUTURE = """
from __future__ import annotations
from typing import TYPE_CHECKING
import torch
if TYPE_CHECKING:
    from torch import Tensor

class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, k: torch.Tensor | None, z: "n") -> Tensor:
        return 2 * x + k + z.sum()

    @staticmethod
    def backward(ctx, dy):
        return 2 * dy, dy, dy.sum().expand(Double.n)
"""


def test_types_are_no_shapes() -> None:
    """Not even if they can't be resolved; a class of no module works too."""
    scope: dict[str, Any] = {"__name__": "nowhere"}
    exec(FUTURE, scope)
    scope["Double"].n = 5
    report = mm.gradcheck(scope["Double"], sizes={"n": 5})
    assert report, report
    assert "Tensor" not in repr(report)


def test_errors_survive_another_process() -> None:
    import pickle

    for error in (
        mm.ParameterError("x", "must be y"),
        mm.MakemoreError("a", parameters=("b",)),
        mm.StoppedError("s", 2),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_control_characters_do_not_reach_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "e\x1b[31m[red]b.py"
    path.write_text('own = chain("o\x1b[1m[red]", {"x": "n"}, step("y", lambda x: 2 * x, dx=lambda dy: dy))\n')
    with pytest.raises(AssertionError) as error:
        mm.assert_gradients(path)
    assert "\x1b" not in str(error.value)
    assert "\x1b" not in repr(mm.gradcheck(path))


@pytest.mark.parametrize("number", [1.5, None, 2**80, -1, "3"])
def test_numbers_are_whole(number: Any) -> None:
    with pytest.raises(mm.ParameterError, match="must be a whole number"):
        mm.gradcheck("linear", seed=number)
    if number is not None:
        with pytest.raises(mm.ParameterError, match="must be a whole number"):
            mm.assert_gradients("linear", trials=number if number != 2**80 else 0)


def test_checks_in_several_threads_leave_the_default_precision() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda seed: bool(mm.gradcheck("linear", seed=seed)), range(8)))
    assert torch.get_default_dtype() == torch.float32
