"""Gradcheck's own parts: the witnesses agree with each other, the judge is fair, a user's pass is read right."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from makemore_cli.backprop import atomic as steps
from makemore_cli.backprop import fused
from makemore_cli.backprop.derivations import DERIVATIONS, SHARED_BATCHNORM
from makemore_cli.backprop.inputs import ChainError
from makemore_cli.backprop.step import arguments, run
from makemore_cli.checks import check, network, numeric, sources
from makemore_cli.checks.check_user import check_user
from makemore_cli.checks.compare import TOLERANCE, compare
from makemore_cli.checks.diagnose import diagnose
from makemore_cli.checks.network import NAMES, SOURCES, NetworkProblem
from makemore_cli.checks.sources import Source
from makemore_cli.checks.trials import run_trials
from makemore_cli.checks.user import UserPass
from makemore_cli.errors import CheckFailedError, MakemoreError
from tests.conftest import Cli, problem

from .right_passes import CHAIN

EPS = 1e-5
ZERO = ("b1", "logit_maxes")  # true gradients
SINGLE, DOUBLE = torch.float32, torch.float64


# The witnesses.


def test_complex_step_agrees_to_the_last_digits() -> None:
    """Every entry of every tensor whose true gradient isn't zero, within 1e-14 of scale."""
    posed = NetworkProblem(*problem(n=6, T=2, E=3, H=7, V=8, dtype=DOUBLE), EPS, 0.0)
    ours, witness = sources.atomic(posed), numeric.complex_step(posed, entries=None)
    size = posed.size
    assert set(ours) == set(witness)
    for name in ours:
        if name not in ZERO:
            assert float((ours[name] - witness[name]).abs().max()) <= 1e-14 * size[name], name


def test_central_differences_agree() -> None:
    posed = NetworkProblem(*problem(n=6, T=2, E=3, H=7, V=8, dtype=DOUBLE), EPS, 0.0)
    ours, witness = sources.atomic(posed), numeric.finite(posed, entries=None)
    size = posed.size
    for name in ours:
        assert float((ours[name] - witness[name]).abs().max()) <= SOURCES["finite"].accuracy * size[name], name


@pytest.mark.every(10)
@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE], ids=str)
@pytest.mark.parametrize("against", [name for name in SOURCES if name not in ("atomic", "fused", "distributed")])
@pytest.mark.parametrize("of", ["atomic", "fused", "complex"])
def test_any_source_agrees_with_any_other(of: str, against: str, dtype: torch.dtype) -> None:
    """Without label smoothing and with some."""
    smoothing = 0.1 if of == "fused" or against == "functions" else 0.0
    report = check.compare_sources(
        NetworkProblem(*problem(n=5, H=6, dtype=dtype), EPS, smoothing), SOURCES[of], SOURCES[against]
    )
    assert report.ok, report.failures()
    whole = not {of, against} & {"fused", "kernel", "distributed", "functions"}
    assert len(report.sections[0].findings) == (26 if whole else 7)


def test_a_numeric_witness_sees_a_wrong_entry() -> None:
    """Where it looks at all; and what it could not compute is no agreement."""
    p, X, Y = problem(n=5, H=6, dtype=DOUBLE)
    right = network.training_pass

    def wrong(*arguments) -> sources.Gradients:
        gradients = {name: gradient.clone() for name, gradient in right(*arguments).items()}
        gradients["b2"] = gradients["b2"] * 1.001
        return gradients

    for witness in ("finite", "complex"):
        report = check.compare_sources(
            NetworkProblem(p, X, Y, EPS, 0.0), sources.Source("wrong", "", wrong), SOURCES[witness]
        )
        assert [f.comparison.tensor for f in report.sections[0].findings if not f.ok] == ["b2"]


def test_float64_says_which_of_the_two_is_nearer() -> None:
    report = check.compare_sources(NetworkProblem(*problem(), EPS, 0.0), SOURCES["fused"], SOURCES["float64"])
    assert {f.nearer for f in report.sections[0].findings} <= {"fused", "autograd", "both"}
    exact = check.compare_sources(NetworkProblem(*problem(), EPS, 0.0), SOURCES["atomic"], SOURCES["float64"])
    assert {f.nearer for f in exact.sections[0].findings} == {"both"}  # bit for bit autograd's, so equally near


# The judge.


@pytest.mark.parametrize("count", [10, pytest.param(40, marks=pytest.mark.slow)])
def test_right_code_is_never_refused(count: int) -> None:
    """Random sizes, half of them degenerate, both precisions; the documentation's figures are from more of them."""
    trials = run_trials(count, seed=torch.randint(0, 2**31, ()).item())
    assert trials.refused == []
    for sections in trials.exact.values():
        assert sections.get("atomic chain", True)
    assert trials.worst["float32"]["training pass"] < TOLERANCE[SINGLE]


@pytest.mark.every(3)
@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE], ids=str)
@pytest.mark.parametrize("H", [64, 65, 200])
@pytest.mark.parametrize("n", [2, 7, 32, 256])
def test_the_training_pass_is_within_a_third_of_the_tolerance(n: int, H: int, dtype: torch.dtype) -> None:
    """In a batch of two, float32's gradients, autograd's too, are off by 6e-3 of their size: rounding is the scale."""
    report = check.gradcheck(NetworkProblem(*problem(n=n, H=H, dtype=dtype), EPS, 0.0, measure_rounding=n == 2))
    for finding in report.sections[3].findings:
        assert finding.comparison.relative < (9.6e-7 if dtype == SINGLE else 3e-13)


@pytest.mark.slow
@pytest.mark.parametrize("eps", [1.1e-5])
def test_a_small_mistake_of_the_training_pass_is_caught_in_float64(eps: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forgotten epsilon moves float32's gradients by no more than rounding does."""
    right = fused.training_pass
    monkeypatch.setattr(fused, "training_pass", lambda p, X, Y, *_: right(p, X, Y, eps))
    report = check.gradcheck(NetworkProblem(*problem(), EPS, 0.0))
    assert [section.name for section in report.sections if not section.ok] == ["training pass"]
    assert "in float64" in report.failures()[0]
    with pytest.raises(CheckFailedError, match=r"^step 5: .* in float64 "):
        check.crosscheck(NetworkProblem(*problem(), EPS, 0.0), 5, SOURCES["fused"])


@pytest.mark.slow
def test_saturated_and_degenerate_batches_are_no_alarm() -> None:
    """Probabilities that underflow, columns without variance, nothing but one letter."""
    p, X, Y = problem(n=20)
    for scale in (1.0, 30.0, 1000.0):
        hot, same = p.to(), torch.zeros_like(X)
        hot.W2.mul_(scale)
        for contexts in (X, same):
            report = check.gradcheck(NetworkProblem(hot, contexts, Y, EPS, 0.0))
            assert report.ok, (scale, report.failures())
            check.crosscheck(NetworkProblem(hot, contexts, Y, EPS, 0.0), 1, SOURCES["fused"])
    hot.W2.mul_(1000.0)
    assert any("underflow" in remark for remark in check.gradcheck(NetworkProblem(hot, X, Y, EPS, 0.0)).remarks)


def test_a_source_that_gives_nothing_to_compare_is_a_fault() -> None:
    """A new source may name its gradients wrongly, or have none that its witness has."""
    one = NetworkProblem(*problem(), EPS, 0.0)
    odd = Source("odd", "with d before its names", lambda p: {"dW1": p.truth["W1"]})
    with pytest.raises(ValueError, match="source odd gives gradients of unknown tensors: dW1"):
        check.compare_sources(one, odd, SOURCES["autograd"])
    with pytest.raises(ValueError, match="unknown tensors: dW1"):
        check.compare_sources(one, SOURCES["autograd"], odd)
    apart = Source("apart", "the logits only", lambda p: {"logits": p.truth["logits"]})
    report = check.compare_sources(one, apart, SOURCES["functions"])
    assert not report.ok
    assert report.failures() == ["apart and functions have no gradient in common, so nothing was compared"]
    assert check.compare_sources(one, apart, SOURCES["autograd"]).ok


def test_what_is_never_close() -> None:
    truth = torch.tensor([[1.0, 2.0]])
    for ours in (
        None,
        "text",
        torch.tensor([1.0, 2.0]),
        torch.tensor([[1, 2]]),
        torch.tensor([[1.0, torch.nan]]),
        torch.tensor([[torch.inf, 2.0]]),
        torch.tensor([[1.0, 2.1]]),
    ):
        assert not compare("x", ours, truth, 2.0, 3e-6).close
    assert compare("x", truth.clone(), truth, 2.0, 0.0).exact
    # Where the witness overflows too, alike is alike.
    assert compare("x", torch.tensor([torch.nan, 1.0]), torch.tensor([torch.nan, 1.0]), 1.0, 0.0).close
    assert not compare("x", torch.tensor([0.0, 1.0]), torch.tensor([torch.nan, 1.0]), 1.0, 1.0).close


def test_a_comparison_tells_where_and_how_far() -> None:
    truth = torch.tensor([[1.0, 2.0], [4.0, 8.0]])
    found = compare("x", truth + torch.tensor([[0.0, 0.0], [0.5, 0.0]]), truth, 8.0, 1e-6)
    assert (found.worst, found.ours, found.theirs) == ((1, 0), 4.5, 4.0)
    assert found.relative == 0.0625
    assert str(found) == "x (2, 2): largest difference 5.0e-01 (6.2e-02 of its scale) at [1, 0], 4.5 against 4"
    ulp = compare("x", torch.nextafter(truth, truth + 1), truth, 8.0, 1e-6)
    assert ulp.ulps == 1.0


@given(
    factor=st.sampled_from(
        [(-1.0, "sign"), (2.0, "twice"), (0.5, "half"), (12.0, "1/n is missing"), (11 / 12, "Bessel")]
    ),
    rows=st.integers(2, 9),
    columns=st.integers(2, 9),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=100)
def test_diagnoses_hold_for_any_gradient(factor: tuple[float, str], rows: int, columns: int, seed: int) -> None:
    truth = torch.randn((rows, columns), generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)
    told = diagnose(factor[0] * truth, truth, {"n": 12})
    assert told is not None
    assert factor[1] in told
    noise = torch.randn((rows, columns), generator=torch.Generator().manual_seed(seed + 1), dtype=DOUBLE)
    assert diagnose(truth + 0.3 * noise, truth, {"n": 12}) is None  # what has no known form is not explained away


# A user's own pass.

RIGHT = """
import torch
import torch.nn.functional as F

def backward(logits, h, W2, Y, n):
    dlogits = (F.softmax(logits, 1) - F.one_hot(Y, logits.shape[1])) / n
    dh = dlogits @ W2.T
    dW2 = h.T @ dlogits
    db2 = dlogits.sum(0)
    return {"dlogits": dlogits, "dh": dh, "dW2": dW2, "db2": db2}
"""


def user(tmp_path: Path, text: str) -> UserPass:
    path = tmp_path / "mine.py"
    path.write_text(text, encoding="utf-8")
    return UserPass(path, NAMES)


def test_a_right_pass_agrees_and_what_it_leaves_out_is_told(tmp_path: Path) -> None:
    report = check_user(NetworkProblem(*problem(), EPS, 0.0), user(tmp_path, RIGHT), SOURCES["autograd"])
    assert report.ok, report.failures()
    assert [f.comparison.tensor for f in report.sections[0].findings] == ["logits", "h", "W2", "b2"]
    assert report.remarks[0].startswith("not given, so not checked: dlogprobs, dprobs, ")


@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE], ids=str)
def test_the_lectures_notebook_agrees(tmp_path: Path, dtype: torch.dtype) -> None:
    """All 26 gradients by the notebook's lines, with `return locals()`; most of them exact, as in the lecture."""
    report = check_user(NetworkProblem(*problem(dtype=dtype), EPS, 0.0), user(tmp_path, CHAIN), SOURCES["autograd"])
    assert report.ok, report.failures()
    findings = report.sections[0].findings
    assert len(findings) == 26
    assert all(f.alone for f in findings)
    assert sum(f.comparison.exact for f in findings) >= 11  # down to b2
    assert not any("so ignored" in remark for remark in report.remarks)


WRONG_LINES = [  # a line of the notebook, what a user writes instead, the tensor that is to be named, the diagnosis
    ("dlogprobs[range(n), Y] = -1.0 / n", "dlogprobs[range(n), Y] = -1.0", "logprobs", "1/n is missing"),
    ("dprobs = dlogprobs / probs", "dprobs = dlogprobs * probs", "probs", None),
    ("dcounts = dcounts + torch.ones", "dcounts = torch.ones", "counts", "the part through counts_sum is included"),
    ("dcounts_sum = -counts_sum**-2", "dcounts_sum = counts_sum**-2", "counts_sum", "sign"),
    ("    dlogit_maxes = -dnorm", "    dlogit_maxes = dnorm_logits.sum(1, keepdim=True) + 1 #", "logit_maxes", None),
    ("dW2 = h.T @ dlogits", "dW2 = (h.T @ dlogits).T", "W2", "transpose"),
    ("db2 = dlogits.sum(0)", "db2 = dlogits.mean(0)", "b2", "1/n of what"),
    ("dhpreact = (1.0 - h**2) * dh", "dhpreact = (1.0 - h) * dh", "hpreact", None),
    ("db2 = dlogits.sum(0)", "db2 = dlogits.sum(0, keepdim=True)", "b2", "keepdim=True"),
    (
        "dbngain = (bnraw * dhpreact).sum(0, keepdim=True)",
        "dbngain = bnraw * dhpreact",
        "bngain",
        ".sum(0, keepdim=True)",
    ),
    ("1.0 / (n - 1)", "1.0 / n", "bndiff2", "Bessel"),
    ("2 * bndiff * dbndiff2", "bndiff * dbndiff2", "bndiff", None),
    ("(bnvar + 1e-5) ** -1.5", "bnvar ** -1.5", "bnvar", None),  # no larger than rounding in float32
    ("dhprebn += 1.0 / n", "dhprebn -= 1.0 / n", "hprebn", "the part through bnmeani has the wrong sign"),
    ("dbndiff = dbndiff + 2", "dbndiff = 2", "bndiff", "the one through bnraw is missing or overwritten"),
    ("dhprebn += 1.0 / n", "dhprebn = 1.0 / n", "hprebn", "the one through bndiff is missing or overwritten"),
    ("dC[X[k, j]] += demb", "dC[X[k, j]] = demb", "C", None),
]


@pytest.mark.slow
@pytest.mark.parametrize(("line", "instead", "tensor", "told"), WRONG_LINES, ids=[row[1] for row in WRONG_LINES])
def test_a_users_wrong_line_is_named(tmp_path: Path, line: str, instead: str, tensor: str, told: str | None) -> None:
    """One line is wrong; the tensor is named, and all that come after it inherit."""
    assert CHAIN.count(line) == 1
    report = check_user(
        NetworkProblem(*problem(n=12), EPS, 0.0), user(tmp_path, CHAIN.replace(line, instead)), SOURCES["autograd"]
    )
    assert not report.ok
    assert [f.comparison.tensor for f in report.sections[0].findings if f.alone is False] == [tensor]
    assert len(report.failures()) == 1
    assert f"mine.py: {tensor}" in report.failures()[0]
    if told:
        assert told in report.failures()[0]


def test_a_pass_that_changes_what_it_was_given(tmp_path: Path) -> None:
    text = "def backward(probs, Y, n):\n    probs[range(n), Y] -= 1\n    return {'dlogits': probs / n}\n"
    report = check_user(NetworkProblem(*problem(), EPS, 0.0), user(tmp_path, text), SOURCES["autograd"])
    assert not report.ok
    assert report.failures() == ["mine.py changes probs in place: work on a copy"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def backward(h):\n    return dlogits\n", "line 2: NameError: name 'dlogits' is not defined: return dlogits"),
        ("def backward(logits)\n    return {}\n", "line 1: expected ':': def backward(logits)"),
        ("import sys\ndef backward():\n    sys.exit(0)\n", "line 3: SystemExit: 0: sys.exit(0)"),
        ("def backward(h):\n    raise SystemExit\n", "line 2: SystemExit"),
        ("def forward(): pass\n", "has neither a function `backward` nor assignments of gradients"),
        ("backward = 3\n", "`backward` is of type int, not a function"),
        ("import nothing_like_this as x\ndef backward(): x.y\n", "line 1: ModuleNotFoundError"),
        ("def backward(logitz): return {}\n", "`backward` asks for logitz, but the forward pass has only "),
        ("def backward(logits): return logits\n", "`backward` returned Tensor, not a dictionary"),
        ("def f(x):\n    return x @ x\ndef backward(h):\n    f(h)\n", "line 2: RuntimeError: mat1 and mat2"),
        ("\xff = \xff\ndef backward(): return \xff\n", "line 1"),
    ],
)  # fmt: skip
def test_a_pass_that_does_not_run_shows_the_users_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(MakemoreError) as error:
        check_user(NetworkProblem(*problem(), EPS, 0.0), user(tmp_path, text), SOURCES["autograd"])
    assert str(error.value).startswith(f"{tmp_path / 'mine.py'}")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.every(3)
@pytest.mark.parametrize("against", ["autograd", "finite", "complex", "float64"])
@pytest.mark.parametrize(
    ("gradient", "told"),
    [
        ("right * float('nan')", "against"),
        ("torch.where(right == right.max(), torch.nan, right)", "against"),
        ("right.tolist()", "the gradient is not a tensor but of type list"),
        ("right.T", "the gradient's shape is"),
        ("torch.empty(0)", "the gradient's shape is"),
        ("right.to('meta')", "the gradient is on meta, not on cpu"),
        ("right.to_sparse()", "the gradient is sparse"),
        ("right.to(torch.int64)", "the gradient is of type int64"),
    ],
)
def test_odd_gradients_are_no_agreement(tmp_path: Path, against: str, gradient: str, told: str) -> None:
    text = RIGHT.replace("dW2 = h.T @ dlogits", f"right = h.T @ dlogits\n    dW2 = {gradient}")
    p, X, Y = problem(n=5, H=2, V=6)
    report = check_user(NetworkProblem(p, X, Y, EPS, 0.0), user(tmp_path, text), SOURCES[against])
    assert not report.ok
    assert [f.comparison.tensor for f in report.sections[0].findings if not f.ok] == ["W2"]
    assert told in report.failures()[0]
    json.dumps(report.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    "text",
    [
        RIGHT.replace("W2, Y, n):", "W2, Y, n, more=1.0, *rest, **others):"),
        RIGHT + "\nfrom dataclasses import dataclass\n@dataclass\nclass Config:\n    x: int = 3\n",
        "\ufeff" + RIGHT,
        RIGHT.replace("backward", "once") + "\nbackward = lambda logits, h, W2, Y, n: once(logits, h, W2, Y, n)\n",
        RIGHT.replace("F.softmax(logits", "F.softmax(logits.float()"),
        RIGHT.replace("    dh =", "    h = h.clone().requires_grad_()\n    dh ="),
    ],
    ids=["defaults", "dataclass", "BOM", "lambda", "float32 alone", "requires_grad"],
)  # fmt: skip
def test_ordinary_files_are_read(tmp_path: Path, text: str) -> None:
    report = check_user(NetworkProblem(*problem(), EPS, 0.0), user(tmp_path, text), SOURCES["autograd"])
    assert report.ok, report.failures()
    assert len(report.sections[0].findings) == 4


def test_a_short_pass_is_told_its_own_mistakes_from_inherited_ones(tmp_path: Path) -> None:
    text = RIGHT.replace("dlogits = (F", "dlogits = -(F").replace("dW2 = h.T", "dW2 = 3 * h.T")
    report = check_user(NetworkProblem(*problem(), EPS, 0.0), user(tmp_path, text), SOURCES["autograd"])
    findings = {f.comparison.tensor: f for f in report.sections[0].findings}
    assert (findings["h"].inherited, findings["b2"].inherited, findings["W2"].alone) == (True, True, False)
    assert findings["logits"].diagnosis == "the sign is wrong"
    assert findings["W2"].diagnosis == "every entry is 3 times what it should be"


def test_a_line_too_many_and_a_gradient_that_should_be_zero(tmp_path: Path) -> None:
    extra = {"dW2": lambda W2, dh: torch.ones_like(W2)}
    table = tuple(replace(s, backward={**s.backward, **extra}) if s.name == "h" else s for s in steps.STEPS)
    with pytest.raises(ChainError, match="step h has a line for dW2, but it reads hpreact"):
        replace(steps.network_chain(), steps=table)
    p, X, Y = problem()
    p.W2.zero_()
    text = RIGHT.replace("dh = dlogits @ W2.T", "dh = dlogits @ W2.T + 1")
    wrong = check_user(NetworkProblem(p, X, Y, EPS, 0.0), user(tmp_path, text), SOURCES["autograd"])
    assert [f.comparison.tensor for f in wrong.sections[0].findings if not f.ok] == ["h"]
    json.dumps(wrong.to_json(), allow_nan=False)


def test_a_right_pass_where_probabilities_underflow(tmp_path: Path) -> None:
    p, X, Y = problem()
    p.W2.mul_(1e5)
    for report in (
        check_user(NetworkProblem(p, X, Y, EPS, 0.0), user(tmp_path, RIGHT), SOURCES["autograd"]),
        check.compare_sources(NetworkProblem(p, X, Y, EPS, 0.0), SOURCES["fused"], SOURCES["autograd"]),
        check.compare_sources(NetworkProblem(p, X, Y, EPS, 0.0), SOURCES["atomic"], SOURCES["functions"]),
    ):
        assert report.ok, report.failures()
        assert any("underflow" in remark for remark in report.remarks)


def test_another_network_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a sigmoid in place of tanh, forward and backward, every line is right, but the network is another."""
    sigmoid = {"dhpreact": lambda h, dh: h * (1 - h) * dh}
    table = tuple(
        replace(s, forward=lambda hpreact: torch.sigmoid(hpreact), backward=sigmoid) if s.name == "h" else s
        for s in steps.STEPS
    )
    other = replace(steps.network_chain(), steps=table)
    monkeypatch.setattr(network, "network_chain", lambda first_bias, smoothed: other)
    report = check.gradcheck(NetworkProblem(*problem(), EPS, 0.0))
    assert not report.ok
    assert any(failure.startswith("the chain computes a loss of") for failure in report.failures())


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda right: right._replace(loss=right.loss * 32), "the training pass computes a loss of"),
        (lambda right: right._replace(loss=right.loss * float("nan")), "the training pass computes a loss of nan"),
        (lambda right: right.loss.new_zeros(2) @ right.loss.new_zeros(3), "the training pass can't be run: "),
    ],
)
def test_other_faults_of_the_training_pass(wrong, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = fused.training_pass
    monkeypatch.setattr(fused, "training_pass", lambda *problem: wrong(right(*problem)))
    report = check.gradcheck(NetworkProblem(*problem(), EPS, 0.0))
    assert not report.ok
    assert any(failure.startswith(told) for failure in report.failures())


def test_the_training_pass_may_not_underflow_with_the_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    p, X, Y = problem()
    p.W2.mul_(1e5)
    assert check.gradcheck(NetworkProblem(p, X, Y, EPS, 0.0)).ok
    right = fused.training_pass

    def wrong(*problem):
        result = right(*problem)
        result.gradients.W2.mul_(float("nan"))
        return result

    monkeypatch.setattr(fused, "training_pass", wrong)
    assert not check.gradcheck(NetworkProblem(p, X, Y, EPS, 0.0)).ok
    with pytest.raises(CheckFailedError, match="W2"):
        check.crosscheck(NetworkProblem(p, X, Y, EPS, 0.0), 1, SOURCES["fused"])


def test_no_gradient_at_all_is_no_agreement(tmp_path: Path) -> None:
    text = "def backward(logits):\n    dfoo = logits\n    return locals()\n"
    report = check_user(NetworkProblem(*problem(), EPS, 0.0), user(tmp_path, text), SOURCES["autograd"])
    assert not report.ok
    assert "returned no gradient of the chain's tensors" in report.failures()[0]
    assert "not a tensor of the chain, so ignored: dfoo" in report.remarks


# The commands.


@pytest.mark.slow
def test_the_command_line(cli: Cli, tmp_path: Path) -> None:
    text = CHAIN.replace("db2 = dlogits.sum(0)", "print('hello'); db2 = -dlogits.sum(0)")
    (tmp_path / "mine.py").write_text(f"print('hello')\n{text}")
    tiny = ["--config", "tiny", "--set", "train.batch_size=7"]
    wrong = cli("gradcheck", *tiny, "--user", tmp_path / "mine.py", "--json")
    assert wrong.code == 1
    report = json.loads(wrong.out)
    tensors = {t["tensor"]: t for t in report["sections"][0]["tensors"]}
    assert len(tensors) == 26
    assert (tensors["b2"]["alone"], tensors["b2"]["diagnosis"]) == (False, "the sign is wrong")
    assert tensors["b2"]["worst"] != []
    assert [name for name, t in tensors.items() if t["alone"] is False] == ["b2"]
    shown = cli("gradcheck", *tiny, "--user", tmp_path / "mine.py").out
    assert "→ b2" in shown
    assert "the sign is wrong" in shown

    assert cli("gradcheck", *tiny, "--of", "fused", "--against", "complex").code == 0
    assert "nearer" in cli("gradcheck", *tiny, "--against", "float64").out
    trials = cli("gradcheck", "--trials", 5)
    assert trials.code == 0
    assert "5 of 5 problems passed" in trials.out
    assert json.loads(cli("gradcheck", "--trials", 3, "--json").out)["refused"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--of nonsense", "--of must be one of atomic, fused, "),
        ("--against nonsense", "--against must be one of atomic, fused, "),
        ("--user none.py", "none.py: no such file"),
        ("--user none.py --of fused", "--user: FILE is what is checked; omit --of"),
        ("--trials 3 --config tiny", "--trials: draws its own problems"),
    ],
)
def test_mistakes_of_the_command_line(arguments: str, message: str, cli: Cli) -> None:
    result = cli("gradcheck", *arguments.split())
    assert result.code == 2
    assert result.err.startswith(f"makemore: {message}")
    assert result.err.count("\n") == 1


# Explain.


@pytest.mark.parametrize("name", [*DERIVATIONS, "shared_batchnorm"])
def test_every_stage_of_a_derivation_gives_autograds_gradient(name: str) -> None:
    p, X, Y = problem(n=9, H=11, dtype=DOUBLE)
    smoothing = 0.1 if name == "label_smoothing" else 0.0
    truth = sources.autograd(NetworkProblem(p, X, Y, EPS, smoothing))
    values = steps.forward(p, X, Y, eps=EPS, smoothing=smoothing) | {"dhpreact": truth["hpreact"]}
    for stage in {**DERIVATIONS, "shared_batchnorm": SHARED_BATCHNORM}[name]:
        values[stage.name] = run(stage.line, values)
        expected = truth[stage.name[1:]]
        assert float((values[stage.name] - expected).abs().max()) < 1e-13 * float(expected.abs().max()), stage.says


@pytest.mark.slow
def test_explain_shows_the_codes_lines(cli: Cli) -> None:
    everything = cli("explain").out
    for text in ("h = torch.tanh(hpreact)", "dW2 = h.T @ dlogits", "dbnmeani = -dbndiff.sum(0, keepdim=True)"):
        assert text in everything
    logits = cli("explain", "logits").out
    assert "logits = h @ W2 + b2" in logits
    assert "dlogits = dnorm_logits" in logits
    assert "dlogits += " in logits
    assert "W2 (H × V)" in logits
    assert cli("explain", "dlogits").out == logits
    for name in steps.SHAPES:
        result = cli("explain", name, "--numbers")
        assert result.code == 0
        assert "a small batch: n = 3" in result.out
    assert "dhprebn = bngain * bnvar_inv / n" in cli("explain", "batchnorm", "--numbers").out
    wrong = cli("explain", "logit")
    assert (wrong.code, wrong.err) == (
        2,
        "makemore: logit: not a tensor or derivation of the chain; did you mean logits?\n",
    )


def test_every_line_of_the_table_can_be_shown() -> None:
    from makemore_cli.backprop.line_text import line_text

    for table in (
        steps.network_chain().steps,
        steps.network_chain(False).steps,
        steps.network_chain(smoothed=True).steps,
    ):
        for step in table:
            for line in (step.forward, *step.backward.values()):
                names = arguments(line)
                assert all(name in line_text(line) for name in names)
