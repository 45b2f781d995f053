"""The lecture's backward pass as cells of a notebook, one gradient or two at a time, and mistakes in it."""

from __future__ import annotations

from typing import NamedTuple

# For each cell, the gradients that are complete after it.
CELLS = {
    "dlogprobs = torch.zeros_like(logprobs)\ndlogprobs[range(n), Yb] = -1.0 / n": "logprobs",
    "dprobs = (1.0 / probs) * dlogprobs": "probs",
    "dcounts_sum_inv = (counts * dprobs).sum(1, keepdim=True)": "counts_sum_inv",
    "dcounts = counts_sum_inv * dprobs\ndcounts_sum = (-counts_sum**-2) * dcounts_sum_inv": "counts_sum",
    "dcounts += torch.ones_like(counts) * dcounts_sum": "counts",
    "dnorm_logits = counts * dcounts": "norm_logits",
    "dlogits = dnorm_logits.clone()\ndlogit_maxes = (-dnorm_logits).sum(1, keepdim=True)": "logit_maxes",
    "dlogits += F.one_hot(logits.max(1).indices, num_classes=logits.shape[1]) * dlogit_maxes": "logits",
    "dh = dlogits @ W2.T": "h",
    "dW2 = h.T @ dlogits\ndb2 = dlogits.sum(0)": "W2 b2",
    "dhpreact = (1.0 - h**2) * dh": "hpreact",
    "dbngain = (bnraw * dhpreact).sum(0, keepdim=True)": "bngain",
    "dbnraw = bngain * dhpreact\ndbnbias = dhpreact.sum(0, keepdim=True)": "bnraw bnbias",
    "dbndiff = bnvar_inv * dbnraw\ndbnvar_inv = (bndiff * dbnraw).sum(0, keepdim=True)": "bnvar_inv",
    "dbnvar = (-0.5 * (bnvar + 1e-5) ** -1.5) * dbnvar_inv": "bnvar",
    "dbndiff2 = (1.0 / (n - 1)) * torch.ones_like(bndiff2) * dbnvar": "bndiff2",
    "dbndiff += (2 * bndiff) * dbndiff2": "bndiff",
    "dhprebn = dbndiff.clone()\ndbnmeani = (-dbndiff).sum(0, keepdim=True)": "bnmeani",
    "dhprebn += 1.0 / n * (torch.ones_like(hprebn) * dbnmeani)": "hprebn",
    "dembcat = dhprebn @ W1.T\ndW1 = embcat.T @ dhprebn\ndb1 = dhprebn.sum(0)": "embcat W1 b1",
    "demb = dembcat.view(emb.shape)": "emb",
    "dC = torch.zeros_like(C)\nfor k in range(Xb.shape[0]):\n    for j in range(Xb.shape[1]):\n"
    "        dC[Xb[k, j]] += demb[k, j]": "C",
}
UNFINISHED = {"counts", "bndiff", "hprebn"}  # until the cell that adds their second branch


class Mistake(NamedTuple):
    """A line of the pass, written with a mistake of `mistakes.md`; and what the diagnosis must say."""

    number: int
    right: str
    wrong: str
    tensor: str
    told: str


MISTAKES = [
    Mistake(9, "(1.0 - h**2) * dh", "(1.0 - hpreact**2) * dh", "hpreact", "taken at its input"),
    Mistake(10, "(1.0 - h**2) * dh", "dh * 1.0 - h**2", "hpreact", "parentheses"),
    Mistake(13, "db2 = dlogits.sum(0)", "db2 = dlogits", "b2", ".sum(0) is missing"),
    Mistake(14, "(-dnorm_logits).sum(1, keepdim=True)", "(-dnorm_logits).sum(1)", "logit_maxes", "keepdim"),
    Mistake(16, "= -1.0 / n", "= -1.0", "logprobs", "1/n is missing"),
    Mistake(21, "dC[Xb[k, j]] += demb[k, j]", "dC[Xb[k, j]] = demb[k, j]", "C", "overwritten, not added"),
    Mistake(23, "dbnraw = bngain * dhpreact", "dbnraw = dhpreact.clone()", "bnraw", "local derivative is missing"),
    Mistake(
        25, "(1.0 / (n - 1)) * torch.ones_like(bndiff2)", "(1.0 / n) * torch.ones_like(bndiff2)", "bndiff2", "Bessel"
    ),
    Mistake(26, "dhprebn = dbndiff.clone()", "dhprebn = dbndiff", "bndiff", "alias"),
    Mistake(28, "dW2 = h.T @ dlogits", "dW2 = hpreact.T @ dlogits", "W2", "hpreact"),
    Mistake(11, "db1 = dhprebn.sum(0)", "db1 = dhpreact.sum(0)", "b1", "hpreact"),
    Mistake(
        18,
        "dlogits = dnorm_logits.clone()",
        "dlogits = probs * (1 - probs) * dprobs",
        "logits",
        "the sum over dimension 1 is missing",
    ),
]
