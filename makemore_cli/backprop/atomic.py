"""The atomic chain: a table of every forward line of the network and its backward lines.

    n examples · T context length · E embedding size · H hidden units · V vocabulary size

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
        rule="lookup ⇄ add to the rows looked up",
        why="A row of C is used wherever its character occurs, so it gets the sum of the gradients of all its uses.",
    ),
    step(
        "embcat",
        lambda emb: emb.flatten(1),
        demb=lambda emb, dembcat: dembcat.view(emb.shape),
        shape="n T·E",
        rule="view ⇄ view",
        why="Only the shape changes, so the gradient is reshaped back.",
    ),
    step(
        "hprebn",
        lambda embcat, W1, b1: embcat @ W1 + b1,
        dembcat=lambda W1, dhprebn: dhprebn @ W1.T,
        dW1=lambda embcat, dhprebn: embcat.T @ dhprebn,
        db1=lambda dhprebn: dhprebn.sum(0),
        shape="n H",
        rule="matrix product ⇄ product with the other factor, transposed; broadcast ⇄ sum",
        why="Each entry is a sum of products, so each factor gets the upstream gradient times the other factor; only "
        "one order fits the shapes. b1 is added to every row, so it gets the sum over the rows.",
    ),
    step(
        "bnmeani",
        lambda hprebn, n: 1 / n * hprebn.sum(0, keepdim=True),
        dhprebn=lambda hprebn, n, dbnmeani: 1.0 / n * (torch.ones_like(hprebn) * dbnmeani),
        shape="1 H",
        rule="sum ⇄ broadcast",
        why="Every entry has weight 1/n in its column's mean, so it gets 1/n of the mean's gradient.",
    ),
    step(
        "bndiff",
        lambda hprebn, bnmeani: hprebn - bnmeani,
        dbnmeani=lambda dbndiff: -dbndiff.sum(0, keepdim=True),
        dhprebn=lambda dbndiff: dbndiff,
        shape="n H",
        rule="difference ⇄ copy and negation; broadcast ⇄ sum",
        why="Every row gets its gradient unchanged. The mean is subtracted from every row, so it gets minus the sum "
        "over the rows.",
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
        why="Every entry has weight 1/(n−1) in the sum. This is Bessel's correction of 1/n, needed because the mean "
        "comes from the same batch.",
    ),
    step(
        "bnvar_inv",
        lambda bnvar, eps: (bnvar + eps) ** -0.5,
        dbnvar=lambda bnvar, eps, dbnvar_inv: -0.5 * (bnvar + eps) ** -1.5 * dbnvar_inv,
        shape="1 H",
        rule="power ⇄ local derivative",
        why="The derivative of x^(−1/2) is −1/2 · x^(−3/2).",
    ),
    step(
        "bnraw",
        lambda bndiff, bnvar_inv: bndiff * bnvar_inv,
        dbnvar_inv=lambda bndiff, dbnraw: (bndiff * dbnraw).sum(0, keepdim=True),
        dbndiff=lambda bnvar_inv, dbnraw: bnvar_inv * dbnraw,
        shape="n H",
        rule="product ⇄ the other factor; broadcast ⇄ sum",
        why="One inverse standard deviation scales a whole column, so it gets the sum over that column.",
    ),
    step(
        "hpreact",
        lambda bngain, bnraw, bnbias: bngain * bnraw + bnbias,
        dbngain=lambda bnraw, dhpreact: (bnraw * dhpreact).sum(0, keepdim=True),
        dbnbias=lambda dhpreact: dhpreact.sum(0, keepdim=True),
        dbnraw=lambda bngain, dhpreact: bngain * dhpreact,
        shape="n H",
        rule="product ⇄ the other factor; broadcast ⇄ sum",
        why="Gain and bias are shared by all rows, so both get sums over the rows.",
    ),
    step(
        "h",
        lambda hpreact: torch.tanh(hpreact),
        dhpreact=lambda h, dh: torch.addcmul(torch.ones_like(h), h, h, value=-1) * dh,
        shape="n H",
        rule="tanh ⇄ local derivative",
        why="The derivative of tanh is 1 − tanh², which needs only the output h. PyTorch's backward pass of tanh also "
        "uses the output.",
    ),
    step(
        "logits",
        lambda h, W2, b2: h @ W2 + b2,
        dh=lambda W2, dlogits: dlogits @ W2.T,
        dW2=lambda h, dlogits: h.T @ dlogits,
        db2=lambda dlogits: dlogits.sum(0),
        shape="n V",
        rule="matrix product ⇄ product with the other factor, transposed; broadcast ⇄ sum",
        why="The same as in the first linear layer: each factor gets the upstream gradient times the other factor, and "
        "b2 gets the sum over the rows.",
    ),
    step(
        "logit_maxes",
        lambda logits: logits.max(1, keepdim=True).values,
        dlogits=lambda logits, dlogit_maxes: torch.zeros_like(logits).scatter(
            1, logits.max(1, keepdim=True).indices, dlogit_maxes
        ),
        shape="n 1",
        rule="selection ⇄ gradient to the selected entry",
        why="Only the largest entry of a row affects the result, so it gets the whole gradient. Shifting a row changes "
        "no probability, so dlogit_maxes is zero except for rounding. This line then contributes nothing, but it must "
        "still be right.",
    ),
    step(
        "norm_logits",
        lambda logits, logit_maxes: logits - logit_maxes,
        dlogit_maxes=lambda dnorm_logits: -dnorm_logits.sum(1, keepdim=True),
        dlogits=lambda dnorm_logits: dnorm_logits,
        shape="n V",
        rule="difference ⇄ copy and negation; broadcast ⇄ sum",
        why="Every entry gets its gradient unchanged. The maximum is subtracted from every entry of its row, so it "
        "gets minus the sum over the row.",
    ),
    step(
        "counts",
        lambda norm_logits: norm_logits.exp(),
        dnorm_logits=lambda counts, dcounts: counts * dcounts,
        shape="n V",
        rule="exp ⇄ itself",
        why="The derivative of exp is exp itself, which the forward pass has already computed.",
    ),
    step(
        "counts_sum",
        lambda counts: counts.sum(1, keepdim=True),
        dcounts=lambda counts, dcounts_sum: torch.ones_like(counts) * dcounts_sum,
        shape="n 1",
        rule="sum ⇄ broadcast",
        why="Every entry has weight 1 in its row's sum, so it gets the sum's gradient unchanged.",
    ),
    step(
        "counts_sum_inv",
        lambda counts_sum: counts_sum**-1,
        dcounts_sum=lambda counts_sum, dcounts_sum_inv: -(counts_sum**-2) * dcounts_sum_inv,
        shape="n 1",
        rule="power ⇄ local derivative",
        why="The derivative of 1/x is −1/x². The lecture multiplies by this power instead of dividing: PyTorch's "
        "backward pass of a division computes in another order, and its last bits differ from a hand-written line's.",
    ),
    step(
        "probs",
        lambda counts, counts_sum_inv: counts * counts_sum_inv,
        dcounts_sum_inv=lambda counts, dprobs: (counts * dprobs).sum(1, keepdim=True),
        dcounts=lambda counts_sum_inv, dprobs: counts_sum_inv * dprobs,
        shape="n V",
        rule="product ⇄ the other factor; broadcast ⇄ sum",
        why="One inverse sum scales a whole row, so it gets the sum over that row.",
    ),
    step(
        "logprobs",
        lambda probs: probs.log(),
        dprobs=lambda probs, dlogprobs: dlogprobs / probs,
        shape="n V",
        rule="log ⇄ local derivative",
        why="The derivative of log x is 1/x, so a small probability makes the gradient large.",
    ),
    step(
        "loss",
        lambda logprobs, Y, n: -logprobs[torch.arange(n, device=Y.device), Y].mean(),
        dlogprobs=lambda logprobs, Y, n, dloss: torch.zeros_like(logprobs).scatter(
            1, Y[:, None], (-dloss / n).expand(n, 1)
        ),
        shape="",
        rule="selection ⇄ gradient to the selected entry; mean ⇄ 1/n each",
        why="The loss reads one log probability per row, that of the target character, with weight −1/n.",
    ),
)

# The parameters, in the lecture's order.
PARAMETERS = {"C": "V E", "W1": "T·E H", "b1": "H", "W2": "H V", "b2": "V", "bngain": "1 H", "bnbias": "1 H"}

LAYERS = {
    "embedding": "emb embcat",
    "first linear layer": "hprebn",
    "batchnorm": "bnmeani bndiff bndiff2 bnvar bnvar_inv bnraw hpreact",
    "tanh": "h",
    "second linear layer": "logits",
    "cross-entropy": "logit_maxes norm_logits counts counts_sum counts_sum_inv probs logprobs loss",
}

_WITHOUT_B1 = step(
    "hprebn",
    lambda embcat, W1: embcat @ W1,
    dembcat=lambda W1, dhprebn: dhprebn @ W1.T,
    dW1=lambda embcat, dhprebn: embcat.T @ dhprebn,
    shape="n H",
    rule="matrix product ⇄ product with the other factor, transposed",
    why="Each entry is a sum of products, so each factor gets the upstream gradient times the other factor; only "
    "one order fits the shapes.",
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
    rule="selection ⇄ gradient to the selected entry; mean ⇄ 1/n each",
    why="The target character gets probability mass 1 − smoothing. The rest is spread evenly over the vocabulary, "
    "the target character included: smoothing / V each.",
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
    steps = (by_name.get(s.name, s) for s in STEPS)
    return chain("the network", inputs, *steps, stages=STAGES, layers=LAYERS)


@cache
def network_up_to(name: str, first_bias: bool = True) -> Chain:
    """The chain up to and including a tensor."""
    return network_chain(first_bias).up_to(name)


# The declared shapes, by name.
SHAPES = network_chain().shapes


def given(
    parameters: Parameters,
    X: Int[Tensor, "n context"],
    Y: Int[Tensor, " n"],
    eps: float = BATCHNORM_EPSILON,
    smoothing: float = 0.0,
) -> Values:
    """The chain's inputs by name: the parameters, X, Y, n, eps and smoothing.

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
    """Run the chain's forward lines. Returns the inputs and all tensors by name.

    Raises ValueError for a batch of one example.
    """
    values = given(parameters, X, Y, eps, smoothing)
    return network_chain(parameters.sizes.first_bias, smoothing > 0).forward(values)


def backward(values: Values) -> dict[str, Tensor]:
    """Run the chain's backward lines on the result of `forward`. Returns the gradients by the tensors' names."""
    return network_chain("b1" in values, values["smoothing"] > 0).backward(values)
