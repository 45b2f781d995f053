"""The atomic chain: every forward line beside its backward lines, as one table.

Each `step` computes one tensor. Its forward line is a function of the tensors it reads; each of its backward lines
gives what this step adds to the gradient of one of them, from the step's own gradient and what it needs of the forward
pass. A line's arguments are the names of the tensors, as in the lecture's first exercise, `d` in front for a gradient,
so a step can be run and checked by itself.

    n examples · T letters of context · E numbers a letter · H hidden units · V letters

Two lines differ from the lecture's notebook by one rounding, so that all 26 gradients equal autograd's bit for bit:
`dprobs` divides once instead of multiplying by a reciprocal, and `1 − h²` is one fused multiply-add.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from makemore_cli.network.model import BATCHNORM_EPSILON
from makemore_cli.network.parameters import Parameters

Line = Callable[..., Tensor]
Values = dict[str, Any]  # tensors by name, and the plain numbers n, eps and smoothing


@dataclass(frozen=True)
class Step:
    """One line of the forward pass and the lines that take its gradient back."""

    name: str  # the tensor that it computes
    shape: str
    forward: Line
    backward: Mapping[str, Line]  # by the name of the gradient that the line adds to
    rule: str
    why: str


def step(name: str, shape: str, forward: Line, *, rule: str, why: str, **backward: Line) -> Step:
    """Write a step as it reads in the table: `dlogits=lambda …` is the line that adds to dlogits."""
    return Step(name, shape, forward, backward, rule, why)


STEPS: tuple[Step, ...] = (
    step(
        "emb",
        "n T E",
        lambda C, X: C[X],
        dC=lambda C, X, demb: torch.zeros_like(C).index_add_(0, X.flatten(), demb.flatten(0, 1)),
        rule="look-up ⇄ add where it was looked up",
        why="A row of C is used wherever its letter stands, so it gathers the gradients of all these places.",
    ),
    step(
        "embcat",
        "n T·E",
        lambda emb: emb.flatten(1),
        demb=lambda emb, dembcat: dembcat.view(emb.shape),
        rule="view ⇄ view",
        why="The same numbers in another shape: their gradients are put back into the old one.",
    ),
    step(
        "hprebn",
        "n H",
        lambda embcat, W1, b1: embcat @ W1 + b1,
        dembcat=lambda W1, dhprebn: dhprebn @ W1.T,
        dW1=lambda embcat, dhprebn: embcat.T @ dhprebn,
        db1=lambda dhprebn: dhprebn.sum(0),
        rule="matrix product ⇄ product with the other factor, transposed; broadcast ⇄ sum",
        why="Each entry is a sum of products, so each factor gets the gradient times the other; only one order fits "
        "the shapes. b1 is added to every row, so it gets the sum over rows.",
    ),
    step(
        "bnmeani",
        "1 H",
        lambda hprebn, n: 1 / n * hprebn.sum(0, keepdim=True),
        dhprebn=lambda hprebn, n, dbnmeani: 1.0 / n * (torch.ones_like(hprebn) * dbnmeani),
        rule="sum ⇄ broadcast",
        why="Every row counts 1/n in its column's mean, so every row gets 1/n of the mean's gradient.",
    ),
    step(
        "bndiff",
        "n H",
        lambda hprebn, bnmeani: hprebn - bnmeani,
        dbnmeani=lambda dbndiff: -dbndiff.sum(0, keepdim=True),
        dhprebn=lambda dbndiff: dbndiff,
        rule="difference ⇄ copy and negation; broadcast ⇄ sum",
        why="The mean is taken from every row, so it gets the sum over rows, with a minus.",
    ),
    step(
        "bndiff2",
        "n H",
        lambda bndiff: bndiff**2,
        dbndiff=lambda bndiff, dbndiff2: 2 * bndiff * dbndiff2,
        rule="power ⇄ local derivative",
        why="The derivative of x² is 2x.",
    ),
    step(
        "bnvar",
        "1 H",
        lambda bndiff2, n: 1 / (n - 1) * bndiff2.sum(0, keepdim=True),
        dbndiff2=lambda bndiff2, n, dbnvar: 1.0 / (n - 1) * (torch.ones_like(bndiff2) * dbnvar),
        rule="sum ⇄ broadcast",
        why="As in the mean, but each row counts 1/(n−1): Bessel's correction, for the mean is the batch's own.",
    ),
    step(
        "bnvar_inv",
        "1 H",
        lambda bnvar, eps: (bnvar + eps) ** -0.5,
        dbnvar=lambda bnvar, eps, dbnvar_inv: -0.5 * (bnvar + eps) ** -1.5 * dbnvar_inv,
        rule="power ⇄ local derivative",
        why="The derivative of x to the −1/2 is −1/2 · x to the −3/2.",
    ),
    step(
        "bnraw",
        "n H",
        lambda bndiff, bnvar_inv: bndiff * bnvar_inv,
        dbnvar_inv=lambda bndiff, dbnraw: (bndiff * dbnraw).sum(0, keepdim=True),
        dbndiff=lambda bnvar_inv, dbnraw: bnvar_inv * dbnraw,
        rule="product ⇄ the other factor; broadcast ⇄ sum",
        why="One inverse deviation scales a whole column, so it gets the column's sum.",
    ),
    step(
        "hpreact",
        "n H",
        lambda bngain, bnraw, bnbias: bngain * bnraw + bnbias,
        dbngain=lambda bnraw, dhpreact: (bnraw * dhpreact).sum(0, keepdim=True),
        dbnbias=lambda dhpreact: dhpreact.sum(0, keepdim=True),
        dbnraw=lambda bngain, dhpreact: bngain * dhpreact,
        rule="product ⇄ the other factor; broadcast ⇄ sum",
        why="Gain and bias serve all rows of their column, so both get sums over rows.",
    ),
    step(
        "h",
        "n H",
        lambda hpreact: torch.tanh(hpreact),
        dhpreact=lambda h, dh: torch.addcmul(torch.ones_like(h), h, h, value=-1) * dh,
        rule="tanh ⇄ local derivative",
        why="The derivative of tanh is 1 − tanh², which the forward pass has at hand.",
    ),
    step(
        "logits",
        "n V",
        lambda h, W2, b2: h @ W2 + b2,
        dh=lambda W2, dlogits: dlogits @ W2.T,
        dW2=lambda h, dlogits: h.T @ dlogits,
        db2=lambda dlogits: dlogits.sum(0),
        rule="matrix product ⇄ product with the other factor, transposed; broadcast ⇄ sum",
        why="As in the first linear layer.",
    ),
    step(
        "logit_maxes",
        "n 1",
        lambda logits: logits.max(1, keepdim=True).values,
        dlogits=lambda logits, dlogit_maxes: torch.zeros_like(logits).scatter(
            1, logits.max(1, keepdim=True).indices, dlogit_maxes
        ),
        rule="choice ⇄ to the chosen one",
        why="Only the entry that was largest has any say. Shifting a row changes no probability, so dlogit_maxes is "
        "zero but for rounding, and this line moves nothing: it must still be right.",
    ),
    step(
        "norm_logits",
        "n V",
        lambda logits, logit_maxes: logits - logit_maxes,
        dlogit_maxes=lambda dnorm_logits: -dnorm_logits.sum(1, keepdim=True),
        dlogits=lambda dnorm_logits: dnorm_logits,
        rule="difference ⇄ copy and negation; broadcast ⇄ sum",
        why="The maximum is taken from every entry of its row, so it gets the sum over the row, with a minus.",
    ),
    step(
        "counts",
        "n V",
        lambda norm_logits: norm_logits.exp(),
        dnorm_logits=lambda counts, dcounts: counts * dcounts,
        rule="exp ⇄ itself",
        why="The derivative of exp is exp, which the forward pass has at hand.",
    ),
    step(
        "counts_sum",
        "n 1",
        lambda counts: counts.sum(1, keepdim=True),
        dcounts=lambda counts, dcounts_sum: torch.ones_like(counts) * dcounts_sum,
        rule="sum ⇄ broadcast",
        why="Every entry of a row counts once in its sum.",
    ),
    step(
        "counts_sum_inv",
        "n 1",
        lambda counts_sum: counts_sum**-1,
        dcounts_sum=lambda counts_sum, dcounts_sum_inv: -(counts_sum**-2) * dcounts_sum_inv,
        rule="power ⇄ local derivative",
        why="The derivative of 1/x is −1/x².",
    ),
    step(
        "probs",
        "n V",
        lambda counts, counts_sum_inv: counts * counts_sum_inv,
        dcounts_sum_inv=lambda counts, dprobs: (counts * dprobs).sum(1, keepdim=True),
        dcounts=lambda counts_sum_inv, dprobs: counts_sum_inv * dprobs,
        rule="product ⇄ the other factor; broadcast ⇄ sum",
        why="One inverse sum scales a whole row, so it gets the row's sum.",
    ),
    step(
        "logprobs",
        "n V",
        lambda probs: probs.log(),
        dprobs=lambda probs, dlogprobs: dlogprobs / probs,
        rule="log ⇄ local derivative",
        why="The derivative of log x is 1/x: a letter that was given little probability pulls hard.",
    ),
    step(
        "loss",
        "",
        lambda logprobs, Y, n: -logprobs[torch.arange(n, device=Y.device), Y].mean(),
        dlogprobs=lambda logprobs, Y, n, dloss: torch.zeros_like(logprobs).scatter(
            1, Y[:, None], (-dloss / n).expand(n, 1)
        ),
        rule="choice ⇄ to the chosen one; mean ⇄ 1/n each",
        why="The loss reads one log probability a row, the right letter's, and each counts −1/n.",
    ),
)

# The parameters, in the lecture's order.
PARAMETERS = {"C": "V E", "W1": "T·E H", "b1": "H", "W2": "H V", "b2": "V", "bngain": "1 H", "bnbias": "1 H"}
# The shape of everything that has one.
SHAPES = {"X": "n T", "Y": "n"} | PARAMETERS | {s.name: s.shape for s in STEPS}

_WITHOUT_B1 = step(
    "hprebn",
    "n H",
    lambda embcat, W1: embcat @ W1,
    dembcat=lambda W1, dhprebn: dhprebn @ W1.T,
    dW1=lambda embcat, dhprebn: embcat.T @ dhprebn,
    rule="matrix product ⇄ product with the other factor, transposed",
    why="Each entry is a sum of products, so each factor gets the gradient times the other; only one order fits "
    "the shapes.",
)


_SMOOTHED = step(
    "loss",
    "",
    lambda logprobs, Y, n, smoothing: (
        -(1 - smoothing) * logprobs[torch.arange(n, device=Y.device), Y].mean() - smoothing * logprobs.mean()
    ),
    dlogprobs=lambda logprobs, Y, n, smoothing, dloss: (
        torch.zeros_like(logprobs).scatter(1, Y[:, None], (-(1 - smoothing) * dloss / n).expand(n, 1))
        - smoothing * dloss / logprobs.numel()
    ),
    rule="choice ⇄ to the chosen one; mean ⇄ 1/n each",
    why="The right letter's log probability has all but a part of the target, and all letters of the row share that "
    "part alike, the right one too: smoothing / V each.",
)


def steps(first_bias: bool = True, smoothed: bool = False) -> tuple[Step, ...]:
    """The table, with or without the first linear layer's bias and label smoothing."""
    others = ([] if first_bias else [_WITHOUT_B1]) + ([_SMOOTHED] if smoothed else [])
    by_name = {other.name: other for other in others}
    return tuple(by_name.get(s.name, s) for s in STEPS)


def table_of(values: Mapping[str, Any]) -> tuple[Step, ...]:
    """The table that a forward pass's values come from."""
    return steps("b1" in values, values["smoothing"] > 0)


def up_to(name: str, first_bias: bool = True) -> tuple[Step, ...]:
    """The table as far as a tensor."""
    table = steps(first_bias)
    return table[: [s.name for s in table].index(name) + 1]


def gradient_names(table: Sequence[Step]) -> tuple[str, ...]:
    """The tensors that have gradients, in the order in which these become complete, which is the lecture's."""
    names: dict[str, None] = {}
    for s in reversed(table):
        for target in s.backward:
            names.pop(target[1:], None)  # taken out, so that it comes back in last place
            names[target[1:]] = None
    return tuple(names)


@cache
def arguments(line: Line) -> tuple[str, ...]:
    """Names of the tensors that a line reads."""
    return tuple(inspect.signature(line).parameters)


def run(line: Line, values: Mapping[str, Any]) -> Tensor:
    """Call a line with what it reads, by name."""
    return line(*(values[name] for name in arguments(line)))


def forward(
    parameters: Parameters,
    X: Int[Tensor, "n context"],
    Y: Int[Tensor, " n"],
    *,
    eps: float = BATCHNORM_EPSILON,
    smoothing: float = 0.0,
    table: Sequence[Step] | None = None,
) -> Values:
    """Run the forward lines. Returns every tensor by its name, with the parameters, X, Y, n, eps and smoothing.

    Raises ValueError for a batch of one example, which has no variance (n − 1 is zero).
    """
    n = len(X)
    if n < 2:
        raise ValueError("batchnorm needs at least 2 examples: the variance divides by n − 1")
    values: Values = {**parameters.views, "X": X, "Y": Y, "n": n, "eps": eps, "smoothing": smoothing}
    for s in table or steps(parameters.sizes.first_bias, smoothing > 0):
        values[s.name] = run(s.forward, values)
    return values


def backward(
    values: Values, *, table: Sequence[Step] | None = None, above: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Run the backward lines from the loss up. Returns each tensor's gradient by the tensor's name.

    Where a tensor is used twice, what comes back through both uses is added. Changes nothing in `values`. A table that
    ends before the loss needs the gradient from `above`: {"dlogits": …}.
    """
    table = table or table_of(values)
    gradients = dict(above or {"dloss": torch.ones_like(values["loss"])})
    for s in reversed(table):
        for target, line in s.backward.items():
            contribution = run(line, {**values, **gradients})
            gradients[target] = gradients[target] + contribution if target in gradients else contribution
    return {name: gradients[f"d{name}"] for name in gradient_names(table)}
