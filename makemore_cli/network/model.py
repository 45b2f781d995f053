"""The network's sizes, and a trained network's forward pass in NumPy, so that it can be used without PyTorch.

embedding – linear – batchnorm – tanh – linear, with the lecture's names:

    C (V, E) · W1 (T·E, H) · b1 (H,) · W2 (H, V) · b2 (V,) · bngain (1, H) · bnbias (1, H)

V tokens in the vocabulary, context length T, embedding size E, H hidden units.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BATCHNORM_EPSILON = 1e-5  # the lecture's, and torch.nn.BatchNorm1d's
TABLE_ROWS = 1000  # at most, in a lookup table for more than one character
LAYER_NUMBERS = 1 << 18  # of the widest layer at a time: as many as fit a processor's cache

Array = NDArray[np.floating]
Integers = NDArray[np.integer]


@dataclass(frozen=True)
class Sizes:
    """The sizes that determine the shape of every parameter. All are at least 1."""

    vocabulary: int  # V, including the end-of-word token
    context: int  # T
    embedding: int  # E
    hidden: int  # H
    first_bias: bool = True  # b1, which batchnorm cancels

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter, in the order of the flat tensor."""
        V, T, E, H = self.vocabulary, self.context, self.embedding, self.hidden
        shapes = {
            "C": (V, E),
            "W1": (T * E, H),
            "b1": (H,),
            "W2": (H, V),
            "b2": (V,),
            "bngain": (1, H),
            "bnbias": (1, H),
        }
        if not self.first_bias:
            del shapes["b1"]
        return shapes

    @property
    def parameters(self) -> int:
        """The number of trainable parameters."""
        return sum(math.prod(shape) for shape in self.shapes().values())


@dataclass(frozen=True)
class Model:
    """A trained network: its parameters by name, and the batchnorm statistics that replace a batch's own."""

    sizes: Sizes
    parameters: Mapping[str, Array]
    bnmean: Array  # (1, H)
    bnvar: Array  # (1, H), unbiased (n − 1), in training and here alike
    epsilon: float = BATCHNORM_EPSILON

    @np.errstate(over="ignore", invalid="ignore")  # callers check that the logits are finite
    def logits(self, X: Integers) -> Array:
        """Logits (rows, V) of the next character, for each row of context X (rows, T)."""
        p = self.parameters
        logits = np.empty((len(X), self.sizes.vocabulary), p["W2"].dtype)
        gain = p["bngain"] / np.sqrt(self.bnvar + self.epsilon)
        for rows in chunks(len(X), self.sizes):
            hpreact = gain * (preactivation(p, X[rows]) - self.bnmean) + p["bnbias"]
            logits[rows] = np.tanh(hpreact, out=hpreact) @ p["W2"] + p["b2"]
        return logits


class Folded:
    """A trained network with its first layer and batchnorm folded into lookup tables: twice as fast for many contexts.

    Up to tanh, everything is linear in the embeddings. So `hpreact` is a sum of one row per character of the context,
    which depends on the character and its position. Short groups of characters share one row.
    """

    def __init__(self, model: Model) -> None:
        p, (V, T, E) = model.parameters, (model.sizes.vocabulary, model.sizes.context, model.sizes.embedding)
        gain = p["bngain"] / np.sqrt(model.bnvar + model.epsilon)
        shift: Array | int = p["bnbias"] - gain * (model.bnmean - p.get("b1", 0))
        length = max(1, int(math.log(TABLE_ROWS, V)))
        self.model, self.tables = model, []
        for first in range(0, T, length):
            group = slice(first, min(first + length, T))
            letters = np.indices((V,) * (group.stop - group.start)).reshape(group.stop - group.start, -1).T
            embcat = p["C"][letters].reshape(len(letters), -1)
            self.tables.append((group, gain * (embcat @ p["W1"][group.start * E : group.stop * E]) + shift))
            shift = 0

    @np.errstate(over="ignore", invalid="ignore")
    def logits(self, X: Integers) -> Array:
        p, sizes = self.model.parameters, self.model.sizes
        logits = np.empty((len(X), sizes.vocabulary), p["W2"].dtype)
        for rows in chunks(len(X), sizes):
            hpreact = np.zeros((rows.stop - rows.start, sizes.hidden), logits.dtype)
            for group, table in self.tables:
                number = np.zeros(len(hpreact), np.int64)
                for letter in X[rows, group].T:
                    number = number * sizes.vocabulary + letter
                hpreact += table.take(number, axis=0, mode="clip")
            logits[rows] = np.tanh(hpreact, out=hpreact) @ p["W2"] + p["b2"]
        return logits


def preactivation(p: Mapping[str, Array], X: Integers) -> Array:
    """`hprebn` (rows, H), the first linear layer's output, whose statistics batchnorm needs."""
    hprebn: Array = p["C"][X].reshape(len(X), -1) @ p["W1"]
    if "b1" in p:
        hprebn += p["b1"]
    return hprebn


def chunks(length: int, sizes: Sizes) -> Iterator[slice]:
    """Slices of rows that go through a network together."""
    rows = max(1, LAYER_NUMBERS // max(sizes.context * sizes.embedding, sizes.hidden, sizes.vocabulary))
    for start in range(0, length, rows):
        yield slice(start, min(start + rows, length))
