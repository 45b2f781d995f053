"""Every exercise: refused as shipped, solved by its solution; wrong answers are refused and explained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from makemore_cli.backprop.chain import Chain
from makemore_cli.checks.check_chain import find
from makemore_cli.learn.check import check
from makemore_cli.learn.check_gradient import drawn
from makemore_cli.learn.course import Course, load_course
from makemore_cli.learn.exercise import MARKER, Exercise
from makemore_cli.learn.verdict import Verdict
from tests.learn.wrong_answers import WRONG

COURSE = load_course()
FEWEST_DIAGNOSED = 0.9


@pytest.fixture(autouse=True)
def _train_for_a_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The notebook's test trains for all steps."""
    monkeypatch.setattr(COURSE.draws, "STEPS", 300)


def verdict(exercise: Exercise, text: str, folder: Path, seed: int, course: Course = COURSE) -> Verdict:
    path = folder / exercise.file_name
    path.write_text(text)
    return check(course, exercise, path, text, seed)


def answers(exercise: Exercise) -> list[tuple[tuple[str, ...], str]]:
    """Wrong answers, each with what must be said of it."""
    own = [(mistake.lines, mistake.says.rstrip(".")) for mistake in exercise.source.mistakes]
    return own + [((f"    return {code}",), told) for code, told in WRONG.get(exercise.name, {}).items()]


@pytest.mark.every(4)
@pytest.mark.parametrize("name", COURSE.names)
def test_as_shipped_it_runs_and_is_not_written_yet(name: str, tmp_path: Path) -> None:
    exercise = COURSE.exercise(name)
    shipped = exercise.source.shipped
    is_slow = exercise.entry.check.seconds > 10
    assert verdict(exercise, shipped, tmp_path, 0).state == "not written"
    exec(compile(shipped, name, "exec"), {})
    assert len({*exercise.entry.hints}) == 3
    # Only the marker counts: without it the zero that stands there is an answer, and wrong.
    assert is_slow or verdict(exercise, shipped.replace(MARKER, ""), tmp_path, 0).state == "wrong"
    assert "#:" not in shipped
    assert "#!" not in shipped
    assert all(len(line) <= 110 for line in shipped.splitlines())


@pytest.mark.every(4)
@pytest.mark.parametrize("seeds", [range(3), pytest.param(range(3, 20), marks=pytest.mark.slow)], ids=["few", "many"])
@pytest.mark.parametrize("name", COURSE.names)
def test_the_solution_passes(name: str, seeds: range, tmp_path: Path) -> None:
    """Alone, and on any arguments."""
    exercise = COURSE.exercise(name)
    if exercise.entry.check.seconds > 10 or exercise.entry.check.trials > 10:  # many things are tried each time
        seeds = seeds[:2]
    for seed in seeds:
        found = verdict(exercise, exercise.source.solved, tmp_path, seed)
        assert found.ok, found


@pytest.mark.slow
def test_wrong_answers_are_refused_and_explained(tmp_path: Path) -> None:
    done, diagnosed, missed = 0, 0, []
    for name in COURSE.names:
        exercise = COURSE.exercise(name)
        wrong = answers(exercise)
        assert len(wrong) >= 2, name
        for lines, told in wrong:
            found = verdict(exercise, exercise.source.written(lines), tmp_path, seed=done)
            assert not found.ok, (name, lines)
            done += 1
            diagnosed += found.diagnosed and told in " ".join(found.says)
            if not (found.diagnosed and told in " ".join(found.says)):
                missed.append((name, lines, told, found.says))
    assert diagnosed >= FEWEST_DIAGNOSED * done, missed


@pytest.mark.every(4)
@pytest.mark.parametrize("name", COURSE.names)
def test_no_constant_passes(name: str, tmp_path: Path) -> None:
    """Not even the right result for one draw."""
    exercise = COURSE.exercise(name)
    if exercise.entry.check.seconds > 10:
        return  # the wrong answers below show it, and each check trains a network
    for lines in (("    return 0.0",), ("    return 1.0",), ("    return None",), ("    return []",)):
        if name == "b8_zero_grad" and lines == ("    return None",):
            continue  # it returns nothing, and changes its arguments
        assert not verdict(exercise, exercise.source.written(lines), tmp_path, 1).ok
    check_of = exercise.entry.check
    if check_of.draw is None:
        assert not verdict(
            exercise, exercise.source.written((f"    return 0 * {check_of.gradient} + 1",)), tmp_path, 1
        ).ok


def test_other_right_ways_are_accepted(tmp_path: Path) -> None:
    ways = {
        "a1_slope": "    return 1 / h * f(x + h) - f(x) / h",
        "b6_order": "    order = []\n    while len(order) < len(inputs):\n"
        "        order += [n for n in inputs if n not in order and all(i in order for i in inputs[n])]\n    return order",  # noqa: E501
        "d01_logprobs": "    d = torch.zeros_like(logprobs)\n    d[range(n), Y] = -1.0 / n\n    return d * dloss",
        "d08_logits": "    return dnorm_logits + F.one_hot(logits.max(1).indices, logits.shape[1]) * dlogit_maxes",
        "d11_hpreact": "    return (1.0 - h**2) * dh",
        "d15_bndiff2": "    return torch.zeros(bndiff2.shape, dtype=torch.float32) + dbnvar / (n - 1)",
        "d20_C": "    dC = torch.zeros_like(C)\n    for i in range(X.shape[0]):\n        for j in range(X.shape[1]):\n"
        "            dC[X[i, j]] += demb[i, j]\n    return dC",
        "e1_cross_entropy": "    d = F.softmax(logits, 1)\n    d[range(len(Y)), Y] -= 1\n    return d / len(Y)",
        "e3_embedding": "    return F.one_hot(X, len(C)).flatten(0, 1).T.to(demb) @ demb.flatten(0, 1)",
    }
    for name, code in ways.items():
        exercise = COURSE.exercise(name)
        for seed in range(3):
            found = verdict(exercise, exercise.source.written((code,)), tmp_path, seed)
            assert found.ok, found


@pytest.mark.parametrize(
    ("name", "code", "changed"),
    [
        ("d06_norm_logits", "    return dcounts.mul_(counts)", "dcounts"),
        ("c8_step", "    W -= lr * dW\n    return W", "W"),
        ("e1_cross_entropy", "    n = len(Y)\n    logits -= 1\n    return (F.softmax(logits, 1) "
         "- F.one_hot(Y, logits.shape[1])) / n", "logits"),
    ],
)  # fmt: skip
def test_changing_an_argument_in_place_is_told(name: str, code: str, changed: str, tmp_path: Path) -> None:
    exercise = COURSE.exercise(name)
    found = verdict(exercise, exercise.source.written((code,)), tmp_path, 0)
    assert found.state == "wrong"
    assert f"changes {changed} in place" in found.says[0]


def test_an_update_in_place_is_allowed(tmp_path: Path) -> None:
    exercise = COURSE.exercise("g6_too_early")
    code = exercise.source.solved.replace("W2 = W2 - lr", "W2 -= lr")
    assert "W2 -= " in code
    assert verdict(exercise, code, tmp_path, 0).ok


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("chain", ["linear", "row_sum", "makemore"])
def test_the_sizes_can_be_told_apart(chain: str, seed: int) -> None:
    """Otherwise 1/D could be told as 1/(n - 1)."""
    subject = find(chain)
    assert isinstance(subject, Chain)
    sizes = drawn(subject, "x" if chain == "linear" else "A" if chain == "row_sum" else "emb", seed)[1].values()
    values = [*sizes, *(size - 1 for size in sizes), 2]
    assert len({*values}) == len(values)


def test_several_mistakes_at_once(tmp_path: Path) -> None:
    told = {
        ("c6_squared_error", "error * dloss"): "The division by error.numel() and the factor 2 are missing.",
        ("d04_counts_sum", "-2 * counts_sum**-1 * dcounts_sum_inv"): "The exponent is -1, not -2; besides, there is "
        "another factor 2.",
    }
    for (name, code), says in told.items():
        exercise = COURSE.exercise(name)
        assert verdict(exercise, exercise.source.written((f"    return {code}",)), tmp_path, 1).says[1] == says


@pytest.mark.parametrize(
    ("code", "state", "told"),
    [
        ("    return 1 / 0", "failed", "a2_parabola.py, line 18: ZeroDivisionError: division by zero: return 1 / 0"),
        ("    return x +", "failed", "a2_parabola.py, line 18: invalid syntax: return x +"),
        ("    return missing", "failed", "name 'missing' is not defined: return missing"),
        ("    X = 1\n    return x * slpe + X", "failed", "name 'slpe' is not defined: return x * slpe"),
        ("    return 6 * X - 4", "failed", "name 'X' is not defined (did you mean x?)"),
        ("    return rnge(x)", "failed", "(did you mean range?)"),
        ("    import math\n    return math.ex(x)", "failed", "(did you mean exp?)"),
        ("    return 6x - 4", "failed", "(in Python, a product needs *, as in 6*x): return 6x - 4"),
        ("    return 3 * x^1.0", "failed", "(in Python, a power is written **)"),
        ("    raise SystemExit(3)", "failed", "SystemExit: 3"),
        ("    return 'text'", "wrong", "the result is 'text', not"),
        ("    return [x]", "wrong", "not a number"),
        ("    return float('nan')", "wrong", "the result is nan, not"),
        ("    return True", "wrong", "the result is True, not a number"),
        ("    return 6 * x - 4 + 1e-4", "wrong", "not"),
    ],
)
def test_what_goes_wrong_is_told_by_the_learners_line(code: str, state: str, told: str, tmp_path: Path) -> None:
    exercise = COURSE.exercise("a2_parabola")
    found = verdict(exercise, exercise.source.written((code,)), tmp_path, 0)
    assert found.state == state
    assert told in found.says[0], found


def test_a_product_that_does_not_fit_is_told_with_the_sizes(tmp_path: Path) -> None:
    exercise = COURSE.exercise("c3_inputs")
    found = verdict(exercise, exercise.source.written(("    return dy @ W",)), tmp_path, 0)
    assert found.state == "failed"
    assert re.fullmatch(r"In this call n = \d+, D = \d+, H = \d+\.", found.says[1])


@pytest.mark.slow
def test_sampled_names_are_printed_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exercise = COURSE.exercise("f2")
    assert verdict(exercise, exercise.source.solved, tmp_path, 0).ok
    names = capsys.readouterr().out.split()
    assert 3 <= len(names) <= 5
    assert all(name.isalpha() for name in names)


def test_the_function_is_gone(tmp_path: Path) -> None:
    exercise = COURSE.exercise("a2_parabola")
    found = verdict(exercise, "x = 1\n", tmp_path, 0)
    assert found.state == "failed"
    assert "has no function derivative any more" in found.says[0]


def test_checking_leaves_the_precision_as_it_was(tmp_path: Path) -> None:
    exercise = COURSE.exercise("e2_batchnorm")
    assert verdict(exercise, exercise.source.solved, tmp_path, 0).ok
    assert torch.get_default_dtype() == torch.float32
