"""The splits of a data set, as windows on one flat stream of tokens.

The stream is every name followed by the end-of-word token, in the splits' order: `emma.olivia.ava.`. Each token is the
target of one example, and the T tokens before it are its context. Context tokens before the latest `.` belong to the
previous name, and are read as `.` too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from makemore_cli.names.vocabulary import Tokens, Vocabulary

SPLITS = ("train", "val", "test")
PIECE_LETTERS = 1 << 20  # processed at a time

Integers = NDArray[np.integer]


@dataclass(frozen=True)
class Distinct:
    """A split as a multiset: its distinct contexts, and how often each character follows them."""

    X: Tokens  # (contexts, T)
    weight: Integers  # (contexts,): how many examples have the context
    context: Integers  # (pairs,): a context's row in X, ascending
    Y: Tokens  # (pairs,): a character that follows it
    count: Integers  # (pairs,): how often


@dataclass(frozen=True)
class Split:
    """A split's part of the stream, and its examples."""

    vocabulary: Vocabulary
    windows: Tokens  # (tokens of the whole stream, T): the T tokens before each
    tokens: Tokens  # (len(self),)
    start: int

    def __len__(self) -> int:
        """The number of examples: one for each character of each name, and one for its end."""
        return len(self.tokens)

    def examples(self, index: Integers) -> tuple[Tokens, Tokens]:
        """Contexts (…, T) and next characters (…) of the examples at `index` (…)."""
        X = self.windows[self.start + index]  # indexing by an array copies
        for t in reversed(range(X.shape[-1] - 1)):
            X[..., t] *= X[..., t + 1] != 0  # what precedes an end-of-word token is another name's
        return X, self.tokens[index]

    def names(self) -> list[str]:
        return self.vocabulary.text(self.tokens).split("\n")[:-1]

    @cached_property
    def distinct(self) -> Distinct:
        """Distinct contexts, and distinct pairs of context and next character, in ascending order.

        A sum over them, weighted by their counts, equals the sum over the examples, and has far fewer rows.
        """
        rows, count = self._pairs()
        first = np.append(True, (rows[1:, :-1] != rows[:-1, :-1]).any(1))
        weight = np.add.reduceat(count, np.flatnonzero(first))
        return Distinct(rows[first, :-1], weight, np.cumsum(first) - 1, rows[:, -1], count)

    def _pairs(self) -> tuple[Tokens, Integers]:
        """Distinct rows of context and next character, ascending, and how often each occurs."""
        base, width = len(self.vocabulary), self.windows.shape[1] + 1
        if base**width > 8 * len(self):
            rows, _, count = distinct_rows(np.column_stack(self.examples(np.arange(len(self)))), base)
            return rows.astype(self.tokens.dtype), count
        count = np.zeros(base**width, dtype=np.int64)  # few enough for a table of all
        for start in range(0, len(self), PIECE_LETTERS):
            index = np.arange(start, min(start + PIECE_LETTERS, len(self)))
            count += np.bincount(_numbers(np.column_stack(self.examples(index)), base), minlength=len(count))
        numbers = np.flatnonzero(count)
        return _rows(numbers, base, width).astype(self.tokens.dtype), count[numbers]


def distinct_rows(rows: Integers, base: int) -> tuple[Integers, Integers, Integers]:
    """Distinct rows of tokens below `base`, ascending; the index of each row among them; how often each occurs."""
    width = rows.shape[1]
    if base**width > np.iinfo(np.int64).max:
        distinct, which, count = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
        return distinct, which.reshape(-1), count
    # Numbers sort much faster than rows.
    numbers, which, count = np.unique(_numbers(rows, base), return_inverse=True, return_counts=True)
    return _rows(numbers, base, width).astype(rows.dtype), which, count


def _numbers(rows: Integers, base: int) -> NDArray[np.int64]:
    """Each row as a number, with tokens as its digits."""
    numbers = np.zeros(len(rows), dtype=np.int64)
    for column in rows.T:
        numbers = numbers * base + column
    return numbers


def _rows(numbers: NDArray[np.int64], base: int, width: int) -> NDArray[np.int64]:
    """The inverse of `_numbers`."""
    return numbers[:, None] // base ** np.arange(width - 1, -1, -1, dtype=np.int64) % base
