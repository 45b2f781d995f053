"""Streams of large files, made in bounded memory.

A text of up to LARGEST_SHUFFLED_BYTES is shuffled and split as a small one, which needs 12 bytes of memory for each
name. In a larger text, the hash of a name decides on its split, so all occurrences of a name are in the same split. Its
stream has the names of one partition after the other, each in the order of the file.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import accumulate
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from makemore_cli.errors import MakemoreError, WriteError
from makemore_cli.names import name_loops
from makemore_cli.names.name_loops import PARTITIONS
from makemore_cli.names.names_file import NEWLINE, NamesReader, Points, token_table
from makemore_cli.names.source_file import SourceFile
from makemore_cli.names.splits import SPLITS
from makemore_cli.names.stream import PADDING, Bounds, Stream, shuffled_pieces
from makemore_cli.names.stream_cache import Made, StreamCache
from makemore_cli.names.vocabulary import Tokens, Vocabulary
from makemore_cli.system.progress import progress

LARGEST_SHUFFLED_BYTES = 1 << 31  # of text: some hundred million names
FIRST_PARTITIONS = (0, round(0.8 * PARTITIONS), round(0.9 * PARTITIONS), PARTITIONS)  # of each split, and the end


class Spill:
    """The checked text of a file as code points in a temporary file, which vanishes when it is closed."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.dtype, self.lengths = folder, np.dtype(np.uint8), list[int]()
        self._file = self._new_file()

    def append(self, points: Points) -> None:
        """Add a piece of whole lines."""
        wider = np.promote_types(self.dtype, points.dtype)
        if wider != self.dtype:
            file = self._new_file()
            for piece in self.pieces():
                file.write(piece.astype(wider).data)
            self.close()
            self._file, self.dtype = file, wider
        self._file.write(points.astype(wider, copy=False).data)
        self.lengths.append(len(points))

    def _new_file(self) -> IO[bytes]:
        return tempfile.TemporaryFile(dir=self._folder, prefix="text-", suffix=".partial")

    def pieces(self) -> Iterator[Points]:
        """The pieces as they were added."""
        self._file.seek(0)
        for length in self.lengths:
            yield np.frombuffer(self._file.read(length * self.dtype.itemsize), self.dtype)

    def all(self) -> Points:
        """All code points, mapped into memory."""
        self._file.flush()
        return np.asarray(np.memmap(self._file, self.dtype, mode="r"))

    def close(self) -> None:
        self._file.close()


def cached_stream(source: SourceFile, reader: NamesReader, pieces: Iterable[Points], seed: int) -> Stream:
    """The stream of a file, made if it is not in the cache. `pieces` are those of the reader. Raises MakemoreError."""

    def write(folder: Path, array: Path) -> Made:
        _check_free(folder, 2 * source.size)
        with closing(Spill(folder)) as spill:
            with progress(f"reading {source.path.name}") as report:
                for points in pieces:
                    spill.append(points)
                    report(source.fraction_read)
            source.check_unchanged()
            reader.check_number()
            return reader.vocabulary, reader.has_own_vocabulary, *_write_stream(reader, spill, seed, array)

    return StreamCache(source, seed).make(reader.given, write)


def _write_stream(reader: NamesReader, spill: Spill, seed: int, path: Path) -> tuple[Bounds, list[int] | None]:
    """Write the stream of a text as a NumPy array. Returns its bounds and its partitions."""
    vocabulary = reader.vocabulary
    if reader.text_bytes > LARGEST_SHUFFLED_BYTES:
        return _write_partitions(reader, spill, seed, path)
    with progress(f"shuffling {reader.path.name}") as report:
        bounds, pieces = shuffled_pieces(spill.all(), vocabulary, seed)
        with _NewArray(path, vocabulary, bounds[-1]) as array:
            at = PADDING
            for piece in pieces:
                array.write(piece, at)
                at += len(piece)
                report(at / bounds[-1])
    return bounds, None


def _write_partitions(reader: NamesReader, spill: Spill, seed: int, path: Path) -> tuple[Bounds, list[int]]:
    """Write the stream of a text that is split by hash. Raises MakemoreError if a split would be empty."""
    start, vocabulary = name_loops.start_value(seed), reader.vocabulary
    table = token_table(vocabulary)
    sizes = np.zeros(PARTITIONS, dtype=np.int64)
    with progress(f"hashing {reader.path.name}") as report:
        for done, (_, _, its_sizes) in enumerate(_partitioned(spill, start), start=1):
            sizes += its_sizes
            report(done / len(spill.lengths))
    places = list(accumulate(sizes.tolist(), initial=PADDING))
    train, val, test, end = (places[first] for first in FIRST_PARTITIONS)
    for name, size in zip(SPLITS, (val - train, test - val, end - test), strict=True):
        if size == 0:
            raise MakemoreError(
                f"{reader.path}: holds so few different names that the {name} split is empty; give more different names"
            )
    next_places = np.array(places[:-1])
    with progress(f"splitting {reader.path.name}") as report, _NewArray(path, vocabulary, end) as array:
        for done, (points, of, its_sizes) in enumerate(_partitioned(spill, start), start=1):
            ends = np.cumsum(its_sizes)
            tokens = np.empty(ends[-1], dtype=vocabulary.dtype)
            name_loops.scatter(points, NEWLINE, of, table, ends - its_sizes, tokens)
            for which in np.flatnonzero(its_sizes):
                array.write(tokens[ends[which] - its_sizes[which] : ends[which]], int(next_places[which]))
            next_places += its_sizes
            report(done / len(spill.lengths))
    return (train, val, test, end), places


def _partitioned(spill: Spill, start: int) -> Iterator[tuple[Points, NDArray[np.uint16], NDArray[np.int64]]]:
    """Pieces of a text, the partition of each line, and the number of tokens for each partition."""
    for points in spill.pieces():
        sizes = np.zeros(PARTITIONS, dtype=np.int64)
        of = np.empty(np.count_nonzero(points == NEWLINE), dtype=np.uint16)
        name_loops.partitions(points, NEWLINE, np.uint64(start), of, sizes)
        yield points, of, sizes


def _check_free(folder: Path, needed: int) -> None:
    """Raise WriteError if the disk has less space than a file of this size needs at least."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise WriteError(
            f"{folder.parent}: has {free / 1e9:,.1f} GB free, but {needed / 1e9:,.1f} are needed; set MAKEMORE_CACHE "
            f"to a folder on another disk"
        )


class _NewArray:
    """A NumPy array in a new file. It is written, not mapped: a full disk is an error, and memory stays free."""

    def __init__(self, path: Path, vocabulary: Vocabulary, length: int) -> None:
        empty = np.lib.format.open_memmap(path, "w+", np.dtype(vocabulary.dtype), (length,))
        self._offset, self._itemsize = empty.offset, empty.itemsize
        del empty
        self._file = path.open("r+b", buffering=0)

    def write(self, tokens: Tokens, place: int) -> None:
        content, at = tokens.data.cast("B"), self._offset + place * self._itemsize
        while content:
            written = os.pwrite(self._file.fileno(), content, at)
            content, at = content[written:], at + written

    def __enter__(self) -> _NewArray:
        return self

    def __exit__(self, *_: object) -> None:
        with self._file:
            os.fsync(self._file.fileno())
