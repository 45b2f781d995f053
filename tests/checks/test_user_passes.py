"""Right passes in many styles are accepted; wrong ones are caught, named and explained, and nothing else is blamed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from makemore_cli.checks.check import gradcheck
from makemore_cli.checks.check_user import BLIND, DIFFERS, UNTRIED, check_user
from makemore_cli.checks.findings import Report
from makemore_cli.checks.network import NAMES, SOURCES, NetworkProblem
from makemore_cli.checks.user import UserPass
from makemore_cli.network.model import Sizes
from makemore_cli.network.parameters import initialise
from tests.conftest import problem

from .right_passes import CHAIN, FUSED, RIGHT, changed, notebook
from .wrong_passes import INVISIBLE, WRONG, Wrong

EPS = 1e-5


def checked(folder: Path, text: str, name: str = "mine.py", n: int = 12, **options: object) -> Report:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return check_user(NetworkProblem(*problem(n=n, **options), EPS, 0.0), UserPass(path, NAMES), SOURCES["autograd"])


def assert_right(folder: Path, style: str, n: int) -> None:
    report = checked(folder, RIGHT[style], "mine.ipynb" if style.endswith(".ipynb") else "mine.py", n)
    assert report.ok, report.failures()
    assert not any(DIFFERS in remark for remark in report.remarks) or style in (
        "m31",  # it leaves out what is zero
        "no_maxbranch",
    )


@pytest.mark.parametrize("style", [*list(RIGHT)[::6], "lecture.ipynb"])
def test_right_passes_are_accepted(tmp_path: Path, style: str) -> None:
    assert_right(tmp_path, style, 7)


@pytest.mark.slow
@pytest.mark.parametrize("n", [7, 32, 96])
@pytest.mark.parametrize("style", RIGHT)
def test_all_right_passes_are_accepted(tmp_path: Path, style: str, n: int) -> None:
    assert_right(tmp_path, style, n)


def assert_told(folder: Path, wrong: Wrong) -> None:
    report = checked(folder, wrong.text)
    assert not report.ok
    own = [f for f in report.sections[0].findings if f.alone is False]
    assert {f.comparison.tensor for f in own} == set(wrong.tensors.split())
    assert all(f.diagnosis for f in own), report.failures()


@pytest.mark.every(90)
@pytest.mark.parametrize("wrong", WRONG, ids=lambda w: w.wrong.strip()[:60])
def test_wrong_passes_are_caught_named_and_explained(tmp_path: Path, wrong: Wrong) -> None:
    assert_told(tmp_path, wrong)


@pytest.mark.every(12)
@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ("2 * bndiff * dbndiff2", "bndiff * dbndiff2", "the factor 2 is missing"),
        ("dhprebn += 1.0 / n * (", "dhprebn += (", "through bnmeani is n times what it should be"),
        ("dhprebn += 1.0 / n", "dhprebn += 1.0 / (n - 1)", "n − 1 is used instead of n"),
        ("dhprebn += 1.0 / n", "dhprebn += 2.0 / n", "the part through bnmeani is added twice"),
        ("(bnvar + 1e-5) ** -1.5", "bnvar ** -1.5", "the term eps is missing"),
        ("(1.0 - h**2) * dh", "dh", "dh is passed on unchanged: the local derivative is missing"),
        ("* torch.ones_like(bndiff2) * dbnvar", "* dbnvar", "it is not expanded to the shape before the sum"),
        ("(1.0 - h**2) * dh", "(1.0 - hpreact**2) * dh", "tanh, taken at its input hpreact"),
        ("(1.0 - h**2) * dh", "(1.0 - torch.tanh(h)**2) * dh", "torch.tanh(h) is used instead of h"),
        ("(1.0 - h**2) * dh", "dh * 1.0 - h**2", "the parentheses around 1 - h ** 2 are missing"),
        ("dbnbias = dhpreact.sum", "dbnbias = dh.sum", "dh is used instead of dhpreact"),
        ("dbnraw = bngain * dhpreact", "dbnraw = dhpreact.clone()", "dhpreact is passed on unchanged"),
        ("dC[X[k, j]] += demb", "dC[X[k, j]] = demb", "are overwritten, not added"),
        ("dlogits @ W2.T", "dlogits @ (W2 - 0.1 * (h.T @ dlogits)).T", "W2 was updated before this line read it"),
        ("dW2 = h.T @ dlogits", "dW2 = (h.T @ dlogits).half()", "rounded to float16"),
        ("dW2 = h.T @ dlogits", "dW2 = hpreact.T @ dlogits", "hpreact is used instead of h"),
        ("dW2 = h.T @ dlogits", "dW2 = dh.T @ dlogits", "dh is used instead of h"),
        ("dW2 = h.T @ dlogits", "dW2 = h[:-1].T @ dlogits[:-1]", "the last example is left out"),
        ("dh = dlogits @ W2.T", "dh = dlogits.sum(1, keepdim=True) * torch.ones_like(h)", "W2.T is missing"),
        ("dh = dlogits @ W2.T", "dh = dlogits @ W2.T * h", "it is multiplied by h, which does not belong there"),
        ("range(n), Y] = -1.0 / n", "range(n), X[:, -1]] = -1.0 / n", "X[:, 2] is used instead of Y"),
        ("range(n), Y] = -1.0 / n", "range(n), Y] = -1.0 / n * (logprobs[range(n), Y] > -3.3)", "9 of its 12 entries"),
        ("db2 = dlogits.sum(0)", "db2 = dlogits[0]", "only the first entry along dimension 0 is used, not the sum"),
        ("dhprebn += 1.0 / n", "dhprebn *= 1.0 / n", "bndiff and bnmeani are multiplied, not added"),
        ("dC[X[k, j]] += demb[k, j]", "dC[X[k, j]] += demb[k, j] / (X == X[k, j]).sum()", "are averaged, not added"),
        ("    return locals()", "    dbngain, dbnbias = dbnbias, dbngain\n    return locals()", "dbnbias are swapped"),
        ("dhprebn = dbndiff.clone()", "dhprebn = dbndiff", "are one tensor (an alias)"),
    ],
)  # fmt: skip
def test_the_words_of_an_explanation(tmp_path: Path, right: str, wrong: str, words: str) -> None:
    report = checked(tmp_path, changed(CHAIN, (right, wrong)))
    assert words in report.failures()[0]


@pytest.mark.slow
def test_the_diagonal_of_softmax_alone_is_told(tmp_path: Path) -> None:
    text = "def backward(probs, dprobs=None, Y=None, n=None):\n    dprobs = torch.zeros_like(probs)\n"
    text += "    dprobs[range(n), Y] = -1.0 / n / probs[range(n), Y]\n    dlogits = probs * (1 - probs) * dprobs\n"
    report = checked(tmp_path, text + "    return {'dprobs': dprobs, 'dlogits': dlogits}\n")
    assert "logits" in report.failures()[0]
    assert "only the diagonal of the Jacobian is used" in report.failures()[0]


@pytest.mark.every(4)
@pytest.mark.parametrize("wrong", INVISIBLE, ids=lambda w: w.wrong.strip()[:60])
def test_what_no_loss_can_show_is_a_remark(tmp_path: Path, wrong: Wrong) -> None:
    """It shows on forward values that are drawn at random, and is explained there; the exit code stays 0."""
    report = checked(tmp_path, wrong.text)
    assert report.ok, report.failures()
    told = [remark for remark in report.remarks if DIFFERS in remark]
    assert BLIND in report.remarks
    assert len(told) == 1
    assert told[0].startswith(f"d{wrong.tensors} {DIFFERS}: ")


def test_an_unfinished_gradient_is_told_as_unfinished(tmp_path: Path) -> None:
    text = CHAIN[: CHAIN.index("    dcounts_sum = ")] + "    return locals()\n"
    report = checked(tmp_path, text)
    assert not report.ok
    assert "it is unfinished: the part through probs is included, the one through counts_sum" in report.failures()[0]


def test_a_branch_that_was_read_too_early(tmp_path: Path) -> None:
    late = "    dcounts = dcounts + torch.ones_like(counts) * dcounts_sum\n    dnorm_logits = counts * dcounts\n"
    early = "    dnorm_logits = counts * dcounts\n    dcounts = dcounts + torch.ones_like(counts) * dcounts_sum\n"
    report = checked(tmp_path, changed(CHAIN, (late, early)))
    assert [f.comparison.tensor for f in report.sections[0].findings if f.alone is False] == ["norm_logits"]
    assert "before the part through counts_sum had been added to dcounts" in report.failures()[0]


def test_what_raises_in_float64_is_judged_in_float32_and_said(tmp_path: Path) -> None:
    """A mistake of 2e-6 shows all the same wherever float64 can be had."""
    shy = changed(FUSED, ("    dlogits /= n", "    assert logits.element_size() == 4\n    dlogits /= n"))
    report = checked(tmp_path, shy)
    assert report.ok
    assert any("since it does not run in float64" in r for r in report.remarks)
    mixed = changed(RIGHT["onehot_embed"], ("dW1 = embcat.T @ dhprebn", "dW1 = embcat.T @ dhprebn * (1 + 2e-6)"))
    wrong = checked(tmp_path, mixed)
    assert [f.comparison.tensor for f in wrong.sections[0].findings if not f.ok] == ["W1"]


def test_nan_in_float32_alone_is_a_remark(tmp_path: Path) -> None:
    """1/p overflows where a probability is tiny; the line is right."""
    path = tmp_path / "mine.py"
    path.write_text(RIGHT["reciprocal"])
    p, X, Y = problem(n=12)
    p.W2.mul_(150)
    report = check_user(NetworkProblem(p, X, Y, EPS, 0.0), UserPass(path, NAMES), SOURCES["autograd"])
    assert report.ok, report.failures()
    assert any("in float32 they give NaN or infinity at these parameters" in remark for remark in report.remarks)


@pytest.mark.slow
def test_a_notebooks_passes_are_checked_one_by_one(tmp_path: Path) -> None:
    """Each exercise of the notebook is a section; a mistake in one is not the others'."""
    right = checked(tmp_path, RIGHT["lecture.ipynb"], "mine.ipynb")
    assert [len(section.findings) for section in right.sections] == [26, 1, 1, 13]
    assert right.sections[1].name.startswith("mine.ipynb, cell ")
    cells = [
        "dlogits = (probs - F.one_hot(Y, 27)) / n",
        "dlogits = -(probs - F.one_hot(Y, 27)) / n\ndb2 = dlogits.sum(0)",
    ]
    both = checked(tmp_path, notebook(cells), "two.ipynb")
    assert [[f.ok for f in section.findings] for section in both.sections] == [[True], [False, False]]
    assert "two.ipynb, cell 2: logits" in both.failures()[0]
    assert "the sign is wrong" in both.failures()[0]


LOGITS = "dlogits = (probs - F.one_hot(Y, 27)) / n"


@pytest.mark.parametrize(
    "cell",
    [
        f"{LOGITS}  # or mean?",
        f"# why?\n{LOGITS}",
        f"%matplotlib inline\n!ls\n?print\nprint?\nfiles = !ls\nhere = %pwd\n{LOGITS}",
        f"%time {LOGITS}",
        f"%%time\n{LOGITS}",
        "dlogits = ((probs - F.one_hot(Y, 27))\n  / n)\nrest = (n\n  % 27)",
    ],
)
def test_what_is_the_notebooks_and_what_is_pythons(tmp_path: Path, cell: str) -> None:
    report = checked(tmp_path, notebook([cell, "dh = dlogits @ W2.T"]), "mine.ipynb")
    assert report.ok, report.failures()
    assert [f.comparison.tensor for f in report.sections[0].findings] == ["logits", "h"]


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("def backward(probs, Y, n):\n    dlogits = (probs - F.one_hot(Y, 27)) / n\n    return dlogits\n", "logits"),
        (
            f"def backward(probs, Y, n, W2, h):\n    def mm(x, w, g):\n        dx, dw = g @ w.T, x.T @ g\n        "
            f"return dx, dw\n    {LOGITS}\n    dh, dW2 = mm(h, W2, dlogits)\n    return dlogits, dh, dW2\n",
            "logits h W2",
        ),
        (
            f"def make():\n    def backward(probs, Y, n, W2):\n        {LOGITS}\n        dh = dlogits @ W2.T\n        "
            "return dlogits, dh\n    return backward\nbackward = make()\n",
            "logits h",
        ),
        (
            "def backward(scores, targets):\n    probs = torch.softmax(scores, 1)\n    "
            "return (probs - F.one_hot(targets, 27)) / len(targets)\n"
            "dlogits = backward(logits, Y)\n",
            "logits",
        ),
        (
            f"words = open('nowhere.txt')\nimport nothing\ndef backward(probs, Y, n):\n    {LOGITS}\n    "
            "return locals()\n",
            "logits",
        ),
        (f"def backward(probs, Y, n):\n    {LOGITS}\n    return {{'dlogits': dlogits, 'dh': None}}\n", "logits"),
        (f"# -*- coding: latin-1 -*-\n# \xe9\n{LOGITS}\n", "logits"),
    ],
)  # fmt: skip
def test_what_a_function_returns(tmp_path: Path, text: str, given: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text, encoding="latin-1")
    report = check_user(NetworkProblem(*problem(n=12), EPS, 0.0), UserPass(path, NAMES), SOURCES["autograd"])
    assert report.ok, report.failures()
    assert {f.comparison.tensor for f in report.sections[0].findings} == set(given.split())


@pytest.mark.slow
def test_a_pass_that_computes_everything_anew_is_not_accused(tmp_path: Path) -> None:
    forward = """
    emb = C[X]
    embcat = emb.flatten(1)
    hprebn = embcat @ W1 + b1
    bndiff = hprebn - hprebn.mean(0, keepdim=True)
    bnvar = (bndiff**2).sum(0, keepdim=True) / (n - 1)
    bnvar_inv = (bnvar + 1e-5) ** -0.5
    bnraw = bndiff * bnvar_inv
    h = torch.tanh(bngain * bnraw + bnbias)
    logits = h @ W2 + b2
    norm_logits = logits - logits.max(1, keepdim=True).values
    counts = norm_logits.exp()
    counts_sum = counts.sum(1, keepdim=True)
    counts_sum_inv = counts_sum**-1
    probs = counts * counts_sum_inv
    logprobs = probs.log()
"""
    head, body = CHAIN.split("n):\n", 1)
    anew = f"{head}n, b1, b2, bnbias):{forward}{body}"
    report = checked(tmp_path, anew)
    assert report.ok, report.failures()
    assert [UNTRIED in remark for remark in report.remarks].count(True) == 1
    assert not any(DIFFERS in remark for remark in report.remarks)


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("{}", "a.ipynb", "is not a Jupyter notebook of version 4"),
        ("[]", "a.ipynb", "is not a Jupyter notebook of version 4"),
        ('{"worksheets": []}', "a.ipynb", "is a notebook of version 3; save it in Jupyter again"),
        (notebook([]), "a.ipynb", "has no code cells"),
        ("class backward: pass\n", "a.py", "`backward` is a class, not a function"),
        ("async def backward(h): return {}\n", "a.py", "`backward` is asynchronous"),
        ("def backward(*args): return {}\n", "a.py", "arguments are given by name"),
        (
            "def backward(h): return {'grad_W2': h}\n",
            "a.py",
            "returned grad_W2; prefix the tensor's name with d",
        ),
        (notebook(["dlogits = logits @"]), "a.ipynb", "cell 1, line 1: invalid syntax"),
        (notebook(["1", "dlogits = 1 / 0"]), "a.ipynb", "cell 2, line 1: ZeroDivisionError"),
        ("print(3)\n", "a.py", "has neither a function `backward` nor assignments of gradients"),
        ("dlogits = logits + lost\n", "a.py", "line 1: NameError: name 'lost' is not defined"),
        ("def backward(logits): return [1, 2]\n", "a.py", "returned 2 values; return the gradients of C, W1, b1"),
    ],
)
def test_files_that_can_not_be_run(tmp_path: Path, text: str, name: str, message: str) -> None:
    from makemore_cli.errors import MakemoreError

    with pytest.raises(MakemoreError) as error:
        checked(tmp_path, text, name)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def random_problem(draw: random.Random) -> tuple[object, torch.Tensor, torch.Tensor, str]:
    """Sizes, precision and parameters at random: usual, saturated and hot ones."""
    V, T, E, H = draw.choice([2, 5, 27, 60]), draw.choice([1, 3]), draw.choice([1, 4, 10]), draw.choice([1, 3, 16, 64])
    n, seed, kind = (
        draw.choice([2, 3, 7, 32, 96]),
        draw.randrange(2**31),
        draw.choice(["", "bngain", "bnbias", "W2", "C"]),
    )
    p, generator = initialise(Sizes(V, T, E, H), seed)
    X = torch.randint(0, V, (n, T), generator=generator)
    Y = torch.randint(0, V, (n,), generator=generator)
    size = 10 ** draw.uniform(1, 3.3)
    if kind == "bnbias":
        p.bnbias.add_(draw.uniform(5, 40))
    elif kind:
        p.views[kind].mul_(size)
    dtype = draw.choice([torch.float32, torch.float64])
    return p.to(dtype=dtype), X, Y, f"V={V} T={T} E={E} H={H} n={n} {kind} {size:.4g} {dtype} seed={seed}"


@pytest.mark.parametrize("count", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_right_passes_are_accepted_at_saturated_and_hot_parameters(tmp_path: Path, count: int) -> None:
    seed = torch.randint(0, 2**31, ()).item()
    draw = random.Random(seed)
    styles = [style for style in RIGHT if "27" not in RIGHT[style] and style != "nbconvert" and ".ipynb" not in style]
    for _ in range(count):
        p, X, Y, about = random_problem(draw)
        style = draw.choice(styles)
        (tmp_path / "mine.py").write_text(RIGHT[style])
        report = check_user(
            NetworkProblem(p, X, Y, EPS, 0.0), UserPass(tmp_path / "mine.py", NAMES), SOURCES["autograd"]
        )
        assert report.ok, (seed, style, about, report.failures())


@pytest.mark.parametrize("count", [3, pytest.param(25, marks=pytest.mark.slow)])
def test_the_training_pass_is_accepted_there_too(count: int) -> None:
    """A saturated tanh leaves 1 − h² to rounding, which the scale must know."""
    p, generator = initialise(Sizes(27, 3, 4, 3), 1560527940)
    X = torch.randint(0, 27, (96, 3), generator=generator)
    Y = torch.randint(0, 27, (96,), generator=generator)
    p.bnbias.add_(18)
    assert gradcheck(NetworkProblem(p, X, Y, EPS, 0.0)).ok
    # All letters are predicted with certainty: softmax − onehot is what rounding has left of 1 − 1.
    p, generator = initialise(Sizes(5, 3, 10, 64), 631794260)
    X = torch.randint(0, 5, (3, 3), generator=generator)
    Y = torch.randint(0, 5, (3,), generator=generator)
    p.W2.mul_(303.4)
    assert gradcheck(NetworkProblem(p, X, Y, EPS, 0.0)).ok
    seed = torch.randint(0, 2**31, ()).item()
    draw = random.Random(seed)
    for _ in range(count):
        p, X, Y, about = random_problem(draw)
        report = gradcheck(NetworkProblem(p, X, Y, EPS, 0.0))
        assert report.ok, (seed, about, report.failures())
