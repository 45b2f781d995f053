"""From the atomic chain to the single expressions of `fused.py`, in stages that can be run.

Each stage says what is done and gives the line that comes of it: a function of tensors, by their names in `atomic.py`.
A stage's result has the name of the tensor's gradient, and every stage of the same name gives the same numbers.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from makemore_cli.backprop.chain import Stage

Derivation = tuple[Stage, ...]

CROSS_ENTROPY: Derivation = (
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

BATCHNORM: Derivation = (
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

LABEL_SMOOTHING: Derivation = (
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
OTHER_WORDS: Derivation = (
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
# The lecture's own routes to the same expressions.
LECTURE: dict[str, Derivation] = {
    "cross_entropy": (
        Stage(
            "One example's loss is −log p_y, with p_y = e^l_y / Σ e^l_j. By the chain rule its derivative by l_i is "
            "−1/p_y times that of p_y.",
            "dlogits",
            lambda dlogprobs, probs: dlogprobs - probs * dlogprobs.sum(1, keepdim=True),
        ),
        Stage(
            "The quotient rule, by cases. If i ≠ y, only the denominator depends on l_i: ∂p_y/∂l_i = −p_y·p_i, which "
            "leaves p_i. If i = y, the numerator does too: ∂p_y/∂l_y = p_y·(1 − p_y), which leaves p_y − 1. The loss "
            "is a mean over n examples. The chain softmax_cases has it entry by entry.",
            "dlogits",
            lambda probs, Y, n: torch.where(F.one_hot(Y, probs.shape[1]) == 1, probs - 1, probs) / n,
        ),
    ),
    "batchnorm": (
        Stage(
            "On paper the steps are x → μ → σ² → x̂ → y, and back they go x̂ → σ² → μ → x. dx̂ is γ·dy.",
            "dbnraw",
            lambda bngain, dhpreact: bngain * dhpreact,
        ),
        Stage(
            "σ² has an arrow to each of the n x̂ of its column, so the sum is over all of them.",
            "dbnvar",
            lambda hprebn, bnmeani, bnvar, eps, dbnraw: (
                -0.5 * ((hprebn - bnmeani) * dbnraw).sum(0, keepdim=True) * (bnvar + eps) ** -1.5
            ),
        ),
        Stage(
            "μ has n + 1 arrows: one to each x̂ (32 in the lecture's batch), and one to σ², 33 in all. The last brings "
            "nothing, since ∂σ²/∂μ = −2/(n−1) · Σ(x − μ) = 0.",
            "dbnmeani",
            lambda bnvar_inv, dbnraw: -(bnvar_inv * dbnraw).sum(0, keepdim=True),
        ),
        Stage(
            "x has three arrows: to its own x̂, to μ, and to σ².",
            "dhprebn",
            lambda bnvar_inv, dbnraw, n, dbnmeani, hprebn, bnmeani, dbnvar: (
                bnvar_inv * dbnraw + dbnmeani / n + 2 / (n - 1) * (hprebn - bnmeani) * dbnvar
            ),
        ),
        Stage(
            "Put them in. The i of the sums becomes j, since i is the entry asked for. The power −3/2 is three times "
            "−1/2: one is taken out, and two turn x_i − μ and x_j − μ into x̂_i and x̂_j.",
            "dhprebn",
            lambda bngain, bnvar_inv, n, dhpreact, bnraw: (
                bngain
                * bnvar_inv
                / n
                * (n * dhpreact - dhpreact.sum(0) - n / (n - 1) * bnraw * (dhpreact * bnraw).sum(0))
            ),
        ),
    ),
}
# All of them, the simplest of each derivation first, which is its last.
STAGES = tuple(stage for stages in (*DERIVATIONS.values(), OTHER_WORDS) for stage in reversed(stages))
