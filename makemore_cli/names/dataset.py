"""A data set: a file of names, read, shuffled and split as in the lecture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np

from makemore_cli.config.schema import DataConfig
from makemore_cli.errors import MakemoreError, ParameterError
from makemore_cli.names.names_file import NamesReader, Points
from makemore_cli.names.source_file import SourceFile, opened
from makemore_cli.names.splits import SPLITS, Split
from makemore_cli.names.stream import PADDING, Stream, shuffled_stream
from makemore_cli.names.stream_cache import StreamCache
from makemore_cli.names.vocabulary import Vocabulary
from makemore_cli.system.bundled_files import bundled
from makemore_cli.system.environment import NO_JIT, compiles

LARGEST_TEXT_IN_MEMORY = 1 << 24  # bytes; a larger one has its stream in the cache
LARGEST_TEXT_WITHOUT_CACHE = 1 << 31  # bytes; if nothing can be cached or compiled
COUNTED_EXAMPLES = 1 << 23  # of a split by hash, from which losses are computed if its contexts are too many to count
NAMED = ("bundled", "lecture")  # data sets given by name instead of by path


@dataclass(frozen=True)
class Dataset:
    """A file of names, split as in the lecture, or by the names' hash if it is very large."""

    path: Path
    sha256: str
    stream: Stream
    seed: int  # of the split
    train: Split
    val: Split
    test: Split

    @property
    def vocabulary(self) -> Vocabulary:
        return self.stream.vocabulary

    @property
    def splits(self) -> dict[str, Split]:
        return {name: getattr(self, name) for name in SPLITS}

    def kinds(self, names: Sequence[str]) -> list[str]:
        """Whether each name is in the training split ("train"), in another one ("held_out"), or in none ("new")."""
        if self.stream.is_mapped:
            from makemore_cli.names.lookup import kinds

            return kinds(self.stream, self.seed, names)
        train, held_out = self._names_in_memory
        return ["train" if name in train else "held_out" if name in held_out else "new" for name in names]

    @cached_property
    def _names_in_memory(self) -> tuple[frozenset[str], frozenset[str]]:
        return frozenset(self.train.names()), frozenset(self.val.names() + self.test.names())


def changed(path: Path) -> str:
    """A remark that a file has changed since a model was trained on it."""
    return f"{path}: has changed since the model was trained on it"


def resolve(path: str) -> Path:
    """The file that `data.path` means. Raises MakemoreError if the lecture's names have not been downloaded."""
    if path == "bundled":
        return bundled("data/names.txt")
    if path == "lecture":
        from makemore_cli.names.download import cached_names

        file = cached_names()
        if not file.is_file():
            raise ParameterError("data.path", "lecture has not been downloaded yet; run: makemore data get")
        return file
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError:
        raise MakemoreError(f"{path}: the home folder can't be found; give a full path") from None


def load(
    config: DataConfig,
    context_length: int,
    vocabulary: Vocabulary | None = None,
    content: bytes | None = None,
    *,
    sha256: str | None = None,
) -> Dataset:
    """Read, shuffle and split a file of names: UTF-8 text, one name per line, or a column of a Parquet file.

    As in the lecture: Python's `random.seed(split_seed); random.shuffle(names)`, then 80 / 10 / 10 %. If the text has
    more than 2 GiB, the names' hash decides instead (`large_file.py`). Whitespace around a name and blank lines are
    ignored. If a trained model's `vocabulary` is given, no other character may occur. `content` is what the file will
    hold, if it has not been written yet; messages then call it `data`. If the checksum `sha256` is given, a file with
    another one is refused.

    Raises MakemoreError, which names the file and, if there is one, the line.
    """
    if content is not None:
        source = SourceFile(io.BytesIO(content), Path("data"), None, len(content))
        stream = _stream(source, vocabulary, config.split_seed)
    else:
        with opened(resolve(config.path), LARGEST_TEXT_IN_MEMORY) as source:
            if sha256 is not None and sha256 != source.sha256:
                raise MakemoreError(changed(source.path))
            stream = _stream(source, vocabulary, config.split_seed)
    windows = np.lib.stride_tricks.sliding_window_view(stream.tokens[PADDING - context_length : -1], context_length)
    train, val, test, end = stream.bounds
    most = None if stream.partitions is None else COUNTED_EXAMPLES
    splits = (
        Split(stream.vocabulary, windows, stream.tokens[start:stop], start - PADDING, most)
        for start, stop in ((train, val), (val, test), (test, end))
    )
    return Dataset(source.path, source.sha256, stream, config.split_seed, *splits)


def _stream(source: SourceFile, vocabulary: Vocabulary | None, seed: int) -> Stream:
    """The stream of a file: in memory, or in the cache if its text is large. Raises MakemoreError."""
    reader, read = NamesReader(source.text(), source.path, vocabulary), list[Points]()
    pieces = reader.pieces()
    for piece in pieces:
        if not read and not source.is_small and compiles():  # a wrong file is mostly found out by its first piece
            stream = StreamCache(source, seed).find(vocabulary)
            if stream is not None:
                return stream
        read.append(piece)
        if reader.text_bytes > LARGEST_TEXT_IN_MEMORY and compiles() and StreamCache(source, seed).is_writable():
            from makemore_cli.names.large_file import cached_stream

            return cached_stream(source, reader, chain(read, pieces), seed)
        if reader.text_bytes > LARGEST_TEXT_WITHOUT_CACHE:
            mend = "set MAKEMORE_CACHE to a folder that can be written" if compiles() else f"unset {NO_JIT}"
            raise MakemoreError(f"{source.path}: is too large for the memory; to keep its names in the cache, {mend}")
    reader.check_number()
    return shuffled_stream(read[0] if len(read) == 1 else np.concatenate(read), reader.vocabulary, seed)
