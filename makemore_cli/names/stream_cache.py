"""Streams of large files, kept in the cache and mapped into memory.

Each has a folder, which gets its name when it is complete. A process that makes one holds a lock.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

import numpy as np

from makemore_cli.errors import MakemoreError, WriteError
from makemore_cli.names.download import cache_folder
from makemore_cli.names.name_loops import PARTITIONS
from makemore_cli.names.source_file import SourceFile
from makemore_cli.names.stream import PADDING, Bounds, Stream
from makemore_cli.names.vocabulary import Vocabulary
from makemore_cli.system.files import lock, open_log, write_atomically
from makemore_cli.system.progress import progress

FORMAT = 1  # changes if the same file would give another stream
ABOUT, TOKENS = "about.json", "tokens.npy"
LOCK, PARTIAL = ".lock", ".partial"
WAIT_SECONDS = 0.1  # between two looks at a lock

Made = tuple[Vocabulary, bool, Bounds, list[int] | None]


class StreamCache:
    """The cached stream of one file with one seed of the split."""

    def __init__(self, source: SourceFile, seed: int) -> None:
        self.folder = cache_folder() / "streams"
        self._settings = [FORMAT, source.sha256, source.column, seed]

    def path(self, vocabulary: Vocabulary | None) -> Path:
        """The folder of the stream with a vocabulary; None: with the file's own."""
        settings = [*self._settings, None if vocabulary is None else vocabulary.letters]
        return self.folder / hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:32]

    def find(self, vocabulary: Vocabulary | None) -> Stream | None:
        """The stream, if it is there. If the given vocabulary is the file's own, it is the same stream as without."""
        stream = _open(self.path(None))
        if stream is not None and vocabulary in (None, stream.vocabulary):
            return stream
        return None if vocabulary is None else _open(self.path(vocabulary))

    def make(self, vocabulary: Vocabulary | None, write: Callable[[Path, Path], Made]) -> Stream:
        """The stream, which is made now unless it is there or another process makes it. Raises WriteError.

        `write` gets a folder for temporary files and the path of the array of tokens that it writes. It returns the
        stream's vocabulary, whether that is the file's own, the bounds, and the partitions.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._locked(self.path(None)) as partial:
                stream = self.find(vocabulary)
                if stream is not None:
                    return stream
                partial.mkdir()
                try:
                    vocabulary, is_own, bounds, partitions = write(partial, partial / TOKENS)
                    about = {"letters": vocabulary.letters, "bounds": bounds, "partitions": partitions}
                    write_atomically(partial / ABOUT, json.dumps(about).encode())
                    path = self.path(None if is_own else vocabulary)
                    shutil.rmtree(path, ignore_errors=True)  # if somebody has removed a part of it
                    partial.rename(path)
                finally:
                    shutil.rmtree(partial, ignore_errors=True)
        except OSError as error:
            raise WriteError(
                f"{self.folder}: can't write: {error.strerror}; set MAKEMORE_CACHE to a folder on another disk"
            ) from None
        made = _open(path)
        assert made is not None
        return made

    def is_writable(self) -> bool:
        """Whether streams can be kept."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.folder).close()
        except OSError:
            return False
        return True

    @contextmanager
    def _locked(self, path: Path) -> Iterator[Path]:
        """Wait until no other process makes the stream at `path`. Yields the folder to make it in, which is missing.

        Removes what killed processes have left.
        """
        with open_log(path.with_suffix(LOCK)) as file:
            if not lock(file):
                with progress("waiting for another process that reads the same file") as report:
                    while not lock(file):
                        report(None)
                        time.sleep(WAIT_SECONDS)
            for partial in self.folder.glob(f"*{PARTIAL}"):
                with suppress(OSError), open_log(partial.with_suffix(LOCK)) as others:
                    if partial.stem == path.stem or lock(others):
                        shutil.rmtree(partial, ignore_errors=True)
            yield path.with_suffix(PARTIAL)


def _open(path: Path) -> Stream | None:
    """The stream in a folder, or None if it is not there. Raises MakemoreError if it is damaged."""
    try:
        about = json.loads((path / ABOUT).read_text(encoding="utf-8"))
        tokens = np.asarray(np.load(path / TOKENS, mmap_mode="r"))
        vocabulary, bounds, partitions = Vocabulary(about["letters"]), about["bounds"], about["partitions"]
        _check(bounds, 4, PADDING, len(tokens))
        if partitions is not None:
            _check(partitions, PARTITIONS + 1, PADDING, len(tokens))
        if tokens.shape != (len(tokens),) or tokens.dtype != vocabulary.dtype:
            raise ValueError
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        raise MakemoreError(f"{path}: is damaged; remove this folder") from None
    places = None if partitions is None else np.array(partitions)
    return Stream(vocabulary, tokens, cast(Bounds, tuple(bounds)), places, is_mapped=True)


def _check(places: list[int], number: int, first: int, last: int) -> None:
    """Raise ValueError unless these are as many ascending places, from the first to the last one."""
    if len(places) != number or sorted(places) != places or (places[0], places[-1]) != (first, last):
        raise ValueError
