"""`problem` and its checks: the lecture's pass, cell by cell, and mistakes in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

import makemore_cli as mm
from makemore_cli.checks.network import NAMES
from tests.api.lecture_cells import CELLS, MISTAKES, UNFINISHED, Mistake
from tests.checks.right_passes import CHAIN
from tests.checks.wrong_passes import WRONG, Wrong


def fresh(**options: Any) -> tuple[mm.BatchProblem, dict[str, Any]]:
    p = mm.problem("lecture", **options)
    return p, {"torch": torch, "F": F, **p}


def findings(report: mm.Report) -> dict[str, Any]:
    return {finding.comparison.tensor: finding for section in report.sections for finding in section.findings}


def test_the_lectures_lines_cell_by_cell() -> None:
    """After each cell, all gradients so far are right, except those whose second branch is still to come."""
    p, names = fresh()
    done: set[str] = set()
    for cell, completed in CELLS.items():
        exec(cell, names)
        done |= set(completed.split())
        seen = findings(p.check(names))
        assert done <= seen.keys()
        # The part of dlogits through logit_maxes is zero but for rounding, so it is right before that is added.
        assert {name for name in seen if seen[name].ok} - {"logits"} == done - {"logits"}
        for name in seen.keys() - done - {"logits"}:
            assert name in UNFINISHED
            assert "unfinished" in seen[name].diagnosis, seen[name].diagnosis
    assert sorted(f"d{name}" for name in done) == sorted(p.gradients)
    assert len(done) == 26
    assert p.check(names)


@pytest.mark.every(3)
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: f"{mistake.number} {mistake.tensor}")
def test_a_mistake_is_named_and_explained(mistake: Mistake) -> None:
    """Also if the code can't continue after it."""
    p, names = fresh()
    for cell in CELLS:
        try:
            exec(cell.replace(mistake.right, mistake.wrong), names)
        except RuntimeError:
            break
    report = p.check(names)
    assert not report
    first = report.failures()[0]
    assert f" {mistake.tensor} " in first.replace(":", " ")
    assert mistake.told in first
    assert first.partition(": ")[2] in repr(report)


@pytest.mark.every(8)
@pytest.mark.parametrize("wrong", [one for one in WRONG if one.base == CHAIN][::2], ids=lambda one: one.wrong)
def test_the_same_are_blamed_as_in_a_file(wrong: Wrong) -> None:
    """In float64, since only the results are known; a mistake that gives the right numbers here can't be seen."""
    p, names = fresh(dtype="float64")
    try:
        found, right = backward(wrong.text, names), backward(CHAIN, names)
    except (RuntimeError, IndexError):
        pytest.skip("it does not run")
    report = p.check(found)
    if all(torch.equal(found[name], right[name]) for name in p.gradients if name in found):
        assert report
        return
    blamed = {name for name, finding in findings(report).items() if finding.alone is False}
    assert blamed == set(wrong.tensors.split()) or report.faults


def backward(text: str, names: dict[str, Any]) -> dict[str, Any]:
    """The gradients that a function `backward` returns on copies of a forward pass."""
    scope = {name: value.clone() if isinstance(value, torch.Tensor) else value for name, value in names.items()}
    exec(text, scope)
    function = scope["backward"]
    asked = function.__code__.co_varnames[: function.__code__.co_argcount]
    found: dict[str, Any] = function(**{name: scope[name] for name in asked})
    return found


def test_one_gradient_by_its_name() -> None:
    p = mm.problem("lecture")
    right = (p.probs - F.one_hot(p.Yb, 27)) / p.n
    for name in ("logits", "dlogits"):
        assert p.check(name, right)
        report = p.check(name, -right)
        assert not report
        assert "sign" in report.failures()[0]
    assert p.check("logits", right.numpy())
    assert not p.check("logits", right.T)
    assert not p.check("logits", None)
    assert not p.check("logits", "a string")
    assert not p.check("logits", right.int())
    assert "not given" not in repr(p.check("logits", right))
    assert "dC" in repr(p.check({"dlogits": right}))


def test_the_forward_pass_is_there_under_all_names() -> None:
    p = mm.problem("lecture")
    for name in NAMES.given - {"smoothing"}:
        assert name in p, name
        assert getattr(p, name) is p[name]
    assert p.Xb is p.X or torch.equal(p.Xb, p.X)
    assert (p.n, p.batch_size, p.vocab_size, p.block_size, p.n_embd, p.n_hidden) == (32, 32, 27, 3, 10, 200)
    assert torch.allclose(p.logits, p.h @ p.W2 + p.b2)
    assert float(p.loss) == pytest.approx(float(F.cross_entropy(p.logits, p.Y)), rel=1e-6)
    assert "logits" in dir(p)
    assert "logits" in repr(p)
    with pytest.raises(AttributeError, match="has no logit;"):
        p.logit  # noqa: B018


def test_a_forward_value_changed_in_place_is_told() -> None:
    p, names = fresh()
    exec("dlogits = probs\ndlogits[range(n), Yb] -= 1\ndlogits /= n", names)
    report = p.check(names)
    assert not report
    assert "your code changes probs in place" in " ".join(report.failures())


def test_nothing_is_remembered() -> None:
    p, names = fresh()
    exec("dlogits = (F.softmax(logits, 1) - F.one_hot(Yb, 27)) / n", names)
    assert p.check(names)
    assert not p.check("logits", torch.zeros(32, 27))
    assert p.check(names)
    assert repr(p.check(names)) == repr(p.check(names))


def test_html_is_escaped() -> None:
    report = mm.problem("lecture").check("logits", torch.zeros(3, 3))
    html = report._repr_html_()
    assert "<table>" in html
    assert "logits" in html
    assert "shape" in html
    object.__setattr__(report, "title", "<script>")
    assert "<script>" not in report._repr_html_()


def test_at_the_parameters_of_a_run_and_with_other_settings(trained: Path, names_file: Path) -> None:
    assert torch.equal(mm.problem(run=trained).W1, torch.from_numpy(mm.load(trained).parameters["W1"]))
    assert mm.problem(run=trained, dtype="float64").W1.dtype == torch.float64
    small = mm.problem("tiny", data=names_file, settings={"train.batch_size": 7}, seed=3)
    assert small.n == 7
    assert small.gradcheck()
    assert mm.gradcheck(small, of="fused", against="float64")
    smoothed = mm.problem("lecture", settings={"train.label_smoothing": 0.1})
    assert smoothed.smoothing == 0.1
    assert smoothed.check("logprobs", -((1 - 0.1) * F.one_hot(smoothed.Y, 27) + 0.1 / 27) / smoothed.n)


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        (lambda p: p.check({}), "there is no gradient to check"),
        (lambda p: p.check({"logits": 1}), "there is no gradient to check"),
        (lambda p: p.check("nothing", 1), "gradients must name a tensor of the chain"),
        (lambda p: p.check("loss", 1), "gradients must name a tensor of the chain"),
        (lambda p: p.gradcheck(of="nothing"), "of must be one of"),
        (lambda p: p.gradcheck(of="autograd"), "against must differ"),
        (lambda p: mm.problem("nothing"), "no such configuration"),
        (lambda p: mm.problem(dtype="float16"), "train.dtype"),
        (lambda p: mm.problem(run="nowhere"), "no such run"),
        (lambda p: mm.problem("tiny", run="nowhere"), "run has its own configuration"),
        (lambda p: mm.problem(run="nowhere", settings={"optim.lr": 1}), "run has its own configuration"),
        (lambda p: p.check(p.logits), "gradients must be a name or a mapping, such as globals.., got a Tensor"),
        (lambda p: p.check({"dlogits": p.probs}, p.probs), "gradient must not be given beside a mapping"),
        (lambda p: mm.gradcheck(p, seed=3), "seed does not apply to a problem"),
    ],
)
def test_mistakes_name_the_parameter(mistake: Any, told: str) -> None:
    p = mm.problem("lecture")
    with pytest.raises(mm.MakemoreError, match=told):
        mistake(p)


def test_right_and_wrong_also_if_gradients_are_switched_off() -> None:
    """Exercise 4 of the lecture runs under no_grad, where autograd would find nothing to compare with."""
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            p = mm.problem("lecture")
            right = (p.probs - F.one_hot(p.Y, 27)) / p.n
            assert p.check("logits", right)
            assert not p.check("logits", 0 * right)
            assert p.gradcheck()
            assert mm.gradcheck("linear")
        assert not p.check("logits", torch.zeros(32, 27))


def test_results_of_other_kinds_are_told_in_one_line() -> None:
    p = mm.problem("lecture")
    right = ((p.probs - F.one_hot(p.Y, 27)) / p.n).numpy()
    assert p.check("logits", right.astype(">f4"))
    assert p.check("logits", right.astype("longdouble"))
    assert p.check("logits", torch.tensor(right, requires_grad=True) * 1.0)
    for odd in (right.astype(int), torch.tensor(right, dtype=torch.complex64), torch.zeros(32, 27, device="meta"), 3):
        assert not p.check("logits", odd), odd
    assert not p.check("logits", right * float("nan"))
    assert not p.check("logits", right.astype("float16"))


def test_a_branch_that_a_finished_pass_lacks_is_not_called_unfinished() -> None:
    """Also if the gradients that come right after it are not given."""
    p, names = fresh()
    for cell in CELLS:
        exec(cell.replace("dcounts += torch.ones_like(counts) * dcounts_sum", "pass"), names)
    del names["dnorm_logits"], names["dlogit_maxes"]
    told = findings(p.check(names))["counts"].diagnosis
    assert "missing or overwritten" in told


def test_problems_do_not_depend_on_the_default_precision() -> None:
    usual = mm.problem("lecture")
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(mm.problem("lecture").logits, usual.logits)
    finally:
        torch.set_default_dtype(torch.float32)


def test_problems_and_tables_are_compared_by_identity(trained: Path) -> None:
    p = mm.problem("lecture")
    assert p == p
    assert p != mm.problem("lecture")
    run = mm.load(trained)
    assert run.metrics != run.evaluations
    assert len({p, run.metrics}) == 2
    assert "logits" in p._repr_html_()


def test_names_may_be_a_list() -> None:
    names = ["emma", "olivia", "ava", "isabella", "sophia", "mia", "amelia", "noah", "liam", "jacob"]
    assert mm.problem("tiny", data=names, settings={"train.batch_size": 4}).n == 4
