"""The derivation of the single expressions in `fused.py` from the atomic chain, in stages that can be run.

Each stage has a text and the resulting line, a function of tensors by their names in `atomic.py`. A stage is named
after the gradient that its line computes, and all stages of the same name give the same numbers.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from makemore_cli.backprop.chain import Stage

Derivation = tuple[Stage, ...]

CROSS_ENTROPY: Derivation = (
    Stage(
        "The loss reads one log probability per row, that of the target character, with weight −1/n.",
        "dlogprobs",
        lambda logprobs, Y, n: torch.zeros_like(logprobs).scatter(1, Y[:, None], -1.0 / n),
    ),
    Stage(
        "The derivative of log x is 1/x, so the gradient is divided by the probability.",
        "dprobs",
        lambda dlogprobs, probs: dlogprobs / probs,
    ),
    Stage(
        "A count is used twice: in its own probability, and in its row's sum, by which the whole row is divided. With "
        "probs = counts · counts_sum_inv, both branches combine into one expression. Multiplied by counts, the "
        "derivative of exp, it is the backward pass of softmax.",
        "dnorm_logits",
        lambda probs, dprobs: probs * (dprobs - (probs * dprobs).sum(1, keepdim=True)),
    ),
    Stage(
        "The row maximum contributes nothing: the rows of dnorm_logits sum to zero, so its gradient is zero.",
        "dlogits",
        lambda dnorm_logits: dnorm_logits,
    ),
    Stage(
        "Substitute dprobs. The division by probs cancels, so a probability of zero no longer does any harm.",
        "dlogits",
        lambda dlogprobs, probs: dlogprobs - probs * dlogprobs.sum(1, keepdim=True),
    ),
    Stage(
        "Each row of dlogprobs sums to −1/n. This leaves the probabilities minus 1 at the target, all divided by n.",
        "dlogits",
        lambda probs, Y, n: (probs - F.one_hot(Y, probs.shape[1])) / n,
    ),
)

BATCHNORM: Derivation = (
    Stage(
        "The gain scales the upstream gradient.",
        "dbnraw",
        lambda bngain, dhpreact: bngain * dhpreact,
    ),
    Stage(
        "One inverse standard deviation scales a whole column, so it gets the sum over that column.",
        "dbnvar_inv",
        lambda bndiff, dbnraw: (bndiff * dbnraw).sum(0, keepdim=True),
    ),
    Stage(
        "The derivative of x^(−1/2) is −1/2 · x^(−3/2), and x^(−3/2) is the inverse standard deviation cubed.",
        "dbnvar",
        lambda bnvar_inv, dbnvar_inv: -0.5 * bnvar_inv**3 * dbnvar_inv,
    ),
    Stage(
        "bndiff is used twice: in bnraw, and squared in the variance, which brings the factors 2 and 1/(n−1).",
        "dbndiff",
        lambda bnvar_inv, dbnraw, bndiff, n, dbnvar: bnvar_inv * dbnraw + 2 * bndiff / (n - 1) * dbnvar,
    ),
    Stage(
        "Substitute dbnvar and dbnvar_inv. The factors 2 and −1/2 give −1, and bnraw = bndiff · bnvar_inv absorbs two "
        "of the three inverse standard deviations.",
        "dbndiff",
        lambda bnvar_inv, dbnraw, bnraw, n: (
            bnvar_inv * (dbnraw - bnraw / (n - 1) * (bnraw * dbnraw).sum(0, keepdim=True))
        ),
    ),
    Stage(
        "The mean is subtracted from every row, so each column of the gradient loses its mean as well.",
        "dhprebn",
        lambda dbndiff: dbndiff - dbndiff.mean(0, keepdim=True),
    ),
    Stage(
        "The columns of bnraw sum to zero, so only the mean of dbnraw remains.",
        "dhprebn",
        lambda bnvar_inv, dbnraw, bnraw, n: (
            bnvar_inv
            * (dbnraw - dbnraw.sum(0, keepdim=True) / n - bnraw / (n - 1) * (bnraw * dbnraw).sum(0, keepdim=True))
        ),
    ),
    Stage(
        "Take the gain and 1/n out of the brackets. This is the lecture's single expression.",
        "dhprebn",
        lambda bngain, bnvar_inv, n, dhpreact, bnraw: (
            bngain * bnvar_inv / n * (n * dhpreact - dhpreact.sum(0) - n / (n - 1) * bnraw * (dhpreact * bnraw).sum(0))
        ),
    ),
)

LABEL_SMOOTHING: Derivation = (
    Stage(
        "The target is no longer a single character. The target character gets 1 − smoothing of the probability mass, "
        "and the rest is spread evenly over the vocabulary, this character included. Each log probability is weighted "
        "with the mass of its character.",
        "dlogprobs",
        lambda logprobs, Y, n, smoothing: (
            -((1 - smoothing) * F.one_hot(Y, logprobs.shape[1]).to(logprobs) + smoothing / logprobs.shape[1]) / n
        ),
    ),
    Stage(
        "The rest is the derivation of cross-entropy, which holds for any dlogprobs.",
        "dlogits",
        lambda dlogprobs, probs: dlogprobs - probs * dlogprobs.sum(1, keepdim=True),
    ),
    Stage(
        "Each row of dlogprobs still sums to −1/n. This leaves the probabilities minus the target, all divided by n.",
        "dlogits",
        lambda probs, Y, n, smoothing: (
            (probs - (1 - smoothing) * F.one_hot(Y, probs.shape[1]).to(probs) - smoothing / probs.shape[1]) / n
        ),
    ),
)

# Other common forms of the batchnorm expression.
OTHER_WORDS: Derivation = (
    Stage(
        "With means instead of sums.",
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

# Batchnorm with the batch shared by processes; torch.tensor_split gives each of three its rows.
SHARED_BATCHNORM: Derivation = (
    Stage(
        "In batchnorm's single expression, a row of dhprebn needs two things from the other rows: the sum of dhpreact, "
        "and the sum of dhpreact · bnraw. n and n−1 are those of the whole batch. All else is the row's own.",
        "dhprebn",
        lambda bngain, bnvar_inv, n, dhpreact, bnraw: (
            bngain * bnvar_inv / n * (n * dhpreact - dhpreact.sum(0) - n / (n - 1) * bnraw * (dhpreact * bnraw).sum(0))
        ),
    ),
    Stage(
        "A sum over all rows is a sum of sums. Each rank adds up its own rows, and the ranks exchange one number for "
        "each hidden unit. The sum of dhpreact is the gradient of the bias.",
        "dbnbias",
        lambda dhpreact: torch.stack([dy.sum(0, keepdim=True) for dy in dhpreact.tensor_split(3)]).sum(0),
    ),
    Stage(
        "The other sum, exchanged at the same time, is the gradient of the gain. Both need bnraw as normalised by the "
        "mean and the variance of the whole batch: a rank's own statistics would give other values.",
        "dbngain",
        lambda dhpreact, bnraw: torch.stack(
            [
                (dy * xhat).sum(0, keepdim=True)
                for dy, xhat in zip(dhpreact.tensor_split(3), bnraw.tensor_split(3), strict=True)
            ]
        ).sum(0),
    ),
    Stage(
        "With the two sums, each rank computes its own rows. Nothing else is exchanged in batchnorm's backward pass.",
        "dhprebn",
        lambda bngain, bnvar_inv, n, dhpreact, bnraw, dbngain, dbnbias: torch.cat(
            [
                bngain * bnvar_inv / n * (n * dy - dbnbias - n / (n - 1) * xhat * dbngain)
                for dy, xhat in zip(dhpreact.tensor_split(3), bnraw.tensor_split(3), strict=True)
            ]
        ),
    ),
    Stage(
        "The parameters' gradients are sums over the rows, so at the end the ranks add up their parts of all of them. "
        "There, each rank adds its own part of the bias's and the gain's gradient, not the sums that it has received: "
        "these would count once for each rank.",
        "dW1",
        lambda embcat, dhprebn: torch.stack(
            [x.T @ dy for x, dy in zip(embcat.tensor_split(3), dhprebn.tensor_split(3), strict=True)]
        ).sum(0),
    ),
)

DERIVATIONS = {"cross_entropy": CROSS_ENTROPY, "label_smoothing": LABEL_SMOOTHING, "batchnorm": BATCHNORM}
# The lecture's derivations of the same expressions.
LECTURE: dict[str, Derivation] = {
    "cross_entropy": (
        Stage(
            "The loss of one example is −log p_y, where p_y = e^l_y / Σ e^l_j. By the chain rule, its derivative with "
            "respect to l_i is −1/p_y times that of p_y.",
            "dlogits",
            lambda dlogprobs, probs: dlogprobs - probs * dlogprobs.sum(1, keepdim=True),
        ),
        Stage(
            "Apply the quotient rule. If i ≠ y, only the denominator depends on l_i: ∂p_y/∂l_i = −p_y·p_i, which "
            "leaves p_i. If i = y, the numerator does too: ∂p_y/∂l_y = p_y·(1 − p_y), which leaves p_y − 1. The mean "
            "over n examples divides by n. The chain softmax_cases shows this entry by entry.",
            "dlogits",
            lambda probs, Y, n: torch.where(F.one_hot(Y, probs.shape[1]) == 1, probs - 1, probs) / n,
        ),
    ),
    "batchnorm": (
        Stage(
            "On paper, the steps are x → μ → σ² → x̂ → y. The way back is x̂ → σ² → μ → x. It begins with dx̂ = γ·dy.",
            "dbnraw",
            lambda bngain, dhpreact: bngain * dhpreact,
        ),
        Stage(
            "σ² has an arrow to each of the n entries x̂ of its column, so its gradient is a sum over all of them.",
            "dbnvar",
            lambda hprebn, bnmeani, bnvar, eps, dbnraw: (
                -0.5 * ((hprebn - bnmeani) * dbnraw).sum(0, keepdim=True) * (bnvar + eps) ** -1.5
            ),
        ),
        Stage(
            "μ has n + 1 arrows: one to each x̂ (32 in the lecture's batch) and one to σ², 33 in all. The last "
            "contributes nothing, since ∂σ²/∂μ = −2/(n−1) · Σ(x − μ) = 0.",
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
            "Substitute the results so far. The index i inside the sums becomes j, since i is now the entry of x. The "
            "power −3/2 is three times −1/2: one is taken out, and two turn x_i − μ and x_j − μ into x̂_i and x̂_j.",
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
# All stages. Each derivation is reversed, since its last stage is the simplest.
STAGES = tuple(stage for stages in (*DERIVATIONS.values(), OTHER_WORDS) for stage in reversed(stages))
