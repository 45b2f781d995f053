"""The hand-written passes, as mathematics: against autograd, float64, and what must hold of any gradient."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from makemore_cli.backprop import atomic as steps
from makemore_cli.backprop import fused
from makemore_cli.backprop.chain import Chain
from makemore_cli.backprop.step import Line, Step, arguments
from makemore_cli.checks import network, sources
from makemore_cli.checks.check import gradcheck
from makemore_cli.checks.network import NetworkProblem
from makemore_cli.network import reference
from tests.conftest import DEVICES, problem

EPS = 1e-5
# The lecture's 26, in its order.
LECTURE = """\
    logprobs probs counts_sum_inv counts_sum counts norm_logits logit_maxes logits h W2 b2 hpreact bngain bnbias bnraw
    bnvar_inv bnvar bndiff2 bndiff bnmeani hprebn embcat W1 b1 emb C"""


@pytest.mark.every(12)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("T", [1, 3, 8])
@pytest.mark.parametrize("H", [1, 64, 65, 200])
@pytest.mark.parametrize("n", [2, 7, 32, 256])
def test_gradcheck_passes(n: int, H: int, T: int, dtype: torch.dtype) -> None:
    report = gradcheck(NetworkProblem(*problem(n=n, H=H, T=T, dtype=dtype, seed=n), EPS, 0.0))
    assert report.ok, report.failures()
    assert [f.comparison.tensor for f in report.sections[0].findings] == LECTURE.split()
    assert all(f.comparison.exact for f in report.sections[0].findings)


@given(
    n=st.integers(2, 70),
    T=st.integers(1, 9),
    E=st.integers(1, 24),
    H=st.integers(1, 80),
    V=st.integers(2, 60),
    first_bias=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    smoothing=st.sampled_from([0.0, 0.05, 0.3]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=12)
def test_gradcheck_passes_for_any_sizes(n, T, E, H, V, first_bias, dtype, smoothing, seed) -> None:
    report = gradcheck(
        NetworkProblem(*problem(n, T, E, H, V, first_bias=first_bias, dtype=dtype, seed=seed), EPS, smoothing)
    )
    assert report.ok, report.failures()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("first_bias", "smoothing"), [(True, 0.0), (False, 0.0), (True, 0.2)])
def test_the_chain_computes_the_network(device: str, first_bias: bool, smoothing: float) -> None:
    """The table's forward lines and the training pass give the loss of PyTorch's own functions."""
    p, X, Y = problem(first_bias=first_bias, dtype=torch.float64, device=device)
    loss, bnmean, bnvar = reference.forward(p.views, X, Y, EPS, smoothing)
    values = steps.forward(p, X, Y, eps=EPS, smoothing=smoothing)
    result = fused.training_pass(p, X, Y, EPS, smoothing)
    torch.testing.assert_close(values["loss"], loss, rtol=1e-13, atol=0)
    torch.testing.assert_close(result.loss, loss, rtol=1e-13, atol=0)
    torch.testing.assert_close(result.bnmean, bnmean, rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(result.bnvar, bnvar, rtol=1e-13, atol=0)


def test_central_differences_agree() -> None:
    """A witness that knows no calculus at all: nudge each of some parameters and look at the loss."""
    p, X, Y = problem(n=8, T=2, E=3, H=5, V=6, dtype=torch.float64)
    gradient = fused.training_pass(p, X, Y, EPS).gradients.flat
    h = 2e-5
    for i in range(p.flat.numel()):
        was = p.flat[i].item()
        losses = []
        for nudged in (was + h, was - h):
            p.flat[i] = nudged
            losses.append(reference.forward(p.views, X, Y, EPS)[0].item())
        p.flat[i] = was
        assert gradient[i].item() == pytest.approx((losses[0] - losses[1]) / (2 * h), abs=1e-9)


@pytest.mark.parametrize("source", [sources.atomic, network.training_pass])
def test_a_second_backward_gives_the_same_and_changes_nothing(source) -> None:
    p, X, Y = problem()
    before = [t.clone() for t in (p.flat, X, Y)]
    first, second = (source(NetworkProblem(p, X, Y, EPS, 0.0)) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.equal(now, then) for now, then in zip((p.flat, X, Y), before, strict=True))


def test_the_chains_backward_leaves_the_forward_values_alone() -> None:
    """One of them aliasing another that is changed in place is the classic way to spoil a second backward."""
    values = steps.forward(*problem())
    before = {name: value.clone() for name, value in values.items() if isinstance(value, torch.Tensor)}
    steps.backward(values)
    assert all(torch.equal(values[name], value) for name, value in before.items())


@given(seed=st.integers(0, 10_000), n=st.integers(2, 40), smoothing=st.floats(0, 0.99))
@settings(max_examples=12)
def test_every_row_of_dlogits_sums_to_zero(seed: int, n: int, smoothing: float) -> None:
    p, X, Y = problem(n=n, seed=seed, dtype=torch.float64)
    logits = steps.forward(p, X, Y)["logits"]
    for s in (0.0, smoothing):
        _, dlogits = fused.cross_entropy(logits, Y, s)
        assert dlogits.sum(1).abs().max() < 1e-15
        pulled = logits.softmax(1) < (1 - s) * torch.eye(27, dtype=torch.float64)[Y] + s / 27
        assert ((dlogits < 0) == pulled).all()  # without smoothing the right letter, and no other
        assert s > 0 or pulled.sum() == n


def test_logits_that_fit_the_smoothed_target_are_left_alone() -> None:
    """Where softmax is the target itself, there is nothing to learn; and the loss is the target's entropy."""
    Y, s = torch.tensor([0, 2, 1]), 0.3
    target = (1 - s) * torch.eye(4, dtype=torch.float64)[Y] + s / 4
    loss, dlogits = fused.cross_entropy(target.log() + 5, Y, s)
    assert dlogits.abs().max() < 1e-16
    assert float(loss) == pytest.approx(float(-(target * target.log()).sum(1).mean()), rel=1e-14)


@pytest.mark.parametrize("first_bias", [True, False])
def test_the_first_layers_gradients_under_any_gradient_from_above(
    first_bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batchnorm lets no gradient through to b1. So random numbers stand in for dhprebn, in autograd as in the pass."""
    p, X, Y = problem(n=7, V=5, E=3, H=17, first_bias=first_bias, dtype=torch.float64)
    above = torch.randn(7, 17, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    leaves = {name: view.detach().clone().requires_grad_() for name, view in p.views.items() if name in "C W1 b1"}
    hprebn = leaves["C"][X].flatten(1) @ leaves["W1"] + leaves.get("b1", 0)
    truth = torch.autograd.grad(hprebn, list(leaves.values()), above)

    right = fused.batchnorm_backward
    monkeypatch.setattr(fused, "batchnorm_backward", lambda *a: (above.clone(), *right(*a)[1:]))
    ours = fused.training_pass(p, X, Y, EPS).gradients.views
    for name, gradient in zip(leaves, truth, strict=True):
        assert gradient.abs().max() > 0.1
        torch.testing.assert_close(ours[name], gradient, rtol=0, atol=1e-13)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=12)
def test_batchnorm_takes_b1_and_the_scale_of_w1_out_again(seed: int) -> None:
    """The loss doesn't change along them (but for epsilon), so no gradient may point there."""
    p, X, Y = problem(seed=seed, dtype=torch.float64)
    gradients = fused.training_pass(p, X, Y, 1e-12).gradients
    assert gradients.b1 is not None
    assert gradients.b1.abs().max() < 1e-15
    assert ((gradients.W1 * p.W1).sum(0)).abs().max() < 1e-10


def test_a_batch_of_one_is_refused() -> None:
    p, X, Y = problem(n=1)
    for run in (lambda: steps.forward(p, X, Y), lambda: fused.training_pass(p, X, Y)):
        with pytest.raises(ValueError, match="at least 2 examples"):
            run()


def test_parameters_are_views_on_one_tensor() -> None:
    p, X, Y = problem()
    gradients = fused.training_pass(p, X, Y).gradients
    p.flat.zero_()
    assert all(not view.any() for view in p.views.values())
    assert p.flat.numel() == gradients.flat.numel() == p.sizes.parameters == 4137  # the lecture's count at H = 64
    assert {name: view.shape for name, view in gradients.views.items()} == {n: v.shape for n, v in p.views.items()}
    assert gradients.W2.data_ptr() - gradients.flat.data_ptr() == p.W2.data_ptr() - p.flat.data_ptr()


# Every backward line, broken in each of the ways that people break them.

LINES = [(s.name, target) for s in steps.STEPS for target in s.backward]
USES_N = [(s.name, target) for s in steps.STEPS for target, line in s.backward.items() if "n" in arguments(line)]


def _with_steps(steps_: Iterable[Step]) -> Chain:
    return replace(steps.network_chain(), steps=tuple(steps_))


def _broken(step: str, target: str, how: str) -> Chain:
    """The chain with one line wrong."""

    def spoil(line: Line) -> Line:
        def wrong(**values):
            right = line(**values)
            n = values.get("n", 0)
            return {
                "sign": lambda: -right,
                "missing": lambda: torch.zeros_like(right),
                "no 1/n": lambda: right * n,
                "n for n-1": lambda: right * (n - 1) / n,
                "n-1 for n": lambda: right * n / (n - 1),
            }[how]()

        return _with_arguments(wrong, arguments(line))

    return _with_steps(
        replace(s, backward={t: spoil(line) if t == target else line for t, line in s.backward.items()})
        if s.name == step
        else s
        for s in steps.STEPS
    )


def _with_arguments(function, names: tuple[str, ...]) -> Line:
    """A line that is called by position, by the names of its arguments."""
    source = f"lambda {', '.join(names)}: function({', '.join(f'{name}={name}' for name in names)})"
    return eval(source, {"function": function})


MUTATIONS = (
    [(*line, how) for line in LINES for how in ("sign", "missing")]
    + [(*line, "no 1/n") for line in USES_N]
    + [("bnvar", "dbndiff2", "n for n-1"), ("bnmeani", "dhprebn", "n-1 for n"), ("loss", "dlogprobs", "n-1 for n")]
)


@pytest.mark.every(24)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("step", "target", "how"), MUTATIONS, ids=" ".join)
def test_a_broken_line_is_caught_and_named(step: str, target: str, how: str, dtype: torch.dtype) -> None:
    report = gradcheck(NetworkProblem(*problem(n=7, H=16, dtype=dtype), EPS, 0.0), chain=_broken(step, target, how))
    assert not report.ok
    assert [(line.step, line.comparison.tensor) for line in report.wrong_lines] == [(step, target[1:])]
    assert f"the line for {target} in the step {step} is wrong" in report.failures()[0]


def test_a_missing_line_and_a_line_too_many_are_caught() -> None:
    def with_lines(step: str, change) -> Chain:
        return _with_steps(replace(s, backward=change(dict(s.backward))) if s.name == step else s for s in steps.STEPS)

    def without(lines):
        del lines["dlogits"]
        return lines

    report = gradcheck(NetworkProblem(*problem(n=7, H=16), EPS, 0.0), chain=with_lines("logit_maxes", without))
    assert [(line.step, line.comparison.fault) for line in report.wrong_lines] == [
        ("logit_maxes", "there is no gradient")
    ]

    extra = {"dhpreact": lambda hpreact, dh: hpreact * dh}
    wrong = with_lines("h", lambda lines: lines | extra)
    report = gradcheck(NetworkProblem(*problem(n=7, H=16), EPS, 0.0), chain=wrong)
    assert [line.step for line in report.wrong_lines] == ["h"]


def test_wrong_shapes_are_never_close() -> None:
    """(H,) against (1, H) would broadcast, and differ by nothing."""

    def flat(lines):
        return {**lines, "dbnbias": lambda dhpreact: dhpreact.sum(0)}

    wrong = _with_steps(replace(s, backward=flat(s.backward)) if s.name == "hpreact" else s for s in steps.STEPS)
    report = gradcheck(NetworkProblem(*problem(n=7, H=16), EPS, 0.0), chain=wrong)
    assert not report.ok
    assert "the gradient's shape is (16,), not (1, 16)" in report.failures()[0]


@pytest.mark.parametrize(
    ("function", "wrong"),
    [
        (
            "cross_entropy",
            lambda right: lambda logits, Y, *s: (right(logits, Y, *s)[0], right(logits, Y, *s)[1] * len(Y)),
        ),
        (
            "batchnorm_backward",
            lambda right: (
                lambda dy, x, s, g, *_: (g * s * (dy - dy.mean(0) - x * (dy * x).mean(0)), *right(dy, x, s, g)[1:])
            ),
        ),
    ],
)
def test_a_broken_fused_expression_is_caught(monkeypatch: pytest.MonkeyPatch, function: str, wrong) -> None:
    """In batchnorm's it is n for n − 1."""
    monkeypatch.setattr(fused, function, wrong(getattr(fused, function)))
    report = gradcheck(NetworkProblem(*problem(), EPS, 0.0))
    assert [s.name for s in report.sections if not s.ok] == [
        "fused " + function.replace("_backward", "").replace("_", "-"),
        "training pass",
    ]
