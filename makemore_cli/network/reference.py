"""The network in PyTorch's own functions, against which the hand-written passes are checked."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, sqrt, tanh
from torch.nn import functional as F


def forward(
    p: dict[str, Tensor], X: Int[Tensor, "n context"], Y: Int[Tensor, " n"], eps: float, smoothing: float = 0.0
) -> tuple[Float[Tensor, ""], Float[Tensor, "1 hidden"], Float[Tensor, "1 hidden"]]:
    """Loss, batch mean and unbiased batch variance."""
    hprebn = F.linear(F.embedding(X, p["C"]).flatten(1), p["W1"].T, p.get("b1"))
    bnmean, bnvar = hprebn.mean(0, keepdim=True), hprebn.var(0, keepdim=True)
    h = tanh(p["bngain"] * (hprebn - bnmean) / sqrt(bnvar + eps) + p["bnbias"])
    logits = F.linear(h, p["W2"].T, p["b2"])
    return F.cross_entropy(logits, Y, label_smoothing=smoothing), bnmean, bnvar
