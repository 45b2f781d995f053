"""From the atomic chain to the single expressions of `fused.py`, in stages that can be run.

Each stage says what is done and gives the line that comes of it: a function of tensors, by their names in `atomic.py`.
A stage's result has the name of the tensor's gradient, and every stage of the same name gives the same numbers.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from makemore_cli.backprop.chain import Stage

CROSS_ENTROPY: tuple[Stage, ...] = (
    Stage(
        "The loss reads one log probability a row, the right letter's, and each counts −1/n.",
        "dlogprobs",
        lambda logprobs, Y, n: torch.zeros_like(logprobs).scatter(1, Y[:, None], -1.0 / n),
    ),
    Stage(
        "The logarithm divides by the probability.",
        "dprobs",
        lambda dlogprobs, probs: dlogprobs / probs,
    ),
    Stage(
        "A count is used twice, in its own probability and in its row's sum, which every probability has a share of. "
        "With probs = counts · counts_sum_inv both branches make one expression; times counts, for exp: softmax's.",
        "dnorm_logits",
        lambda probs, dprobs: probs * (dprobs - (probs * dprobs).sum(1, keepdim=True)),
    ),
    Stage(
        "The row maximum adds nothing: the rows of dnorm_logits sum to zero, so its gradient is zero.",
        "dlogits",
        lambda dnorm_logits: dnorm_logits,
    ),
    Stage(
        "Put dprobs in: the division by probs cancels, and nothing can blow up any more.",
        "dlogits",
        lambda dlogprobs, probs: dlogprobs - probs * dlogprobs.sum(1, keepdim=True),
    ),
    Stage(
        "A row of dlogprobs sums to −1/n. What is left: probabilities, less one at the right letter, shared by n rows.",
        "dlogits",
        lambda probs, Y, n: (probs - F.one_hot(Y, probs.shape[1])) / n,
    ),
)

BATCHNORM: tuple[Stage, ...] = (
    Stage(
        "The gain scales what comes from above.",
        "dbnraw",
        lambda bngain, dhpreact: bngain * dhpreact,
    ),
    Stage(
        "The inverse deviation scaled a whole column, so it gathers the column.",
        "dbnvar_inv",
        lambda bndiff, dbnraw: (bndiff * dbnraw).sum(0, keepdim=True),
    ),
    Stage(
        "The derivative of x to the −1/2 is −1/2 · x to the −3/2, and that is the inverse deviation cubed.",
        "dbnvar",
        lambda bnvar_inv, dbnvar_inv: -0.5 * bnvar_inv**3 * dbnvar_inv,
    ),
    Stage(
        "A deviation is used twice: in its own result, and squared in the variance, which brings 2 and 1/(n−1).",
        "dbndiff",
        lambda bnvar_inv, dbnraw, bndiff, n, dbnvar: bnvar_inv * dbnraw + 2 * bndiff / (n - 1) * dbnvar,
    ),
    Stage(
        "Put dbnvar in: 2 and −1/2 leave −1. With bnraw = bndiff · bnvar_inv, two of the three inverse deviations go.",
        "dbndiff",
        lambda bnvar_inv, dbnraw, bnraw, n: (
            bnvar_inv * (dbnraw - bnraw / (n - 1) * (bnraw * dbnraw).sum(0, keepdim=True))
        ),
    ),
    Stage(
        "The mean was taken from every row, so what its column gets on average goes away again.",
        "dhprebn",
        lambda dbndiff: dbndiff - dbndiff.mean(0, keepdim=True),
    ),
    Stage(
        "The columns of bnraw sum to zero, so only dbnraw has an average.",
        "dhprebn",
        lambda bnvar_inv, dbnraw, bnraw, n: (
            bnvar_inv
            * (dbnraw - dbnraw.sum(0, keepdim=True) / n - bnraw / (n - 1) * (bnraw * dbnraw).sum(0, keepdim=True))
        ),
    ),
    Stage(
        "Take the gain and 1/n out of the bracket: the lecture's one expression.",
        "dhprebn",
        lambda bngain, bnvar_inv, n, dhpreact, bnraw: (
            bngain * bnvar_inv / n * (n * dhpreact - dhpreact.sum(0) - n / (n - 1) * bnraw * (dhpreact * bnraw).sum(0))
        ),
    ),
)

LABEL_SMOOTHING: tuple[Stage, ...] = (
    Stage(
        "The target is no longer one letter: all V share a part of it alike, and the right one has the rest besides. "
        "Each log probability counts as much as its letter has of the target.",
        "dlogprobs",
        lambda logprobs, Y, n, smoothing: (
            -((1 - smoothing) * F.one_hot(Y, logprobs.shape[1]).to(logprobs) + smoothing / logprobs.shape[1]) / n
        ),
    ),
    Stage(
        "From there on it is cross-entropy's derivation, for any dlogprobs.",
        "dlogits",
        lambda dlogprobs, probs: dlogprobs - probs * dlogprobs.sum(1, keepdim=True),
    ),
    Stage(
        "A row of dlogprobs still sums to −1/n. What is left: probabilities, less the target, shared by n rows.",
        "dlogits",
        lambda probs, Y, n, smoothing: (
            (probs - (1 - smoothing) * F.one_hot(Y, probs.shape[1]).to(probs) - smoothing / probs.shape[1]) / n
        ),
    ),
)

# The same in other words, as people write it.
OTHER_WORDS: tuple[Stage, ...] = (
    Stage(
        "With means in the place of sums.",
        "dhprebn",
        lambda bngain, bnvar_inv, n, dhpreact, bnraw: (
            bngain * bnvar_inv * (dhpreact - dhpreact.mean(0) - n / (n - 1) * bnraw * (dhpreact * bnraw).mean(0))
        ),
    ),
    Stage(
        "With one mean and one sum.",
        "dhprebn",
        lambda bngain, bnvar_inv, n, dhpreact, bnraw: (
            bngain * bnvar_inv * (dhpreact - dhpreact.mean(0) - bnraw * (dhpreact * bnraw).sum(0) / (n - 1))
        ),
    ),
    Stage(
        "With the gradients of gain and bias.",
        "dhprebn",
        lambda bngain, bnvar_inv, n, dhpreact, bnraw, dbngain, dbnbias: (
            bngain * bnvar_inv / n * (n * dhpreact - dbnbias - n / (n - 1) * bnraw * dbngain)
        ),
    ),
)

DERIVATIONS = {"cross_entropy": CROSS_ENTROPY, "label_smoothing": LABEL_SMOOTHING, "batchnorm": BATCHNORM}
# All of them, the simplest of each derivation first, which is its last.
STAGES = tuple(stage for stages in (*DERIVATIONS.values(), OTHER_WORDS) for stage in reversed(stages))
