"""Softmax and log-softmax in NumPy, in float64 whatever the logits' precision."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities (rows, V) from logits (rows, V), divided by a temperature above 0."""
    counts = np.exp(_below_their_maximum(logits) / temperature)
    counts /= counts.sum(1, keepdims=True)
    return counts


def log_softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Log probabilities (rows, V) from logits (rows, V)."""
    logprobs = _below_their_maximum(logits)
    logprobs -= np.log(np.exp(logprobs).sum(1, keepdims=True))
    return logprobs


def _below_their_maximum(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    below: NDArray[np.float64] = logits.astype(np.float64)
    below -= below.max(1, keepdims=True)
    return below
