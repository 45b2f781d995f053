"""Chains that are not ours: accepted as written, and their mistakes caught, named and explained."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from makemore_cli.backprop.chain import Chain, chain
from makemore_cli.backprop.inputs import ChainError, between, index, positive
from makemore_cli.backprop.inputs import given as given_input
from makemore_cli.backprop.step import step
from makemore_cli.checks.chain_file import load
from makemore_cli.checks.check_chain import check, check_chain, check_pair
from makemore_cli.checks.findings import Report
from makemore_cli.checks.function_pair import FunctionPair
from makemore_cli.cli.chain_template import TEMPLATE
from makemore_cli.errors import MakemoreError
from tests.conftest import Cli

from .mutator import Mutant, as_pair, mutants_of_chain, mutants_of_pair

CHAINS = sorted((Path(__file__).parent / "chains").glob("*.py"))
SINGLE, DOUBLE = torch.float32, torch.float64
FEWEST_EXPLAINED = 0.75  # of about twenty random mistakes; of many, nine in ten are explained


def written(tmp_path: Path, text: str, name: str = "mine.py") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def report_on(subject: Chain | FunctionPair, dtype: torch.dtype = SINGLE, seed: int = 0) -> Report:
    return check_chain(subject, dtype, seed) if isinstance(subject, Chain) else check_pair(subject, dtype, seed)


# Right chains.


@pytest.mark.every(6)
@pytest.mark.parametrize("sizes", [1, pytest.param(5, marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE], ids=str)
@pytest.mark.parametrize("path", CHAINS, ids=lambda path: path.stem)
def test_a_right_chain_is_accepted_at_random_sizes(path: Path, dtype: torch.dtype, sizes: int, tmp_path: Path) -> None:
    declared = load(path)
    pair = load(written(tmp_path, as_pair(declared)[0]))
    draw = random.Random(torch.randint(0, 2**31, ()).item())
    for seed in (0, *(draw.randrange(1, 2**31) for _ in range(sizes))):
        for subject in (declared, pair):
            report = report_on(subject, dtype, seed)
            assert report.ok, (seed, report.failures())


def test_its_gradients_are_autograds() -> None:
    """The chain's own backward pass, run by itself, against the same network in PyTorch's functions."""
    declared = load(CHAINS[[path.stem for path in CHAINS].index("layer_norm")])
    values, sizes = declared.draw(7)
    leaves = {name: v.requires_grad_() if isinstance(v, torch.Tensor) else v for name, v in values.items()}
    x, gain, bias = (leaves[name] for name in ("x", "gain", "bias"))
    y = torch.nn.functional.layer_norm(x, (sizes["D"],), gain, bias, 1e-5)
    above = torch.randn_like(y)
    truth = torch.autograd.grad(y, (x, gain, bias), above)
    with torch.no_grad():
        forward = declared.forward({k: v.detach() if isinstance(v, torch.Tensor) else v for k, v in values.items()})
        ours = declared.backward(forward, {"y": above})
    torch.testing.assert_close(forward["y"], y.detach())
    for name, gradient in zip(("x", "gain", "bias"), truth, strict=True):
        torch.testing.assert_close(ours[name], gradient)


@settings(max_examples=25)
@given(
    lines=st.lists(
        st.sampled_from(
            [
                ("a * b", "b * d", "a * d"),
                ("a / b.exp()", "d / b.exp()", "-a * d / b.exp()"),
                ("a - b", "d", "-d"),
                ("torch.tanh(a) * b", "(1 - torch.tanh(a) ** 2) * b * d", "torch.tanh(a) * d"),
                ("torch.maximum(a, b)", "(a >= b) * d", "(a < b) * d"),
                ("a.abs() + b**2", "a.sign() * d", "2 * b * d"),
                ("a.sin() @ b.mT @ b", "a.cos() * (d @ b.mT @ b)", "b @ (d.mT @ a.sin() + a.mT.sin() @ d)"),
            ]
        ),
        min_size=1,
        max_size=5,
    ),
    seed=st.integers(0, 1000),
)
def test_any_chain_of_right_lines_is_accepted(lines: list[tuple[str, str, str]], seed: int) -> None:
    steps = []
    for number, texts in enumerate(lines):
        below, own = ("x" if not number else f"y{number}"), f"y{number + 1}"
        forward, to_a, to_b = (re.sub(r"\bd\b", f"d{own}", re.sub(r"\ba\b", below, text)) for text in texts)
        steps.append(
            step(
                own,
                eval(f"lambda {below}, b: {forward}"),
                **{
                    f"d{below}": eval(f"lambda {below}, b, d{own}: {to_a}"),
                    "db": eval(f"lambda {below}, b, d{own}: {to_b}"),
                },
            )
        )
    report = check_chain(chain("random", {"x": "n D", "b": "n D"}, *steps), DOUBLE, seed)
    assert report.ok, report.failures()


# Wrong ones.


def is_equivalent(path: Path) -> bool:
    return all(report_on(load(path), DOUBLE, seed).ok for seed in (1, 2, 3))


def tried(mutants: list[Mutant], count: int, tmp_path: Path) -> tuple[int, int]:
    """How many of `count` wrong files were tried, and how many explained; all must be caught and the line named."""
    done = explained = 0
    for number, mutant in enumerate(mutants):
        if done == count:
            break
        path = written(tmp_path, mutant.text, f"mutant_{number}.py")
        try:
            report = report_on(load(path))
        except MakemoreError as error:  # a pass that stops: the message has the line
            if ", line " not in str(error):
                raise
            done, explained = done + 1, explained + 1
            continue
        if report.ok and is_equivalent(path):
            continue
        done += 1
        assert not report.ok, (mutant.how, mutant.target, mutant.line)
        found = [(line.step, line.comparison.tensor, line.diagnosis) for line in report.wrong_lines]
        if not report.lines:  # a pair of functions
            wrong = [f for section in report.sections for f in section.findings if f.alone is False]
            found = [(mutant.step, f.comparison.tensor, f.diagnosis) for f in wrong]
        assert [one[:2] for one in found] == [(mutant.step, mutant.target[1:])], (mutant.line, report.failures())
        if report.lines:
            first = report.failures()[0]
            assert first.startswith(f"the line for {mutant.target} in the step {mutant.step} is wrong"), first
        explained += found[0][2] is not None
    return done, explained


@pytest.mark.every(6)
@pytest.mark.filterwarnings("ignore::UserWarning")  # of the wrong lines
@pytest.mark.parametrize("count", [2, pytest.param(18, marks=pytest.mark.slow)])
@pytest.mark.parametrize("path", CHAINS, ids=lambda path: path.stem)
def test_a_wrong_line_of_a_chain_is_caught_named_and_explained(path: Path, count: int, tmp_path: Path) -> None:
    draw = random.Random(torch.randint(0, 2**31, ()).item())
    done, explained = tried(mutants_of_chain(path, load(path), draw), count, tmp_path)
    assert done == count
    assert count < 15 or explained >= FEWEST_EXPLAINED * done


@pytest.mark.every(4)
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("count", [2, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.parametrize("path", CHAINS, ids=lambda path: path.stem)
def test_a_wrong_line_of_a_pair_is_caught_named_and_explained(path: Path, count: int, tmp_path: Path) -> None:
    draw = random.Random(torch.randint(0, 2**31, ()).item())
    done, explained = tried(mutants_of_pair(load(path), draw), count, tmp_path)
    assert done == count
    assert count < 15 or explained >= FEWEST_EXPLAINED * done


LINE = """
from makemore_cli import chain, step
import torch
line = chain("one line", {"x": "n D", "W": "D H", "b": "H"},
    step("y", lambda x, W, b: x @ W + b, dx=lambda W, dy: dy @ W.T, dW=lambda x, dy: x.T @ dy, db=lambda dy: dy.sum(0)),
    step("h", lambda y: torch.sigmoid(y), dy=lambda h, dh: h * (1 - h) * dh),
    step("p", lambda h: h / h.sum(1, keepdim=True),
        dh=lambda h, dp: dp / h.sum(1, keepdim=True) - (dp * h).sum(1, keepdim=True) / h.sum(1, keepdim=True) ** 2),
)
"""


@pytest.mark.every(4)
@pytest.mark.parametrize(
    ("right", "wrong", "step_", "told"),
    [
        ("dy @ W.T", "W @ dy", "y", "should be"),
        ("dy @ W.T", "dy @ W", "y", "W should be transposed (right: dx = dy @ W.mT)"),
        ("x.T @ dy", "x.T * dy.sum()", "y", ""),
        ("dy.sum(0)", "dy", "y", ".sum(0) is missing"),
        ("dy.sum(0)", "dy.sum(1)", "y", "should be over dimension 0"),
        ("dy.sum(0)", "dy.mean(0)", "y", "it is 1/n of what it should be: divided by n once too often"),
        ("h * (1 - h) * dh", "(1 - h**2) * dh", "h", ""),
        ("h * (1 - h) * dh", "y * (1 - h) * dh", "h", "y is used instead of h"),
        ("h * (1 - h) * dh", "dh", "h", "passed on unchanged: the local derivative is missing"),
        ("h * (1 - h) * dh", "h * (1 - h)", "h", "it does not read dh, the upstream gradient"),
        ("h * (1 - h) * dh", "h * dh", "h", "the factor 1 - h is missing"),
        ("h * (1 - h) * dh", "h * (1 - h) * dh * 2", "h", "it is twice what it should be"),
        (") - (dp * h)", ") + (dp * h)", "p", "a minus sign is missing in front of (dp * h).sum"),
        ("(dp * h).sum(1, keepdim=True) /", "dp * h /", "p", "the sum over dimension 1 of dp * h /"),
    ],
)
def test_what_is_said_of_a_wrong_line(right: str, wrong: str, step_: str, told: str, tmp_path: Path) -> None:
    assert LINE.count(right) == 1
    text = LINE.replace(right, wrong)
    if "y * (1 - h)" in wrong:
        text = text.replace("dy=lambda h, dh", "dy=lambda h, y, dh")
    if wrong == "h * (1 - h)":
        text = text.replace("dy=lambda h, dh", "dy=lambda h")
    report = check_chain(load(written(tmp_path, text)))
    assert [line.step for line in report.wrong_lines] == [step_]
    assert told in report.failures()[0]
    assert "mine.py, line" in report.failures()[0]
    json.dumps(report.to_json(), allow_nan=False)


def test_a_line_that_changes_what_it_was_given(tmp_path: Path) -> None:
    text = LINE.replace("dy=lambda h, dh: h * (1 - h) * dh", "dy=lambda h, dh: dh.mul_(h * (1 - h))")
    assert "it changes dh in place" in check_chain(load(written(tmp_path, text))).failures()[0]


# What autograd can't show, and what has no derivative.


def test_a_gradient_that_is_zero_on_real_values() -> None:
    """The maximum's own gradient is zero where it is only subtracted, so no loss shows its lines."""
    wrong = chain(
        "shifted softmax",
        {"x": "n D"},
        step("top", lambda x: x.max(1, keepdim=True).values, dx=lambda x, dtop: torch.ones_like(x) * dtop),
        step("shifted", lambda x, top: x - top, dx=lambda dshifted: dshifted, dtop=lambda dshifted: dshifted),
        step("p", lambda shifted: shifted.softmax(1), dshifted=lambda p, dp: p * (dp - (p * dp).sum(1, keepdim=True))),
    )
    report = check_chain(wrong, DOUBLE)
    assert [(line.step, line.comparison.tensor) for line in report.wrong_lines] == [("shifted", "top"), ("top", "x")]


@pytest.mark.every(2)
@pytest.mark.parametrize(
    "steps",
    [
        (step("y", lambda x: torch.relu(x) * x.abs(), dx=lambda x, dy: 2 * torch.relu(x) * dy),),
        (step("y", lambda x: x.round() + 0 * x, dx=lambda dy: 0 * dy),),
        (
            step("q", lambda x: x + (x.round() - x).detach(), dx=lambda dq: dq),  # straight through
            step("y", lambda q: q**2, dq=lambda q, dy: 2 * q * dy),
        ),
        (
            step("mask", lambda x: (x > 0).to(x.dtype)),  # no gradient goes there, so no line has to
            step("y", lambda x, mask: x * mask, dx=lambda mask, dy: mask * dy),
        ),
        (
            step("big", lambda x: x.argmax(1)),
            step(
                "y",
                lambda x, big: x.gather(1, big[:, None]),
                dx=lambda x, big, dy: torch.zeros_like(x).scatter(1, big[:, None], dy),
            ),
        ),
        (step("y", lambda x, n, D: x.reshape(D, n) / (n * D), dx=lambda x, n, D, dy: dy.reshape_as(x) / (n * D)),),
        (step("y", lambda x: (x**2).mean(), dx=lambda x, dy: 2 * x / x.numel() * dy),),
        (step("y", lambda x: x.sort(1).values, dx=lambda x, dy: torch.zeros_like(x).scatter(1, x.argsort(1), dy)),),
    ],
    ids=["kinks", "steps", "straight-through", "mask", "index", "sizes", "scalar", "sort"],
)
def test_right_lines_without_smooth_derivatives_are_accepted(steps) -> None:
    for dtype in (SINGLE, DOUBLE):
        for seed in range(4):
            report = check_chain(chain("odd", {"x": "n D"}, *steps), dtype, seed)
            assert report.ok, report.failures()


def test_the_complex_step_is_skipped_where_it_can_say_nothing() -> None:
    for forward, backward in (
        (lambda x: torch.relu(x), lambda x, dy: (x > 0) * dy),
        (lambda x: x.abs() ** 2, lambda x, dy: 2 * x * dy),
    ):
        report = check_chain(chain("not analytic", {"x": "n D"}, step("y", forward, dx=backward)))
        assert report.ok, report.failures()
        assert any(remark.startswith("complex step: skipped, since") for remark in report.remarks)
        assert len(report.sections) == 2


# Inputs.


def test_inputs_stay_in_their_domains() -> None:
    declared = chain(
        "domains",
        {
            "v": positive("n"),
            "p": between("n D", 0, 1),
            "X": index("n T", "V"),
            "P": index("n", "n", distinct=True),
            "C": "V D",
            "eps": 1e-5,
        },
        step("a", lambda v, p, X, P, C, eps: (v.log() + p.logit().sum(1) + eps)[P] + C[X].sum((1, 2)), dC=lambda C: C),
    )
    for seed in range(20):
        values, sizes = declared.draw(seed)
        assert values["v"].min() > 0
        assert values["p"].min() > 0
        assert values["p"].max() < 1
        assert values["X"].max() < sizes["V"]
        assert values["X"].flatten()[0] == values["X"].flatten()[-1]  # one is used twice
        assert sorted(values["P"].tolist()) == list(range(sizes["n"]))
        assert values["C"].abs().min() >= 0.25
        assert len({sizes[name] for name in declared.sizes}) > 1


def test_sizes_fit_the_shapes_that_are_declared() -> None:
    declared = chain(
        "valid convolution",
        {"x": "n L", "k": "K"},
        step("y", lambda x, k, K: x.unfold(1, K, 1) @ k, shape="n L-K+1"),
    )
    for seed in range(50):
        _, sizes = declared.draw(seed)
        assert sizes["L"] - sizes["K"] + 1 >= 1
    assert declared.draw(3, {"L": 9, "K": 2})[1] | {"n": 0} == {"n": 0, "L": 9, "K": 2}


def test_a_given_tensor_brings_its_sizes() -> None:
    table = torch.arange(12.0).view(4, 3)
    declared = chain(
        "given",
        {"x": "n D", "A": given_input(table, "D E")},
        step("y", lambda x, A: x @ A, dx=lambda A, dy: dy @ A.T, dA=lambda x, dy: x.T @ dy),
    )
    values, sizes = declared.draw(5)
    assert (sizes["D"], sizes["E"]) == (4, 3)
    assert torch.equal(values["A"], table)
    assert check_chain(declared, DOUBLE, 5).ok


# Declarations that can't be run.

DECLARED = 'from makemore_cli import *\nimport torch\nmine = chain("mine", {{"x": "n D", "W": "D H"}},\n{}\n)\n'


# ruff: noqa: E501
@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ('step("y", lambda x, V: x @ V)', "step y reads V, which is neither an input nor an earlier step; known names are x, W, n, D, H"),
        ('step("y", lambda x, z: x + z), step("z", lambda y: y)', "step y reads z, which depends on it: break the cycle y → z → y"),
        ('step("y", lambda x, z: x + z), step("z", lambda x: x)', "step y reads z, which comes later: move step z before it"),
        ('step("x", lambda W: W)', "x is already an input, so it can't be a step too"),
        ('step("dx", lambda x: x)', "dx would be the gradient of x"),
        ('step("1y", lambda x: x)', "'1y' can't be the name of a step"),
        ('step("y", lambda x, W: x @ W, db=lambda dy: dy)', "step y has a line for db, but it reads x and W"),
        ('step("y", lambda x, W: x @ W, dx=lambda W, dz: dz @ W.T)', "the line for dx in step y reads dz, which is unknown; known names are x, W, n, D, H, y and dy"),
        ('step("y", lambda x, W: x @ W, dx=lambda W, dx: dx @ W.T)', "the only gradient that it can read is dy"),
        ('step("y", lambda *all: all[0])', "write lambda x, W: …"),
        ('step("y", lambda x: x, dx=lambda dy: dy)', "no step reads the input W: remove it"),
        ("", "has no steps"),
        ('step("y", lambda x, W: W @ x)', "step y can't be run: mat1 and mat2 shapes cannot be multiplied"),
        ('step("y", lambda x, W: x @ W, shape="n D")', "step y is declared as n D, which is (4, 6), but its line returns (4, 8)"),
        ('step("y", lambda x, W: x @ W, shape="n (D")', "(D is not a valid dimension"),
        ('step("y", lambda x, W: x @ W, dx=lambda W, dy: dy @ W.T)', "step y reads W, but has no line for dW: add dW=lambda …"),
        ('step("y", lambda x, W: undefined + x @ W)', "name 'undefined' is not defined"),
    ],
)  # fmt: skip
def test_a_wrong_declaration_is_one_line(steps: str, told: str, tmp_path: Path, cli: Cli) -> None:
    result = cli("gradcheck", "--chain", written(tmp_path, DECLARED.format(steps)))
    assert (result.code, result.out) == (2, "")
    assert told in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = 1\n", "declares no chain, no torch.autograd.Function, and no functions `forward` and `backward`"),
        ("def f(:\n", "line 1"),
        ("import nosuchmodule\n", "line 1: ModuleNotFoundError"),
        ("raise SystemExit(3)\n", "line 1: SystemExit"),
        (LINE + "other = chain('b', {'x': 'n'}, step('y', lambda x: x))\n", "declares several chains, line, other"),
        ("def forward(x):\n    return x\ndef backward(dx):\n    return dx\n", "the shape of x is not declared"),
        ("def forward(x: 'n'):\n    pass\ndef backward(dy):\n    return dy\n", "`forward` returns nothing"),
        (
            "def forward(x: 'n'):\n    y = 2 * x\n    return y\ndef backward(dy, q):\n    return dy\n",
            "`backward` asks for q",
        ),
    ],
)
def test_a_file_without_anything_to_check(text: str, told: str, tmp_path: Path, cli: Cli) -> None:
    result = cli("gradcheck", "--chain", written(tmp_path, text))
    assert result.code == 2
    assert told in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--size", "q=3"], "--size must name a size of the chain (n, D, H), got q"),
        (["--size", "n=0"], "--size n=0: must be a size and a whole number from 1 to 100,000"),
        (["--dtype", "half"], "--dtype must be one of float32, float64, got half"),
        (["--set", "optim.lr=1"], "--chain: a chain has its own inputs"),
    ],
)
def test_wrong_options(options: list[str], told: str, tmp_path: Path, cli: Cli) -> None:
    result = cli("gradcheck", "--chain", written(tmp_path, TEMPLATE), *options)
    assert (result.code, result.out) == (2, "")
    assert told in result.err
    assert cli("gradcheck", *options[:2]).code in (0, 2)


# Functions.

LEGENDRE = """
import torch
class LegendrePolynomial3(torch.autograd.Function):
    @staticmethod
    def forward(ctx, input):
        ctx.save_for_backward(input)
        return 0.5 * (5 * input ** 3 - 3 * input)
    @staticmethod
    def backward(ctx, grad_output):
        input, = ctx.saved_tensors
        return grad_output * 1.5 * (5 * input ** 2 - 1)
"""
TWO_OUTPUTS = """
import torch
inputs = {"x": "n D", "scale": 0.5}
class SinCos(torch.autograd.Function):
    @staticmethod
    def forward(x, scale):
        return torch.sin(x * scale), torch.cos(x * scale)
    @staticmethod
    def setup_context(ctx, inputs, output):
        x, ctx.scale = inputs
        ctx.save_for_backward(x)
    @staticmethod
    def backward(ctx, ds, dc):
        x, = ctx.saved_tensors
        k = ctx.scale
        dx = k * (ds * torch.cos(k * x) - dc * torch.sin(k * x))
        return dx, None
"""


def test_an_autograd_function_is_a_chain_of_one_step(tmp_path: Path) -> None:
    for text in (LEGENDRE, TWO_OUTPUTS):
        declared = load(written(tmp_path, text, f"f{len(text)}.py"))
        for dtype in (SINGLE, DOUBLE):
            assert check_chain(declared, dtype).ok
    wrong = load(written(tmp_path, LEGENDRE.replace("** 2 - 1", "** 2 + 1"), "wrong.py"))
    report = check_chain(wrong)
    assert [(line.step, line.comparison.tensor) for line in report.wrong_lines] == [("output", "input")]
    assert "(right: dinput = grad_output * 1.5 * (5 * input ** 2 - 1))" in report.failures()[0]
    wrong = load(written(tmp_path, TWO_OUTPUTS.replace("- dc", "+ dc"), "wrong2.py"))
    assert [line.step for line in check_chain(wrong).wrong_lines] == ["output_2"]


PAIRS = {
    "cache": """
import torch
def forward(x: "n D", W: "D H", b: "H", t: "n H"):
    z = x @ W
    z += b
    h = torch.relu(z)
    scale = 1 / h.numel()
    loss = scale * ((h - t) ** 2).sum()
    cache = (x, W, z, h, t, scale)
    return loss, cache
def backward(dloss, cache):
    x, W, z, h, t, scale = cache
    dh = 2 * scale * (h - t) * dloss
    dt = -dh
    dz = dh.clone()
    dz[z <= 0] = 0
    dW = x.T @ dz
    db = dz.sum(0)
    dx = dz @ W.T
    return dx, dW, db, dt
""",
    "other names": """
def forward(x: "n D", W: "D H"):
    out = x.mm(W).tanh()
    return out
def backward(grad_out, x, W, out):
    g = grad_out * (1 - out ** 2)
    return {"dx": g @ W.T, "dW": x.T @ g}
""",
    "a loop": """
import torch
def forward(x: "T n D", h0: "n H", Wx: "D H", Wh: "H H", b: "H"):
    h = h0
    hs = []
    for t in range(x.shape[0]):
        h = torch.tanh(x[t] @ Wx + h @ Wh + b)
        hs.append(h)
    out = torch.stack(hs)
    return out
def backward(dout, x, h0, Wx, Wh, out):
    dWx, dWh, db = torch.zeros_like(Wx), torch.zeros_like(Wh), torch.zeros(Wh.shape[1])
    dx = torch.zeros_like(x)
    dnext = torch.zeros_like(h0)
    for t in reversed(range(x.shape[0])):
        da = (dout[t] + dnext) * (1 - out[t] ** 2)
        dWx += x[t].T @ da
        prev = out[t - 1] if t else h0
        dWh += prev.T @ da
        db += da.sum(0)
        dx[t] = da @ Wx.T
        dnext = da @ Wh.T
    dh0 = dnext
    return dx, dh0, dWx, dWh, db
""",
    "one name for two things": """
import torch
def forward(x: "n D", W: "D H"):
    h = torch.sigmoid(x @ W)
    y = (h * h).sum(1)
    return y
def backward(dy, x, W, h):
    dh = 2 * h * dy[:, None]
    dh = dh * h * (1 - h)
    return dh @ W.T, x.T @ dh
""",
    "float32 at the top": """
import torch
from torch import Tensor
half = torch.tensor(0.5)
ones = torch.ones(1)
def forward(x: "n D", y: "n D", p: float = 2.0) -> Tensor:
    both = torch.cat([x, y], 1)
    a, b = both.chunk(2, 1)
    loss = half * ((a - b) ** p).mean()
    return loss
def backward(dloss, x, y):
    diff = half * 2 * (x - y) / x.numel() * dloss * ones
    return diff, -diff
""",
}


@pytest.mark.parametrize("name", PAIRS)
def test_right_pairs_of_functions_are_accepted(name: str, tmp_path: Path) -> None:
    pair = load(written(tmp_path, PAIRS[name]))
    for dtype in ("float32", "float64"):
        for seed in range(4):
            report = check(pair, dtype, seed)
            assert report.ok, (seed, report.failures())
            assert {f.comparison.tensor for s in report.sections for f in s.findings} >= {"x"}


@pytest.mark.parametrize(
    ("name", "right", "wrong", "tensor", "told"),
    [
        ("cache", "dz[z <= 0] = 0", "dz[z >= 0] = 0", "z", "line 15"),
        ("cache", "dt = -dh", "dt = dh", "t", "the sign is wrong"),
        ("cache", "db = dz.sum(0)", "db = dz.sum(1)", "b", "should be over dimension 0"),
        ("other names", "x.T @ g", "x.T @ grad_out", "W", ""),
        ("a loop", "prev.T @ da", "out[t].T @ da", "Wh", "line"),
        ("one name for two things", "x.T @ dh", "2 * x.T @ dh", "W", "twice"),
    ],
)
def test_wrong_pairs_of_functions(name: str, right: str, wrong: str, tensor: str, told: str, tmp_path: Path) -> None:
    assert right in PAIRS[name]
    report = check(load(written(tmp_path, PAIRS[name].replace(right, wrong))))
    own = [f for section in report.sections for f in section.findings if f.alone is False]
    assert [f.comparison.tensor for f in own] == [tensor]
    assert told in report.failures()[0]


def test_a_pass_that_stops_is_told_with_the_line_that_made_it_stop(tmp_path: Path) -> None:
    text = PAIRS["cache"].replace("dh = 2 * scale * (h - t) * dloss", "dh = (2 * scale * (h - t) * dloss).sum(0)")
    text = text.replace("dz[z <= 0] = 0", "dz = dz * (z > 0) @ torch.ones(h.shape[1], 1)")
    with pytest.raises(
        MakemoreError, match=r"line 13: dh has the shape \(8,\), but h has \(4, 8\); after that, .*line"
    ):
        check(load(written(tmp_path, text)))


SWAPPED = """
def forward(a: "n D", b: "n D"):
    y = a * b**2
    return y
def backward(dy, a, b):
    da = b**2 * dy
    db = 2 * a * b * dy
    return {}
"""


@pytest.mark.parametrize(
    ("returned", "right"),
    [
        ("da, db", True),
        ("[da, db]", True),
        ("{'da': da, 'db': db}", True),
        ("locals()", True),
        ("db, da", False),  # the place decides
        ("{'da': db, 'db': da}", False),
    ],
)
def test_the_place_of_a_gradient_decides(returned: str, right: bool, tmp_path: Path) -> None:
    report = check(load(written(tmp_path, SWAPPED.format(returned))))
    assert report.ok == right
    assert right or "are swapped" in " ".join(report.failures())


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        ("da", None),
        ("da, db, 3 * da", "returned 3 values"),
        ("None", "returned NoneType"),
        ("3 * da", "returned Tensor"),
    ],
)
def test_gradients_that_are_missing(returned: str, told: str | None, tmp_path: Path) -> None:
    pair = load(written(tmp_path, SWAPPED.format(returned)))
    if told is None:
        assert any(remark == "not given, so not checked: db" for remark in check(pair).remarks) or check(pair).ok
    else:
        with pytest.raises(MakemoreError, match=told):
            check(pair)


MORE_PAIRS = {
    "a bare expression": "def forward(x: 'n D'):\n    y = x**3\n    return y\ndef backward(dy, x):\n    return 3 * x**2 * dy\n",
    "a helper inside": (
        "def forward(x: 'n'):\n    def f(v):\n        return v.sin()\n    y = f(x)\n    return y\n"
        "def backward(dy, x):\n    return x.cos() * dy\n"
    ),
    "a dictionary of lists": (
        "def forward(x: 'n D'):\n    kept = {'h': []}\n    for t in range(3):\n        kept['h'].append(x * t)\n"
        "    y = torch.stack(kept['h'], 1)\n    return y\n"
        "def backward(dy, x):\n    return dy[:, 1] + 2 * dy[:, 2]\n"
    ),
    "a size that is a number": "def forward(x: 'n 3', k: '3'):\n    y = x * k\n    return y\ndef backward(dy, x, k):\n    return dy * k, (dy * x).sum(0)\n",
    "a word by default": "def forward(x: 'n', mode='sum'):\n    y = x.sum() if mode == 'sum' else x.mean()\n    return y\ndef backward(dy, x):\n    return dy.expand_as(x)\n",
    "an input that is not used": "def forward(x: 'n', u: 'n'):\n    y = 2 * x\n    return y\ndef backward(dy, x, u):\n    return 2 * dy, None\n",
    "one gradient by another": (
        "def forward(A: 'D D', b: 'n D'):\n    y = torch.linalg.solve(A + 9 * torch.eye(A.shape[0]), b.T)\n    return y\n"
        "def backward(dy, A, b, y):\n    db = torch.linalg.solve((A + 9 * torch.eye(A.shape[0])).T, dy).T\n"
        "    dA = -db.T @ y.T\n    return dA, db\n"
    ),
}


@pytest.mark.parametrize("name", MORE_PAIRS)
def test_more_right_pairs(name: str, tmp_path: Path) -> None:
    pair = load(written(tmp_path, MORE_PAIRS[name]))
    for dtype in ("float32", "float64"):
        for seed in (0, 1, 2):
            report = check(pair, dtype, seed)
            assert report.ok, report.failures()


def test_a_line_that_reads_a_wrong_gradient_is_not_blamed(tmp_path: Path) -> None:
    text = MORE_PAIRS["one gradient by another"].replace(", dy).T\n", ", 2 * dy).T\n")
    report = check(load(written(tmp_path, text)))
    own = [f.comparison.tensor for section in report.sections for f in section.findings if f.alone is False]
    assert own == ["b"]


def test_what_all_wrong_lines_read_is_named(tmp_path: Path) -> None:
    text = (
        "def forward(q: 'n D', k: 'm D'):\n    s = q @ k.T * 0.5\n    y = s.tanh()\n    return y\n"
        "def backward(dy, q, k, y):\n    ds = dy * (1 - y**2)\n    ds = ds * 0.25\n    dq = ds @ k\n    dk = ds.T @ q\n"
        "    return dq, dk\n"
    )
    report = check(load(written(tmp_path, text)))
    assert "dq, dk all read ds, which line 7 computes: look there first" in report.remarks


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        (
            'step("y", lambda x, W: torch.from_numpy(np.tanh((x @ W).detach().numpy())), dx=lambda x: x, dW=lambda W: W)',
            None,  # detached on purpose, for all that is known
        ),
        ('step("y", lambda x, W: x.log() @ W, dx=lambda x: x, dW=lambda W: W)', "y is NaN at random inputs"),
        ('step("y", lambda x, W: (x + torch.rand(1)) @ W, dx=lambda x: x, dW=lambda W: W)', "y is random"),
        ('step("y", lambda x, W: (x @ W).argmax(1), dx=lambda x: x, dW=lambda W: W)', "no output is real"),
        ('step("y", lambda x, W: [x @ W], dx=lambda x: x, dW=lambda W: W)', "the output y is a list, not a tensor"),
        ('("y", lambda x, W: x @ W)', "is not a step: write step("),
        ('step("y", lambda x, W: x @ W), sizes={"n": (9, 4)}', "sizes has n = (9, 4)"),
        ('step("y", lambda x, W: x @ W), sizes={"q": 3}', "sizes has q, which no shape uses"),
    ],
)
def test_a_chain_that_says_nothing(steps: str, told: str | None, tmp_path: Path, cli: Cli) -> None:
    result = cli("gradcheck", "--chain", written(tmp_path, DECLARED.format(steps)))
    if told is not None:
        assert (result.code, result.out) == (2, "")
        assert told in result.err


# The command.


@pytest.mark.slow
def test_the_template_is_right_and_the_json_says_so(tmp_path: Path, cli: Cli) -> None:
    printed = cli("gradcheck", "--chain-template")
    assert printed.code == 0
    assert printed.out == TEMPLATE
    path = written(tmp_path, printed.out)
    result = cli("gradcheck", "--chain", path, "--json", "--size", "n=6", "--dtype", "float64")
    report = json.loads(result.out)
    assert (result.code, report["ok"], report["chain"], report["dtype"]) == (0, True, "a linear layer", "float64")
    assert report["sizes"] == {"n": 6, "D": 4, "H": 8}
    path.write_text(TEMPLATE.replace("x.T @ dz", "-x.T @ dz"))
    wrong = cli("gradcheck", "--chain", path, "--json")
    assert wrong.code == 1
    assert json.loads(wrong.out)["failures"][0].endswith("the sign is wrong")
    assert cli("gradcheck", "--chain", path, "--trials", "3").code == 1
    path.write_text(TEMPLATE)
    assert "10 of 10 problems passed" in cli("gradcheck", "--chain", path, "--trials", "10").out


def test_what_a_file_prints_is_not_the_result(tmp_path: Path, cli: Cli) -> None:
    path = written(tmp_path, "print('\\x1b[31mhello')\n" + TEMPLATE)
    result = cli("gradcheck", "--chain", path, "--json")
    json.loads(result.out)
    assert "hello" in result.err


def test_names_of_a_file_are_escaped(tmp_path: Path, cli: Cli) -> None:
    path = written(tmp_path, TEMPLATE.replace('"a linear layer"', '"[red]\\x1b[31mx"').replace("x.T @ dz", "-x.T @ dz"))
    result = cli("gradcheck", "--chain", path)
    assert result.code == 1
    assert "\x1b" not in result.out
    assert "[red]" in result.out


def test_bounds_that_are_no_bounds() -> None:
    with pytest.raises(ChainError, match="the first bound must be below the second"):
        between("n", 1, 0)
    with pytest.raises(ChainError, match="the number of dimensions differs"):
        given_input(torch.ones(2, 3), "n")
