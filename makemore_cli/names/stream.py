"""All names of a data set as one stream of tokens: the training split, then validation, then test.

Up to a limit, names are shuffled and cut as in the lecture. The names of larger texts are split by their hash instead
(`large_file.py`).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from makemore_cli.names.names_file import Points, find_names, token_table
from makemore_cli.names.splits import PIECE_LETTERS, Integers
from makemore_cli.names.vocabulary import Tokens, Vocabulary
from makemore_cli.system.environment import compiles

MANY_NAMES = 200_000  # from this size, Python's own shuffle takes more than a tenth of a second
PADDING = 1 << 12  # end-of-word tokens before the first name: the context of its first character, however long

Bounds = tuple[int, int, int, int]  # places in a stream: the starts of the training, validation, test split; the end


@dataclass(frozen=True)
class Stream:
    """Names as tokens, each followed by the end-of-word token, after PADDING such tokens."""

    vocabulary: Vocabulary
    tokens: Tokens
    bounds: Bounds
    partitions: Integers | None = None  # if names are split by their hash: the place of each partition, and the end
    is_mapped: bool = False  # from a file


def shuffled_stream(points: Points, vocabulary: Vocabulary, seed: int) -> Stream:
    """The names among code points, shuffled by Python's `random`, and split 80 / 10 / 10 %."""
    bounds, pieces = shuffled_pieces(points, vocabulary, seed)
    tokens, at = np.zeros(bounds[-1], dtype=vocabulary.dtype), PADDING
    for piece in pieces:
        tokens[at : at + len(piece)] = piece
        at += len(piece)
    return Stream(vocabulary, tokens, bounds)


def shuffled_pieces(points: Points, vocabulary: Vocabulary, seed: int) -> tuple[Bounds, Iterator[Tokens]]:
    """The bounds of a shuffled stream, and its tokens after the padding, a piece at a time."""
    starts, lengths = find_names(points)
    n, order = len(starts), _shuffled(len(starts), seed)
    cuts = [0, int(0.8 * n), int(0.9 * n), n]
    ends = np.cumsum([int(lengths[order[a:b]].sum(dtype=np.int64)) + b - a for a, b in pairwise(cuts)]) + PADDING
    table = token_table(vocabulary)

    def pieces() -> Iterator[Tokens]:
        for first in range(0, n, PIECE_LETTERS // 16):
            names = order[first : first + PIECE_LETTERS // 16]
            begin = starts[names]
            length = lengths[names] + 1  # with its newline, which becomes the end-of-word token
            stop = np.cumsum(length, dtype=np.int64)
            source = np.arange(stop[-1]) + np.repeat(begin - (stop - length), length)
            yield table.take(points.take(source, mode="clip"), mode="clip")  # faster than "raise"

    return (PADDING, int(ends[0]), int(ends[1]), int(ends[2])), pieces()


def _shuffled(n: int, seed: int) -> Integers:
    """The numbers from 0 to n − 1, shuffled as by Python's `random`."""
    if n >= MANY_NAMES and compiles():
        from makemore_cli.names.shuffle import shuffled

        return shuffled(n, seed)
    order = list(range(n))
    random.Random(seed).shuffle(order)
    return np.array(order)
