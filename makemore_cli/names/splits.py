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
from makemore_cli.system.environment import compiles

SPLITS = ("train", "val", "test")
PIECE_LETTERS = 1 << 20  # processed at a time
LARGEST_TABLE_ROWS = 1 << 25  # of all contexts and next characters
MANY_LETTERS = 1 << 24  # from this size, compiled code counts and reads the examples
REGION_BITS = 12  # of the place of an example, by which a large split's examples are sorted to be read

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
    most_counted: int | None = None  # examples that losses are computed from, evenly spaced; None: all, however many

    def __len__(self) -> int:
        """The number of examples: one for each character of each name, and one for its end."""
        return len(self.tokens)

    def examples(self, index: Integers) -> tuple[Tokens, Tokens]:
        """Contexts (…, T) and next characters (…) of the examples at `index` (…)."""
        if self._is_large:
            return self._examples_of_large(index)
        X = self.windows[self.start + index]  # indexing by an array copies
        for t in reversed(range(X.shape[-1] - 1)):
            X[..., t] *= X[..., t + 1] != 0  # what precedes an end-of-word token is another name's
        return X, self.tokens[index]

    def _examples_of_large(self, index: Integers) -> tuple[Tokens, Tokens]:
        """The same, read in an order that memory serves faster: nearby examples one after another."""
        from makemore_cli.names.name_loops import read_examples

        X = np.empty((*index.shape, self.windows.shape[-1]), dtype=self.tokens.dtype)
        Y = np.empty(index.shape, dtype=self.tokens.dtype)
        flat = index.reshape(-1)
        regions = flat >> max(0, len(self).bit_length() - REGION_BITS)
        order = np.argsort(regions.astype(np.uint16), kind="stable")
        read_examples(self.tokens, flat, order, X.reshape(len(flat), X.shape[-1]), Y.reshape(-1))
        return X, Y

    @property
    def _is_large(self) -> bool:
        """Whether compiled code is worth its start."""
        return len(self) >= MANY_LETTERS and compiles()

    def names(self) -> list[str]:
        return self.vocabulary.text(self.tokens).split("\n")[:-1]

    @cached_property
    def distinct(self) -> Distinct:
        """Distinct contexts, and distinct pairs of context and next character, in ascending order.

        A sum over them, weighted by their counts, equals the sum over the examples, and has far fewer rows. If
        `most_counted` is exceeded, and there are too many possible contexts to count them in a table, they are those of
        as many examples.
        """
        rows, count = self._pairs()
        first = np.append(True, (rows[1:, :-1] != rows[:-1, :-1]).any(1))
        weight = np.add.reduceat(count, np.flatnonzero(first))
        return Distinct(rows[first, :-1], weight, np.cumsum(first) - 1, rows[:, -1], count)

    @property
    def counted(self) -> int:
        """The number of examples that `distinct` stands for."""
        if self.most_counted is None or self._has_table:
            return len(self)
        return min(len(self), self.most_counted)

    @property
    def _has_table(self) -> bool:
        """Whether all possible rows of context and next character are few enough for a table of their counts."""
        rows: int = len(self.vocabulary) ** (self.windows.shape[1] + 1)
        return rows <= min(8 * len(self), LARGEST_TABLE_ROWS)

    def _pairs(self) -> tuple[Tokens, Integers]:
        """Distinct rows of context and next character, ascending, and how often each occurs."""
        base, width, n = len(self.vocabulary), self.windows.shape[1] + 1, len(self)
        if not self._has_table:
            index = np.arange(n) if self.counted == n else np.arange(self.counted) * n // self.counted
            rows, _, count = distinct_rows(np.column_stack(self.examples(index)), base)
            return rows.astype(self.tokens.dtype), count
        count = np.zeros(base**width, dtype=np.int64)
        if self._is_large:
            from makemore_cli.names.name_loops import count_rows

            count_rows(self.tokens, base, width - 1, count)
        else:
            for start in range(0, n, PIECE_LETTERS):
                index = np.arange(start, min(start + PIECE_LETTERS, n))
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
