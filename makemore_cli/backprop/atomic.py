"""The atomic chain: every forward line of the network beside its backward lines, as one table.

    n examples · T letters of context · E numbers a letter · H hidden units · V letters

Two lines differ from the lecture's notebook by one rounding, so that all 26 gradients equal autograd's bit for bit:
`dprobs` divides once instead of multiplying by a reciprocal, and `1 − h²` is one fused multiply-add.
"""

from __future__ import annotations

from functools import cache

import torch
from jaxtyping import Int
from torch import Tensor

from makemore_cli.backprop.chain import Chain, chain
from makemore_cli.backprop.derivations import STAGES
from makemore_cli.backprop.inputs import index
from makemore_cli.backprop.step import Step, Values, step
from makemore_cli.network.model import BATCHNORM_EPSILON
from makemore_cli.network.parameters import Parameters

STEPS: tuple[Step, ...] = (
    step(
        "emb",
        lambda C, X: C[X],
        dC=lambda C, X, demb: torch.zeros_like(C).index_add_(0, X.flatten(), demb.flatten(0, 1)),
        shape="n T E",
        rule="look-up ⇄ add where it was looked up",
        why="A row of C is used wherever its letter stands, so it gathers the gradients of all these places.",
    ),
    step(
        "embcat",
        lambda emb: emb.flatten(1),
        demb=lambda emb, dembcat: dembcat.view(emb.shape),
        shape="n T·E",
        rule="view ⇄ view",
        why="The same numbers in another shape: their gradients are put back into the old one.",
    ),
    step(
        "hprebn",
        lambda embcat, W1, b1: embcat @ W1 + b1,
        dembcat=lambda W1, dhprebn: dhprebn @ W1.T,
        dW1=lambda embcat, dhprebn: embcat.T @ dhprebn,
        db1=lambda dhprebn: dhprebn.sum(0),
        shape="n H",
        rule="matrix product ⇄ product with the other factor, transposed; broadcast ⇄ sum",
        why="Each entry is a sum of products, so each factor gets the gradient times the other; only one order fits "
        "the shapes. b1 is added to every row, so it gets the sum over rows.",
    ),
    step(
        "bnmeani",
        lambda hprebn, n: 1 / n * hprebn.sum(0, keepdim=True),
        dhprebn=lambda hprebn, n, dbnmeani: 1.0 / n * (torch.ones_like(hprebn) * dbnmeani),
        shape="1 H",
        rule="sum ⇄ broadcast",
        why="Every row counts 1/n in its column's mean, so every row gets 1/n of the mean's gradient.",
    ),
    step(
        "bndiff",
        lambda hprebn, bnmeani: hprebn - bnmeani,
        dbnmeani=lambda dbndiff: -dbndiff.sum(0, keepdim=True),
        dhprebn=lambda dbndiff: dbndiff,
        shape="n H",
        rule="difference ⇄ copy and negation; broadcast ⇄ sum",
        why="The mean is taken from every row, so it gets the sum over rows, with a minus.",
    ),
    step(
        "bndiff2",
        lambda bndiff: bndiff**2,
        dbndiff=lambda bndiff, dbndiff2: 2 * bndiff * dbndiff2,
        shape="n H",
        rule="power ⇄ local derivative",
        why="The derivative of x² is 2x.",
    ),
    step(
        "bnvar",
        lambda bndiff2, n: 1 / (n - 1) * bndiff2.sum(0, keepdim=True),
        dbndiff2=lambda bndiff2, n, dbnvar: 1.0 / (n - 1) * (torch.ones_like(bndiff2) * dbnvar),
        shape="1 H",
        rule="sum ⇄ broadcast",
        why="As in the mean, but each row counts 1/(n−1): Bessel's correction, for the mean is the batch's own.",
    ),
    step(
        "bnvar_inv",
        lambda bnvar, eps: (bnvar + eps) ** -0.5,
        dbnvar=lambda bnvar, eps, dbnvar_inv: -0.5 * (bnvar + eps) ** -1.5 * dbnvar_inv,
        shape="1 H",
        rule="power ⇄ local derivative",
        why="The derivative of x to the −1/2 is −1/2 · x to the −3/2.",
    ),
    step(
        "bnraw",
        lambda bndiff, bnvar_inv: bndiff * bnvar_inv,
        dbnvar_inv=lambda bndiff, dbnraw: (bndiff * dbnraw).sum(0, keepdim=True),
        dbndiff=lambda bnvar_inv, dbnraw: bnvar_inv * dbnraw,
        shape="n H",
        rule="product ⇄ the other factor; broadcast ⇄ sum",
        why="One inverse deviation scales a whole column, so it gets the column's sum.",
    ),
    step(
        "hpreact",
        lambda bngain, bnraw, bnbias: bngain * bnraw + bnbias,
        dbngain=lambda bnraw, dhpreact: (bnraw * dhpreact).sum(0, keepdim=True),
        dbnbias=lambda dhpreact: dhpreact.sum(0, keepdim=True),
        dbnraw=lambda bngain, dhpreact: bngain * dhpreact,
        shape="n H",
        rule="product ⇄ the other factor; broadcast ⇄ sum",
        why="Gain and bias serve all rows of their column, so both get sums over rows.",
    ),
    step(
        "h",
        lambda hpreact: torch.tanh(hpreact),
        dhpreact=lambda h, dh: torch.addcmul(torch.ones_like(h), h, h, value=-1) * dh,
        shape="n H",
        rule="tanh ⇄ local derivative",
        why="The derivative of tanh is 1 − tanh², which the forward pass has at hand. PyTorch's own backward pass of "
        "tanh takes its output too.",
    ),
    step(
        "logits",
        lambda h, W2, b2: h @ W2 + b2,
        dh=lambda W2, dlogits: dlogits @ W2.T,
        dW2=lambda h, dlogits: h.T @ dlogits,
        db2=lambda dlogits: dlogits.sum(0),
        shape="n V",
        rule="matrix product ⇄ product with the other factor, transposed; broadcast ⇄ sum",
        why="As in the first linear layer.",
    ),
    step(
        "logit_maxes",
        lambda logits: logits.max(1, keepdim=True).values,
        dlogits=lambda logits, dlogit_maxes: torch.zeros_like(logits).scatter(
            1, logits.max(1, keepdim=True).indices, dlogit_maxes
        ),
        shape="n 1",
        rule="choice ⇄ to the chosen one",
        why="Only the entry that was largest has any say. Shifting a row changes no probability, so dlogit_maxes is "
        "zero but for rounding, and this line moves nothing: it must still be right.",
    ),
    step(
        "norm_logits",
        lambda logits, logit_maxes: logits - logit_maxes,
        dlogit_maxes=lambda dnorm_logits: -dnorm_logits.sum(1, keepdim=True),
        dlogits=lambda dnorm_logits: dnorm_logits,
        shape="n V",
        rule="difference ⇄ copy and negation; broadcast ⇄ sum",
        why="The maximum is taken from every entry of its row, so it gets the sum over the row, with a minus.",
    ),
    step(
        "counts",
        lambda norm_logits: norm_logits.exp(),
        dnorm_logits=lambda counts, dcounts: counts * dcounts,
        shape="n V",
        rule="exp ⇄ itself",
        why="The derivative of exp is exp, which the forward pass has at hand.",
    ),
    step(
        "counts_sum",
        lambda counts: counts.sum(1, keepdim=True),
        dcounts=lambda counts, dcounts_sum: torch.ones_like(counts) * dcounts_sum,
        shape="n 1",
        rule="sum ⇄ broadcast",
        why="Every entry of a row counts once in its sum.",
    ),
    step(
        "counts_sum_inv",
        lambda counts_sum: counts_sum**-1,
        dcounts_sum=lambda counts_sum, dcounts_sum_inv: -(counts_sum**-2) * dcounts_sum_inv,
        shape="n 1",
        rule="power ⇄ local derivative",
        why="The derivative of 1/x is −1/x². The lecture divides by way of this power: PyTorch's own division goes "
        "back in another order, and its last bits differ from those of a line by hand.",
    ),
    step(
        "probs",
        lambda counts, counts_sum_inv: counts * counts_sum_inv,
        dcounts_sum_inv=lambda counts, dprobs: (counts * dprobs).sum(1, keepdim=True),
        dcounts=lambda counts_sum_inv, dprobs: counts_sum_inv * dprobs,
        shape="n V",
        rule="product ⇄ the other factor; broadcast ⇄ sum",
        why="One inverse sum scales a whole row, so it gets the row's sum.",
    ),
    step(
        "logprobs",
        lambda probs: probs.log(),
        dprobs=lambda probs, dlogprobs: dlogprobs / probs,
        shape="n V",
        rule="log ⇄ local derivative",
        why="The derivative of log x is 1/x: a letter that was given little probability pulls hard.",
    ),
    step(
        "loss",
        lambda logprobs, Y, n: -logprobs[torch.arange(n, device=Y.device), Y].mean(),
        dlogprobs=lambda logprobs, Y, n, dloss: torch.zeros_like(logprobs).scatter(
            1, Y[:, None], (-dloss / n).expand(n, 1)
        ),
        shape="",
        rule="choice ⇄ to the chosen one; mean ⇄ 1/n each",
        why="The loss reads one log probability a row, the right letter's, and each counts −1/n.",
    ),
)

# The parameters, in the lecture's order.
PARAMETERS = {"C": "V E", "W1": "T·E H", "b1": "H", "W2": "H V", "b2": "V", "bngain": "1 H", "bnbias": "1 H"}

_WITHOUT_B1 = step(
    "hprebn",
    lambda embcat, W1: embcat @ W1,
    dembcat=lambda W1, dhprebn: dhprebn @ W1.T,
    dW1=lambda embcat, dhprebn: embcat.T @ dhprebn,
    shape="n H",
    rule="matrix product ⇄ product with the other factor, transposed",
    why="Each entry is a sum of products, so each factor gets the gradient times the other; only one order fits "
    "the shapes.",
)


_SMOOTHED = step(
    "loss",
    lambda logprobs, Y, n, smoothing: (
        -(1 - smoothing) * logprobs[torch.arange(n, device=Y.device), Y].mean() - smoothing * logprobs.mean()
    ),
    dlogprobs=lambda logprobs, Y, n, smoothing, dloss: (
        torch.zeros_like(logprobs).scatter(1, Y[:, None], (-(1 - smoothing) * dloss / n).expand(n, 1))
        - smoothing * dloss / logprobs.numel()
    ),
    shape="",
    rule="choice ⇄ to the chosen one; mean ⇄ 1/n each",
    why="The right letter's log probability has all but a part of the target, and all letters of the row share that "
    "part alike, the right one too: smoothing / V each.",
)


@cache
def network_chain(first_bias: bool = True, smoothed: bool = False) -> Chain:
    """The chain, with or without the first linear layer's bias and label smoothing."""
    others = ([] if first_bias else [_WITHOUT_B1]) + ([_SMOOTHED] if smoothed else [])
    by_name = {other.name: other for other in others}
    inputs = {"X": index("n T", "V"), "Y": index("n", "V"), **PARAMETERS, "eps": BATCHNORM_EPSILON}
    if not first_bias:
        del inputs["b1"]
    if smoothed:
        inputs["smoothing"] = 0.1
    return chain("the network", inputs, *(by_name.get(s.name, s) for s in STEPS), stages=STAGES)


@cache
def network_up_to(name: str, first_bias: bool = True) -> Chain:
    """The chain as far as a tensor."""
    return network_chain(first_bias).up_to(name)


# The shape of everything that has one.
SHAPES = network_chain().shapes


def given(
    parameters: Parameters,
    X: Int[Tensor, "n context"],
    Y: Int[Tensor, " n"],
    eps: float = BATCHNORM_EPSILON,
    smoothing: float = 0.0,
) -> Values:
    """What the chain begins with, by name: the parameters, X, Y, n, eps and smoothing.

    Raises ValueError for a batch of one example, which has no variance (n − 1 is zero).
    """
    n = len(X)
    if n < 2:
        raise ValueError("batchnorm needs at least 2 examples: the variance divides by n − 1")
    return {**parameters.views, "X": X, "Y": Y, "n": n, "eps": eps, "smoothing": smoothing}


def forward(
    parameters: Parameters,
    X: Int[Tensor, "n context"],
    Y: Int[Tensor, " n"],
    *,
    eps: float = BATCHNORM_EPSILON,
    smoothing: float = 0.0,
) -> Values:
    """Run the chain's forward lines. Returns every tensor by its name, with what the chain begins with.

    Raises ValueError for a batch of one example.
    """
    values = given(parameters, X, Y, eps, smoothing)
    return network_chain(parameters.sizes.first_bias, smoothing > 0).forward(values)


def backward(values: Values) -> dict[str, Tensor]:
    """Run the chain's backward lines on what `forward` has returned: each tensor's gradient by the tensor's name."""
    return network_chain("b1" in values, values["smoothing"] > 0).backward(values)
