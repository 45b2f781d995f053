"""Explanations: the chains that ship, their published numbers, and lines written out entry by entry."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from makemore_cli.backprop import atomic
from makemore_cli.backprop.derivations import DERIVATIONS, LECTURE
from makemore_cli.backprop.entries import named, write_out
from makemore_cli.backprop.shipped import SHIPPED
from makemore_cli.backprop.step import arguments, run
from makemore_cli.checks.check_chain import check_chain
from makemore_cli.cli.chain_template import TEMPLATE
from makemore_cli.scalar.tensor import NotScalarError
from makemore_cli.views import explain
from tests.conftest import Cli, problem

DOUBLE = torch.float64


@pytest.mark.every(6)
@pytest.mark.parametrize("name", SHIPPED)
def test_a_chain_that_ships_is_right(name: str) -> None:
    for dtype in (torch.float32, DOUBLE):
        for seed in (0, 1, 2):
            report = check_chain(SHIPPED[name].chain, dtype, seed)
            assert report.ok, report.failures()


@pytest.mark.parametrize("name", SHIPPED)
def test_its_single_expressions_give_the_same(name: str) -> None:
    chain = SHIPPED[name].chain
    values = chain.forward(chain.draw(3)[0])
    above = {one: torch.randn_like(values[one]) for one in chain.outputs}
    names = {**values, **{f"d{one}": g for one, g in {**above, **chain.backward(values, above)}.items()}}
    for stage in chain.stages:
        torch.testing.assert_close(run(stage.line, names), names[stage.name], rtol=1e-9, atol=1e-9)


def test_the_lectures_routes_lead_to_the_same() -> None:
    p, X, Y = problem(dtype=DOUBLE)
    values = atomic.forward(p, X, Y, eps=1e-5)
    names = {**values, **{f"d{name}": gradient for name, gradient in atomic.backward(values).items()}}
    for route in LECTURE.values():
        for stage in route:
            torch.testing.assert_close(run(stage.line, names), names[stage.name], rtol=1e-9, atol=1e-12)
    assert LECTURE.keys() <= DERIVATIONS.keys()


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["linear", "--numbers"], ["dy = 0.6000 0.6000", "2 − 0.1·4 = 1.6", "dW = 4.0000 4.0000"]),
        (["linear", "--entries"], ["dW11 = x11·dy11 = 1·0.6 = 0.6", "error11 = y11 − t11 = 1 − 0.4 = 0.6"]),
        (["slopes", "--numbers"], ["dy = 0.6000", "dtwice = 0.6000", "dc = 0.6000", "dx = 1.2000"]),
        (["toy_loss", "--entries"], ["da = −1/3·dloss = −1/3·1 = −0.3333"]),
        (["picked", "--numbers"], ["of 32 × 27 = 864 log probabilities, 32 are picked; the other 832 get 0"]),
        (["matrix_product", "--entries"], ["dA11 = dD11·B11 + dD12·B12", "dc1 = dD11 + dD21"]),
        (["broadcast_product", "--entries"], ["db11 = A11·dC11 + A12·dC12 + A13·dC13"]),
        (["row_maximum", "--entries"], ["top11 = a12 = 2", "da11 = 0", "da12 = dtop11"]),
        (["row_maximum"], ["da = F.one_hot(a.argmax(1), a.shape[1]) * dtop"]),
        (["repeated_gather", "--entries"], ["dC21 = demb11 + demb31"]),
        (["softmax_cases"], ["∂p_y/∂z_i = −e^z_y · e^z_i / (Σ e^z_j)² = −p_y · p_i", "p_y · (1 − p_y)"]),
        (["batchnorm_by_hand", "--entries"], ["mu 5", "·dvar11 = −2/3·(1 − 3 + 2 − 3 + 4 − 3 + 5 − 3)·"]),
        (["batchnorm"], ["33 in all", "∂σ²/∂μ", "The index i inside the sums becomes j"]),
        (["cross_entropy"], ["the lecture's derivation", "If i ≠ y"]),
        (["bessel", "--numbers"], ["0.750", "n − 1 at test time"]),
        (["hot_dog", "--numbers"], ["loss = 0.9163", "loss = 2.3026", "loss = 0.0101"]),
        (["neuron", "--numbers"], ["tanh(a)", "σ(a)"]),
        (["logits", "--numbers"], ["n·dlogits =", "their sum 0.0000", "predicted with confidence"]),
    ],
    ids=lambda given: " ".join(given) if len(given) < 3 else "",
)
def test_what_the_texts_show(arguments: list[str], lines: list[str], cli: Cli) -> None:
    result = cli("explain", *arguments)
    assert result.code == 0
    shown = re.sub(r"\s+", " ", result.out)
    for line in lines:
        assert line in shown, line


def entries_of(written: list[str], shape: torch.Size) -> torch.Tensor:
    numbers = [float(line.rsplit("= ", 1)[1].replace("−", "-")) for line in written]
    return torch.tensor(numbers, dtype=DOUBLE).view(shape)


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_written_out_are_the_lines_own_numbers(name: str) -> None:
    subject = explain.shipped(name)
    for at in subject.numbers(None):
        for step in subject.chain.steps:
            for result, line in {step.name: step.forward, **step.backward}.items():
                truth = run(line, at.all)
                ours = entries_of(write_out(line, at.all, result), truth.shape)
                torch.testing.assert_close(ours, truth.double(), rtol=2e-3, atol=1e-9)


def test_the_networks_lines_can_be_written_out_or_say_why_not(cli: Cli) -> None:
    p, X, Y = problem(n=3, T=2, E=2, H=3, V=4, dtype=DOUBLE)
    values = atomic.forward(p, X, Y)
    names = {**values, **{f"d{name}": gradient for name, gradient in atomic.backward(values).items()}}
    names["dloss"] = torch.ones((), dtype=DOUBLE)
    done = 0
    for step in atomic.STEPS:
        for result, line in {step.name: step.forward, **step.backward}.items():
            try:
                written = write_out(line, names, result)
            except NotScalarError:
                continue
            truth = run(line, names)
            done += 1
            if 0 not in truth.shape:
                torch.testing.assert_close(entries_of(written, truth.shape), truth, rtol=2e-3, atol=1e-8)
    assert done >= 44
    for name in ("hprebn", "dW2", "logits", "loss"):
        assert cli("explain", name, "--entries").code == 0


@settings(max_examples=60)
@given(
    text=st.recursive(
        st.sampled_from(["a", "b", "2", "0.5", "n"]),
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
            st.tuples(inner).map(lambda t: f"(-{t[0]})"),
            st.tuples(inner).map(lambda t: f"({t[0]} ** 2)"),
            st.tuples(inner).map(lambda t: f"({t[0]} / ({t[0]} ** 2 + 1))"),
        ),
        max_leaves=6,
    ),
    a=st.floats(-2, 2),
    b=st.floats(-2, 2),
)
def test_a_written_term_means_what_was_calculated(text: str, a: float, b: float) -> None:
    """The text itself, read as mathematics, has the value of the expression: no bracket is missing."""
    line = eval(f"lambda a, b, n: {text} + 0 * a")
    given_ = {"a": torch.tensor(a, dtype=DOUBLE), "b": torch.tensor(b, dtype=DOUBLE), "n": 3}
    terms = run(line, {**given_, "a": named("a", given_["a"]), "b": named("b", given_["b"])})
    python = re.sub(r"([\w)])²", r"\1**2", terms.entries[()].text())
    python = re.sub(r"⁻¹", "**-1", python.replace("⁴", "**4").replace("⁸", "**8"))
    python = python.replace("·", "*").replace("−", "-").replace("²", "**2")
    value = eval(python, {"a": a, "b": b})
    assert value == pytest.approx(float(run(line, given_)), rel=1e-3, abs=1e-6)


def test_somebodys_own_chain(tmp_path: Path, cli: Cli) -> None:
    path = tmp_path / "mine.py"
    path.write_text(TEMPLATE)
    whole = cli("explain", "--chain", path).out
    assert "dW = x.T @ dz" in whole
    one = cli("explain", "--chain", path, "dz", "--numbers", "--entries").out
    assert "shapes   x (n × D), W (D × H), b (H)" in one
    assert "z11 = x11·W11 + x12·W21 + x13·W31 + b1" in one
    told = cli("explain", "--chain", path, "nope")
    assert (told.code, told.err) == (2, "makemore: nope: not a tensor of a linear layer; choose one of x, W, b, z, h\n")
    path.write_text("def forward(x: 'n'):\n    y = x\n    return y\ndef backward(dy):\n    return dy\n")
    assert "has functions forward and backward, not a chain" in cli("explain", "--chain", path).err
    assert cli("explain", "--chain", "linear", "W").out.startswith("W  (D × H)")
    assert "did you mean linear" in cli("explain", "linaer").err


def test_every_argument_of_every_line_is_known() -> None:
    for lesson in SHIPPED.values():
        for example in lesson.examples:
            values = example.values()
            assert {*lesson.chain.inputs, *lesson.chain.sizes_read} <= values.keys()
            for step in lesson.chain.steps:
                assert arguments(step.forward)
