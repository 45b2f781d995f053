"""Loops over the names of a large file, compiled.

A name's hash is the 64-bit FNV-1a hash of its code points, from a start value that depends on a seed, finished as in
MurmurHash3, whose last steps make its first bits as good as the others. The first 12 bits are the name's partition.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from makemore_cli.names.vocabulary import Tokens
from makemore_cli.system.compiled import Kept

PARTITIONS = 1 << 12
PRIME = 0x100000001B3  # of FNV-1a with 64 bits
FIRST, SECOND = 0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53  # factors of MurmurHash3
FILTER_BITS = 20  # of a hash, for a table that most names of the data do not pass

Hashes = NDArray[np.uint64]


def start_value(seed: int) -> int:
    """The hash of an empty name before its last steps."""
    return int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:8], "little")


def name_hash(name: str, start: int) -> int:
    """The hash of a name."""
    value = start
    for letter in name:
        value = (value ^ ord(letter)) * PRIME % 2**64
    value ^= value >> 33
    value = value * FIRST % 2**64
    value ^= value >> 33
    value = value * SECOND % 2**64
    return value ^ value >> 33


def partition(value: int) -> int:
    """The partition of a name with this hash."""
    return value >> 52


@Kept
def partitions(
    points: NDArray[np.unsignedinteger],
    newline: int,
    start: np.uint64,
    of: NDArray[np.uint16],
    sizes: NDArray[np.int64],
) -> None:
    """Write the partition of each line of a text that ends with a newline, and add its tokens to the partition's size.

    Each name has an end-of-word token. Blank lines have no tokens.
    """
    prime, first, second, shift = np.uint64(PRIME), np.uint64(FIRST), np.uint64(SECOND), np.uint64(33)
    line, length, value = 0, 0, start
    for point in points:
        if point != newline:
            value = (value ^ np.uint64(point)) * prime
            length += 1
        else:
            value ^= value >> shift
            value *= first
            value ^= value >> shift
            value *= second
            value ^= value >> shift
            of[line] = value >> np.uint64(52)
            if length > 0:
                sizes[of[line]] += length + 1
            line, length, value = line + 1, 0, start


@Kept
def scatter(
    points: NDArray[np.unsignedinteger],
    newline: int,
    of: NDArray[np.uint16],
    token: Tokens,
    places: NDArray[np.int64],
    out: Tokens,
) -> None:
    """Write the tokens of each name, and an end-of-word token, to its partition's place, which moves on.

    `of` is the partition of each line, and `token` the token of each code point. Blank lines are left out.
    """
    line, begin = 0, 0
    for at in range(len(points)):
        if points[at] == newline:
            if at > begin:
                place = places[of[line]]
                for letter in points[begin:at]:
                    out[place] = token[letter]
                    place += 1
                out[place] = 0
                places[of[line]] = place + 1
            line, begin = line + 1, at + 1


@Kept
def find(
    tokens: Tokens,
    points: NDArray[np.uint32],
    start: np.uint64,
    passes: NDArray[np.bool_],
    hashes: Hashes,
    queries: Tokens,
    begins: NDArray[np.int64],
    found: NDArray[np.bool_],
) -> None:
    """Mark which queries are among the names of a stream of tokens.

    `points` are the tokens' code points. The queries are in the order of their `hashes`, each followed by an
    end-of-word token, and query k begins at `begins[k]`. `passes` tells which first bits a query's hash may have.
    """
    prime, first, second, shift = np.uint64(PRIME), np.uint64(FIRST), np.uint64(SECOND), np.uint64(33)
    begin, value = 0, start
    for at in range(len(tokens)):
        token = tokens[at]
        if token != 0:
            value = (value ^ np.uint64(points[token])) * prime
            continue
        value ^= value >> shift
        value *= first
        value ^= value >> shift
        value *= second
        value ^= value >> shift
        if passes[value >> np.uint64(64 - FILTER_BITS)]:
            query = np.searchsorted(hashes, value)
            while query < len(hashes) and hashes[query] == value:
                place = 0
                while queries[begins[query] + place] == tokens[begin + place]:
                    if begin + place == at:
                        found[query] = True
                        break
                    place += 1
                query += 1
        begin, value = at + 1, start


@Kept
def count_rows(tokens: Tokens, base: int, context_length: int, count: NDArray[np.int64]) -> None:
    """Count each pair of a context and the next token, as a number with tokens as its digits, from an empty context."""
    highest = base**context_length
    context, letters = 0, 0  # letters of the present name before this token
    for at in range(len(tokens)):
        token = tokens[at]
        pair = context * base + token
        count[pair] += 1
        if token == 0:
            context, letters = 0, 0
        else:
            oldest = tokens[at - context_length] if letters >= context_length else 0
            context, letters = pair - highest * oldest, letters + 1


@Kept
def read_examples(tokens: Tokens, index: NDArray[np.int64], order: NDArray[np.int64], X: Tokens, Y: Tokens) -> None:
    """Read the contexts X and next tokens Y of the examples at `index`, in the given order of them.

    Before the first token is an empty context.
    """
    for example in order:
        at, inside = index[example], True
        Y[example] = tokens[at]
        for back in range(1, X.shape[1] + 1):
            token = tokens[at - back] if inside and at >= back else 0
            inside = inside and token != 0
            X[example, X.shape[1] - back] = token
