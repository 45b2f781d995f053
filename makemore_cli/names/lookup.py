"""Find names in a stream that is mapped from a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from makemore_cli.names.name_loops import FILTER_BITS, find, name_hash, partition, start_value
from makemore_cli.names.stream import Stream

Hashed = list[tuple[int, str]]  # names after their hashes, in ascending order


def kinds(stream: Stream, seed: int, names: Sequence[str]) -> list[str]:
    """Whether each name is in the training split ("train"), in another one ("held_out"), or in none ("new").

    `seed` is that of the split. A shuffled stream is read as a whole, another one only in the names' partitions.
    """
    start, letters = start_value(seed), set(stream.vocabulary.letters)
    hashed = sorted((name_hash(name, start), name) for name in set(names) if name and letters.issuperset(name))
    train, held_out = set[str](), set[str]()
    for part, begin, end in _parts(stream, hashed):
        found = train if begin < stream.bounds[1] else held_out
        found.update(_found(stream, start, part, begin, end))
    return ["train" if name in train else "held_out" if name in held_out else "new" for name in names]


def _parts(stream: Stream, hashed: Hashed) -> Iterator[tuple[Hashed, int, int]]:
    """The parts of a stream to search: the names that may be there, the part's start and its end."""
    if not hashed:
        return
    if stream.partitions is None:
        train, val, _, end = stream.bounds
        yield hashed, train, val
        yield hashed, val, end
        return
    for which, part in groupby(hashed, key=lambda pair: partition(pair[0])):
        yield list(part), int(stream.partitions[which]), int(stream.partitions[which + 1])


def _found(stream: Stream, start: int, hashed: Hashed, begin: int, end: int) -> list[str]:
    """The names that are in a part of a stream."""
    tokens = [[*stream.vocabulary.encode(name), 0] for _, name in hashed]
    begins = np.cumsum([0, *map(len, tokens)])[:-1]
    hashes = np.array([value for value, _ in hashed], dtype=np.uint64)
    passes = np.zeros(1 << FILTER_BITS, dtype=bool)
    passes[hashes >> np.uint64(64 - FILTER_BITS)] = True
    found = np.zeros(len(hashed), dtype=bool)
    points = np.array([0, *map(ord, stream.vocabulary.letters)], dtype=np.uint32)
    find(
        stream.tokens[begin:end],
        points,
        np.uint64(start),
        passes,
        hashes,
        np.concatenate(tokens).astype(stream.tokens.dtype),
        begins,
        found,
    )
    return [name for (_, name), is_there in zip(hashed, found, strict=True) if is_there]
