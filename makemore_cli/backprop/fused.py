"""The training pass: the chain of `atomic.py` with cross-entropy and batchnorm differentiated in one expression each.

Arguments are left unchanged, so a second call gives the same gradients. A function changes its own tensors in place:
for batches this small, a new tensor costs as much as the arithmetic.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from makemore_cli.backprop.whole_batch import WHOLE, WholeBatch
from makemore_cli.network.model import BATCHNORM_EPSILON
from makemore_cli.network.parameters import Parameters


class Pass(NamedTuple):
    """The results of one forward and backward pass over a batch."""

    loss: Float[Tensor, ""]  # nats per character
    gradients: Parameters
    bnmean: Float[Tensor, "1 hidden"]  # the batch's own statistics
    bnvar: Float[Tensor, "1 hidden"]  # unbiased


def cross_entropy(
    logits: Float[Tensor, "here vocabulary"], Y: Int[Tensor, " here"], smoothing: float = 0.0, n: int | None = None
) -> tuple[Float[Tensor, ""], Float[Tensor, "here vocabulary"]]:
    """Mean cross-entropy in nats, and its gradient: dlogits = (softmax − onehot) / n (the lecture's exercise 2).

    Each row of dlogits sums to zero: a pull on the target, balanced by pushes on the others. With label smoothing
    (Szegedy et al., "Rethinking the Inception architecture", 2016), probability mass s is spread evenly over the
    vocabulary: dlogits = (softmax − (1 − s) · onehot − s/V) / n.

    `n` is the number of examples in the batch, if these are only some of them. The loss is then their part of it.
    """
    here, V = logits.shape
    n = here if n is None else n
    logprobs = logits.log_softmax(1)
    loss = F.nll_loss(logprobs, Y, reduction="sum").div_(n)
    if smoothing:
        loss = (1 - smoothing) * loss - smoothing * logprobs.sum() / (n * V)
    dlogits = logprobs.exp_().scatter_add_(1, Y[:, None], logits.new_full((here, 1), smoothing - 1))
    if smoothing:
        dlogits.sub_(smoothing / V)
    return loss, dlogits.div_(n)


def batchnorm_backward(
    dhpreact: Float[Tensor, "here hidden"],
    bnraw: Float[Tensor, "here hidden"],
    bnvar_inv: Float[Tensor, "1 hidden"],
    bngain: Float[Tensor, "1 hidden"],
    batch: WholeBatch = WHOLE,
) -> tuple[Float[Tensor, "here hidden"], Float[Tensor, "1 hidden"], Float[Tensor, "1 hidden"]]:
    """Gradients of batchnorm's input, gain and bias in one expression each (the lecture's exercise 3).

    dhprebn = γσ⁻¹/n · (n·dy − Σdy − n/(n−1) · x̂ · Σ(dy·x̂)), written with the two sums that gain and bias need anyway.
    If processes share the batch, n and the two sums are those of the whole batch. The gradients of gain and bias are of
    the examples here, as are all other gradients before they are exchanged.
    """
    n = batch.examples(len(bnraw))
    dbngain = (dhpreact * bnraw).sum(0, keepdim=True)
    dbnbias = dhpreact.sum(0, keepdim=True)
    sum_dy_xhat, sum_dy = batch.summed(dbngain, dbnbias)
    centred = torch.sub(dhpreact, sum_dy, alpha=1 / n).addcmul_(bnraw, sum_dy_xhat, value=-1 / (n - 1))
    dhprebn = centred.mul_(bngain * bnvar_inv)
    return dhprebn, dbngain, dbnbias


def training_pass(
    p: Parameters,
    X: Int[Tensor, "here context"],
    Y: Int[Tensor, " here"],
    eps: float = BATCHNORM_EPSILON,
    smoothing: float = 0.0,
    out: Parameters | None = None,
    batch: WholeBatch = WHOLE,
) -> Pass:
    """Loss and gradients of one batch of contexts X and next characters Y; `out`, if given, receives the gradients.

    `batch` knows about the other processes, if X and Y are only some of the batch's examples. Each of them then calls
    this, and gets the results of the whole batch. Raises ValueError for a batch of one example, which has no variance
    (n − 1 is zero).
    """
    here = len(X)
    n = batch.examples(here)
    if n < 2:
        raise ValueError("batchnorm needs at least 2 examples: the variance divides by n − 1")

    # Forward.
    letters = X.flatten()
    embcat = p.C.index_select(0, letters).view(here, len(p.W1))
    hprebn = embcat @ p.W1 if p.b1 is None else torch.addmm(p.b1, embcat, p.W1)
    mean = hprebn.mean(0, keepdim=True)
    bnmean, bndiff, squares = batch.centred(mean, hprebn.sub_(mean))
    bnvar = squares.div_(n - 1)
    bnvar_inv = (bnvar + eps).rsqrt_()
    bnraw = bndiff.mul_(bnvar_inv)
    h = torch.addcmul(p.bnbias, p.bngain, bnraw).tanh_()
    loss, dlogits = cross_entropy(torch.addmm(p.b2, h, p.W2), Y, smoothing, n)

    # Backward.
    db2 = dlogits.sum(0)
    dW2 = h.T @ dlogits
    dh = dlogits @ p.W2.T
    dhpreact = dh.addcmul_(dh * h, h, value=-1)  # (1 − h²) · dh
    dhprebn, dbngain, dbnbias = batchnorm_backward(dhpreact, bnraw, bnvar_inv, p.bngain, batch)
    db1 = dhprebn.sum(0)
    dW1 = embcat.T @ dhprebn
    demb = (dhprebn @ p.W1.T).view(-1, p.sizes.embedding)
    dC = torch.zeros_like(p.C).index_add_(0, letters, demb)  # a character's row gets the sum over all its uses

    named = {"C": dC, "W1": dW1, "b1": db1, "W2": dW2, "b2": db2, "bngain": dbngain, "bnbias": dbnbias}
    gradients = Parameters.pack(p.sizes, named, out)
    return Pass(batch.exchange(loss, gradients.flat), gradients, bnmean, bnvar)
