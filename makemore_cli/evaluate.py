"""Losses over whole splits, and the batchnorm statistics that take the batch's place after training.

Both are sums over examples, so both are exact weighted sums over a split's distinct contexts.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from makemore_cli.dataset import Distinct, Split
from makemore_cli.errors import MakemoreError
from makemore_cli.model import BATCHNORM_EPSILON, Model, Parameters, Sizes, preactivation

NUMBERS = 1 << 22  # of the widest layer in memory at a time: 32 MiB in float64


def calibrate(p: Parameters, split: Split, eps: float = BATCHNORM_EPSILON) -> Model:
    """A model with the mean and unbiased variance of `hprebn` over every example of a split, as in the lecture."""
    n = len(split)
    total = torch.zeros((1, p.sizes.hidden), dtype=torch.float64, device=p.flat.device)
    for hprebn, weight in _weighted(p, split.distinct):
        total += weight @ hprebn
    mean = total / n
    squares = torch.zeros_like(total)
    for hprebn, weight in _weighted(p, split.distinct):
        squares += weight @ (hprebn - mean) ** 2
    dtype = p.flat.dtype
    return Model(p, mean.to(dtype), (squares / (n - 1)).to(dtype), eps)


def _weighted(
    p: Parameters, distinct: Distinct
) -> Iterator[tuple[Float[Tensor, "rows hidden"], Float[Tensor, "1 rows"]]]:
    """`hprebn` of the distinct contexts, some at a time, and how many examples each stands for; both float64."""
    device = p.flat.device
    for rows in _chunks(len(distinct.X), p.sizes):
        weight = torch.tensor(distinct.weight[rows], dtype=torch.float64, device=device)
        yield preactivation(p, _tensor(distinct.X[rows], device)).double(), weight[None, :]


@torch.inference_mode()
def loss(model: Model, split: Split) -> float:
    """Mean cross-entropy over every example of a split, in nats a letter.

    Raises MakemoreError for a model whose numbers have overflowed.
    """
    p, distinct = model.parameters, split.distinct
    device = p.flat.device
    total = torch.zeros((), dtype=torch.float64, device=device)
    for rows in _chunks(len(distinct.X), p.sizes):
        logprobs = model.logits(_tensor(distinct.X[rows], device)).log_softmax(1)
        pairs = slice(*np.searchsorted(distinct.context, (rows.start, rows.stop)))
        picked = logprobs[_tensor(distinct.context[pairs] - rows.start, device), _tensor(distinct.Y[pairs], device)]
        total -= picked.double() @ torch.tensor(distinct.count[pairs], dtype=torch.float64, device=device)
    if not total.isfinite():
        raise MakemoreError("the model's loss is not finite: its parameters are far too large")
    return float(total) / len(split)


def _chunks(length: int, sizes: Sizes) -> Iterator[slice]:
    rows = max(1, NUMBERS // max(sizes.context * sizes.embedding, sizes.hidden, sizes.vocabulary))
    for start in range(0, length, rows):
        yield slice(start, min(start + rows, length))


def _tensor(array: np.ndarray[tuple[int, ...], np.dtype[np.integer]], device: torch.device) -> Tensor:
    """Tokens or row numbers as PyTorch wants them for indexing."""
    return torch.from_numpy(array.astype(np.int64)).to(device)
