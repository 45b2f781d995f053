"""Wrong lines, as people write them: each is caught, the first wrong line is named, and the diagnosis is right."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

from makemore_cli.backprop import atomic as steps
from makemore_cli.backprop.chain import Chain
from makemore_cli.backprop.step import Line, Step, arguments, step
from makemore_cli.checks.check import gradcheck
from makemore_cli.checks.mutations import mutations_of
from makemore_cli.checks.network import NetworkProblem
from tests.conftest import problem

EPS = 1e-5


@dataclass
class Mutation:
    """A wrong line for `target` in the step `step`; `told` is what its diagnosis says, where it has a known form."""

    step: str
    target: str
    wrong: Line | None  # None: the line is left out
    told: str | None = None


SIGN = "the sign is wrong"
ZERO = "it is zero: nothing was added to it"
NO_MEAN = "it is n times what it should be: a mean's 1/n is missing"
MEAN = "it is 1/n of what it should be"
BESSEL = "it is (n − 1)/n of what it should be: n is used instead of Bessel's n − 1"
TWICE = "it is twice what it should be"
HALF = "it is half of what it should be"
TRANSPOSED = "it is the transpose of what it should be"
NOT_SUMMED = "it is not summed over the dimension that was broadcast: .sum("
KEEPDIM = "its numbers are right, but not its shape: keepdim=True"
NO_KEEPDIM = "its numbers are right, but its shape should be (27,): leave out keepdim=True"
UNCHANGED = "is passed on unchanged: the local derivative is missing"
NOT_MEAN = "mean is used instead of sum"
EPSILON = "epsilon is forgotten"

# Sizes on which no two dimensions are equal, so that a wrong one can't fit by chance.
MUTATIONS = [
    # loss
    Mutation("loss", "dlogprobs", lambda logprobs, Y, n, dloss: _right(logprobs, Y, 1.0 / n) * dloss, SIGN),
    Mutation("loss", "dlogprobs", lambda logprobs, Y, n, dloss: _right(logprobs, Y, -1.0) * dloss, NO_MEAN),
    Mutation("loss", "dlogprobs", lambda logprobs, Y, n, dloss: _right(logprobs, Y, 1 / (1 - n)) * dloss, "n/(n − 1)"),
    Mutation("loss", "dlogprobs", lambda logprobs, n, dloss: torch.full_like(logprobs, -1.0 / n) * dloss),
    # logprobs, probs
    Mutation("logprobs", "dprobs", lambda probs, dlogprobs: -dlogprobs / probs, SIGN),
    Mutation("logprobs", "dprobs", lambda dlogprobs: dlogprobs.clone(), UNCHANGED),
    Mutation("logprobs", "dprobs", lambda probs, dlogprobs: dlogprobs * probs),
    Mutation("probs", "dcounts", lambda dprobs: dprobs.clone(), UNCHANGED),
    Mutation("probs", "dcounts", None),
    Mutation("probs", "dcounts_sum_inv", lambda counts, dprobs: counts * dprobs, NOT_SUMMED),
    Mutation("probs", "dcounts_sum_inv", lambda counts, dprobs: (counts * dprobs).sum(1), KEEPDIM),
    Mutation("probs", "dcounts_sum_inv", lambda counts, dprobs: (counts * dprobs).sum(0, keepdim=True)),
    Mutation("probs", "dcounts_sum_inv", lambda counts, dprobs: (counts * dprobs).mean(1, keepdim=True), NOT_MEAN),
    # counts_sum_inv, counts_sum, counts
    Mutation("counts_sum_inv", "dcounts_sum", lambda counts_sum, dcounts_sum_inv: counts_sum**-2 * dcounts_sum_inv,
             SIGN),
    Mutation("counts_sum_inv", "dcounts_sum", lambda counts_sum, dcounts_sum_inv: -(counts_sum**-1) * dcounts_sum_inv),
    Mutation("counts_sum", "dcounts", lambda counts: torch.zeros_like(counts), ZERO),
    Mutation("counts_sum", "dcounts", lambda dcounts_sum: dcounts_sum.clone()),
    Mutation("counts", "dnorm_logits", lambda dcounts: dcounts.clone(), UNCHANGED),
    Mutation("counts", "dnorm_logits", lambda norm_logits, dcounts: norm_logits * dcounts),
    # norm_logits and logit_maxes: what the loss can't show
    Mutation("norm_logits", "dlogit_maxes", lambda dnorm_logits: dnorm_logits.sum(1, keepdim=True), SIGN),
    Mutation("norm_logits", "dlogit_maxes", lambda logit_maxes: torch.zeros_like(logit_maxes), ZERO),
    Mutation("norm_logits", "dlogit_maxes", lambda dnorm_logits: -dnorm_logits, NOT_SUMMED),
    Mutation("norm_logits", "dlogits", lambda dnorm_logits: -dnorm_logits, SIGN),
    Mutation("logit_maxes", "dlogits", lambda logits: torch.zeros_like(logits), ZERO),
    Mutation("logit_maxes", "dlogits", None),
    Mutation("logit_maxes", "dlogits", lambda logits, dlogit_maxes: torch.ones_like(logits) * dlogit_maxes),
    Mutation("logit_maxes", "dlogits", lambda logits, dlogit_maxes: torch.zeros_like(logits).scatter(
        1, logits.argmin(1, keepdim=True), dlogit_maxes)),
    # the second linear layer
    Mutation("logits", "dh", lambda W2, dlogits: (W2 @ dlogits.T), TRANSPOSED),
    Mutation("logits", "dW2", lambda h, dlogits: dlogits.T @ h, TRANSPOSED),
    Mutation("logits", "dW2", lambda h, dlogits, n: h.T @ dlogits / n, MEAN),
    Mutation("logits", "db2", lambda dlogits: dlogits.mean(0), MEAN),
    Mutation("logits", "db2", lambda dlogits: dlogits.sum(1)),
    Mutation("logits", "db2", lambda dlogits: dlogits.sum(0, keepdim=True), NO_KEEPDIM),
    Mutation("logits", "db2", lambda dlogits: dlogits.clone(), NOT_SUMMED),
    # tanh
    Mutation("h", "dhpreact", lambda dh: dh.clone(), UNCHANGED),
    Mutation("h", "dhpreact", lambda h, dh: (h**2 - 1) * dh, SIGN),
    Mutation("h", "dhpreact", lambda h, dh: (1 - h) * dh),
    Mutation("h", "dhpreact", lambda hpreact, dh: (1 - hpreact**2) * dh),
    # batchnorm
    Mutation("hpreact", "dbngain", lambda bnraw, dhpreact: bnraw * dhpreact, NOT_SUMMED),
    Mutation("hpreact", "dbngain", lambda hpreact, dhpreact: (hpreact * dhpreact).sum(0, keepdim=True)),
    Mutation("hpreact", "dbngain", lambda bnraw, dhpreact: (bnraw * dhpreact).mean(0, keepdim=True), MEAN),
    Mutation("hpreact", "dbnbias", lambda dhpreact: dhpreact.sum(0), KEEPDIM),
    Mutation("hpreact", "dbnraw", lambda dhpreact: dhpreact.clone(), UNCHANGED),
    Mutation("hpreact", "dbnraw", lambda bnraw, dhpreact: bnraw * dhpreact),
    Mutation("bnraw", "dbndiff", lambda bnvar_inv, dbnraw: 2 * bnvar_inv * dbnraw, TWICE),
    Mutation("bnraw", "dbndiff", None),
    Mutation("bnraw", "dbnvar_inv", lambda bndiff, dbnraw: -(bndiff * dbnraw).sum(0, keepdim=True), SIGN),
    Mutation("bnvar_inv", "dbnvar", lambda bnvar, dbnvar_inv: -0.5 * bnvar**-1.5 * dbnvar_inv, EPSILON),
    Mutation("bnvar_inv", "dbnvar", lambda bnvar, eps, dbnvar_inv: 0.5 * (bnvar + eps) ** -1.5 * dbnvar_inv, SIGN),
    Mutation("bnvar_inv", "dbnvar", lambda bnvar, eps, dbnvar_inv: -((bnvar + eps) ** -1.5) * dbnvar_inv, TWICE),
    Mutation("bnvar_inv", "dbnvar", lambda bnvar, eps, dbnvar_inv: -0.5 * (bnvar + eps) ** -0.5 * dbnvar_inv),
    Mutation("bnvar", "dbndiff2", lambda bndiff2, n, dbnvar: torch.ones_like(bndiff2) * dbnvar / n, BESSEL),
    Mutation("bnvar", "dbndiff2", lambda bndiff2, dbnvar: torch.ones_like(bndiff2) * dbnvar, "it is n − 1 times"),
    Mutation("bndiff2", "dbndiff", lambda bndiff, dbndiff2: bndiff * dbndiff2, HALF),
    Mutation("bndiff2", "dbndiff", lambda bndiff, dbndiff2: -2 * bndiff * dbndiff2, SIGN),
    Mutation("bndiff2", "dbndiff", lambda bndiff: torch.zeros_like(bndiff), ZERO),
    Mutation("bndiff", "dbnmeani", lambda dbndiff: dbndiff.sum(0, keepdim=True), SIGN),
    Mutation("bndiff", "dbnmeani", lambda dbndiff: -dbndiff.sum(0), KEEPDIM),
    Mutation("bndiff", "dhprebn", None),
    Mutation("bnmeani", "dhprebn", lambda hprebn, dbnmeani: torch.ones_like(hprebn) * dbnmeani, NO_MEAN),
    Mutation("bnmeani", "dhprebn", lambda hprebn, n, dbnmeani: dbnmeani.expand_as(hprebn) / (n - 1), "n/(n − 1)"),
    Mutation("bnmeani", "dhprebn", lambda hprebn: torch.zeros_like(hprebn), ZERO),
    # the first linear layer and the embedding
    Mutation("hprebn", "dW1", lambda embcat, dhprebn: dhprebn.T @ embcat, TRANSPOSED),
    Mutation("hprebn", "db1", lambda b1: torch.zeros_like(b1), ZERO),
    Mutation("hprebn", "db1", lambda dhprebn: -dhprebn.sum(0), SIGN),
    Mutation("hprebn", "dembcat", lambda W1, dhprebn: (W1 @ dhprebn.T), TRANSPOSED),
    Mutation("embcat", "demb", lambda dembcat: dembcat.clone(), KEEPDIM[:36]),
    Mutation("embcat", "demb", lambda emb, dembcat: dembcat.view(len(emb), emb.shape[2], emb.shape[1]).transpose(1, 2)),
    # The lecture's own warning: a letter's row is used many times; overwriting keeps only one of them.
    Mutation("emb", "dC", lambda C, X, demb: torch.zeros_like(C).index_put((X,), demb)),
    Mutation("emb", "dC", lambda C, X, demb: torch.zeros_like(C).index_add(0, X[:, 0], demb[:, 0])),
]  # fmt: skip


def _right(logprobs: torch.Tensor, Y: torch.Tensor, value: float) -> torch.Tensor:
    return torch.zeros_like(logprobs).scatter(1, Y[:, None], value)


def mutated(m: Mutation) -> Chain:
    def lines(step: Step) -> dict[str, Line]:
        changed = dict(step.backward)
        if m.wrong is None:
            del changed[m.target]
        else:
            changed[m.target] = m.wrong
        return changed

    table = tuple(replace(s, backward=lines(s)) if s.name == m.step else s for s in steps.STEPS)
    return replace(steps.network_chain(), steps=table)


# In float32 everything is held against float64 too; so a part of them is enough there.
BOTH = [(m, dtype) for i, m in enumerate(MUTATIONS) for dtype in (torch.float32, torch.float64)[: 1 + (i % 4 == 0)]]


@pytest.mark.every(20)
@pytest.mark.parametrize(
    ("m", "dtype"),
    BOTH,
    ids=lambda given: f"{given.target}-in-{given.step}" if isinstance(given, Mutation) else str(given),
)
def test_a_wrong_line_is_caught_named_and_diagnosed(m: Mutation, dtype: torch.dtype) -> None:
    report = gradcheck(NetworkProblem(*problem(n=11, T=3, E=4, H=16, V=27, dtype=dtype), EPS, 0.0), chain=mutated(m))
    assert not report.ok
    first = report.wrong_lines[0]
    assert (first.step, f"d{first.comparison.tensor}") == (m.step, m.target)
    assert len(report.wrong_lines) == 1
    if m.wrong is None:
        assert first.comparison.fault == "there is no gradient"
    elif m.told is not None:
        assert first.diagnosis is not None
        assert m.told in first.diagnosis
    # What comes after the wrong line inherits its error and is not blamed.
    blamed = [f.comparison.tensor for f in report.sections[0].findings if f.alone is False]
    stopped = report.faults and "after that, the chain can't continue" in report.faults[0]
    assert stopped or blamed == [m.target[1:]]


def test_there_are_enough_of_them() -> None:
    assert len(MUTATIONS) >= 40
    assert sum(m.told is not None or m.wrong is None for m in MUTATIONS) >= 35
    every = {(s.name, target) for s in steps.STEPS for target in s.backward}
    assert {(m.step, m.target) for m in MUTATIONS} == every


@pytest.mark.every(6)
@pytest.mark.parametrize(
    "wrong",
    [
        lambda logprobs, Y, n, dloss: _right(logprobs, Y, -1.0 / n) * dloss,  # not smoothed at all
        lambda logprobs, Y, n, smoothing, dloss: _right(logprobs, Y, (smoothing - 1) / n) * dloss,  # a part is missing
        lambda logprobs, Y, n, smoothing, dloss: (_right(logprobs, Y, (smoothing - 1) / n) - smoothing / n) * dloss,
        lambda logprobs, Y, n, smoothing, dloss: (
            (_right(logprobs, Y, (smoothing - 1) / n) + smoothing / logprobs.numel()) * dloss
        ),
        lambda logprobs, Y, n, smoothing, dloss: (_right(logprobs, Y, -1.0 / n) - smoothing / logprobs.numel()) * dloss,
    ],
    ids=["none", "one-hot", "not-shared", "sign", "too-much"],
)
def test_wrong_lines_of_the_smoothed_loss_are_caught(wrong: Line) -> None:
    right = steps.network_chain(smoothed=True)
    table = tuple(replace(s, backward={"dlogprobs": wrong}) if s.name == "loss" else s for s in right.steps)
    one = NetworkProblem(*problem(n=11, T=3, E=4, H=16, V=27), EPS, 0.1)
    report = gradcheck(one, chain=replace(right, steps=table))
    assert [(line.step, line.comparison.tensor) for line in report.wrong_lines] == [("loss", "logprobs")]


@pytest.mark.parametrize("target", ["dembcat", "dW1"])
def test_the_lines_without_b1_are_checked_too(target: str) -> None:
    def negated(line: Line) -> Line:
        return {  # a line is called by the names of its arguments
            ("W1", "dhprebn"): lambda W1, dhprebn: -line(W1, dhprebn),
            ("embcat", "dhprebn"): lambda embcat, dhprebn: -line(embcat, dhprebn),
        }[arguments(line)]

    right = steps.network_chain(first_bias=False)
    table = tuple(
        replace(s, backward={t: negated(line) if t == target else line for t, line in s.backward.items()})
        if s.name == "hprebn"
        else s
        for s in right.steps
    )
    one = NetworkProblem(*problem(n=7, first_bias=False), EPS, 0.0)
    report = gradcheck(one, chain=replace(right, steps=table))
    assert [(c.step, f"d{c.comparison.tensor}", c.diagnosis) for c in report.wrong_lines] == [("hprebn", target, SIGN)]


def test_parentheses_that_cannot_be_left_out() -> None:
    """Without them, (-x ** 2).exp() would not be Python."""
    names = {name: torch.linspace(0.5, 1.5, 4, dtype=torch.float64) for name in ("x", "y", "dy")}
    own = step("y", lambda x: (-(x**2)).exp(), dx=lambda x, y, dy: -2 * x * (-(x**2)).exp() * dy)
    assert any(one.value(names) is not None for one in mutations_of(own.backward["dx"], names, {"y": own}))
