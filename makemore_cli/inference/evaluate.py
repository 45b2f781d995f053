"""Losses over whole splits, and batchnorm statistics for inference.

Both are sums over examples, so they are exact weighted sums over a split's distinct contexts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from makemore_cli.errors import MakemoreError
from makemore_cli.names.dataset import changed, load
from makemore_cli.names.splits import Split
from makemore_cli.network.model import BATCHNORM_EPSILON, Array, Model, Sizes, chunks, preactivation
from makemore_cli.network.softmax import log_softmax
from makemore_cli.runs.checkpoint import Checkpoint


@dataclass(frozen=True)
class Evaluation:
    """A model's losses on a file of names."""

    data: Path
    loss: dict[str, float]  # by split, in nats per character
    examples: dict[str, int]  # by split
    remarks: list[str]  # a remark if the model's own data has changed


def evaluate_checkpoint(checkpoint: Checkpoint, path: str | None = None, *, content: bytes | None = None) -> Evaluation:
    """Evaluate a model on its own data, or on another file that is split the same way, or on such a file's content.

    Raises MakemoreError.
    """
    config = checkpoint.config.data
    if path is not None:
        config = config.model_copy(update={"path": path})
    dataset = load(config, checkpoint.config.model.context_length, checkpoint.vocabulary, content)
    is_changed = path is None and content is None and dataset.sha256 != checkpoint.data_sha256
    return Evaluation(
        dataset.path,
        {name: loss(checkpoint.model, split) for name, split in dataset.splits.items()},
        {name: len(split) for name, split in dataset.splits.items()},
        [changed(dataset.path)] if is_changed else [],
    )


@np.errstate(over="ignore", invalid="ignore")
def calibrate(sizes: Sizes, p: Mapping[str, Array], split: Split, eps: float = BATCHNORM_EPSILON) -> Model:
    """A model with the mean and unbiased variance of `hprebn` over every example of a split, as in the lecture.

    Of a very large split, some examples stand for all (`Split.distinct`).
    """
    n, distinct = split.counted, split.distinct
    weight = distinct.weight.astype(np.float64)
    total, squares = np.zeros((2, sizes.hidden))
    for rows in chunks(len(weight), sizes):
        total += weight[rows] @ preactivation(p, distinct.X[rows]).astype(np.float64)
    mean = total / n
    for rows in chunks(len(weight), sizes):
        squares += weight[rows] @ (preactivation(p, distinct.X[rows]) - mean) ** 2
    dtype = p["W1"].dtype
    return Model(sizes, p, mean[None].astype(dtype), (squares / (n - 1))[None].astype(dtype), eps)


@np.errstate(over="ignore", invalid="ignore")  # reported at the end
def loss(model: Model, split: Split) -> float:
    """Mean cross-entropy over every example of a split, in nats per character.

    Of a very large split, some examples stand for all (`Split.distinct`).
    Raises MakemoreError for a model whose numbers have overflowed.
    """
    distinct, total = split.distinct, 0.0
    for rows in chunks(len(distinct.X), model.sizes):
        logprobs = log_softmax(model.logits(distinct.X[rows]))
        pairs = slice(*np.searchsorted(distinct.context, (rows.start, rows.stop)))
        context = distinct.context[pairs] - rows.start
        total -= float(logprobs[context, distinct.Y[pairs]] @ distinct.count[pairs])
    if not np.isfinite(total):
        raise MakemoreError("the model's loss is not finite: its parameters are far too large")
    return total / split.counted
