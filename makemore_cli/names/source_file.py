"""An open file of names."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO

from makemore_cli.errors import MakemoreError
from makemore_cli.names.file_formats import blocks, text_blocks
from makemore_cli.system.files import check_plain
from makemore_cli.system.progress import progress


class SourceFile:
    """A file of names: its SHA-256 and its text. A file of up to `small_bytes` is read at once."""

    def __init__(self, file: IO[bytes], path: Path, column: str | None, small_bytes: int) -> None:
        self.path, self.column = path, column
        self._file, self._stamp = file, _stamp(file)
        self.size = file.seek(0, io.SEEK_END)
        file.seek(0)
        self.is_small = self.size <= small_bytes
        if self.is_small:
            content = b"".join(blocks(file.read, path))
            self._file = io.BytesIO(content)
            self._stamp = None
            self.sha256 = hashlib.sha256(content).hexdigest()

    def text(self) -> Iterator[bytes]:
        """The text, a block at a time. Raises the errors of `text_blocks`."""
        return text_blocks(self._file, self.path, self.column)

    @property
    def fraction_read(self) -> float:
        return min(1.0, self._file.tell() / max(1, self.size))

    def check_unchanged(self) -> None:
        """Raise MakemoreError if the file has been written since it was opened."""
        if self._stamp is not None and _stamp(self._file) != self._stamp:
            raise MakemoreError(f"{self.path}: has changed while it was being read; try again")

    @cached_property
    def sha256(self) -> str:
        """The checksum of a file that is not small. Reading the text goes on where it was."""
        digest, place = hashlib.sha256(), self._file.tell()
        self._file.seek(0)
        with progress(f"checking {self.path.name}") as report:
            for block in blocks(self._file.read, self.path):
                digest.update(block)
                report(self.fraction_read)
        self._file.seek(place)
        return digest.hexdigest()


@contextmanager
def opened(path: Path, small_bytes: int) -> Iterator[SourceFile]:
    """Open a file, or a column of one as in `names.parquet:name`. Raises MakemoreError if it can't be read."""
    try:
        file_path, column = _with_column(path)
        check_plain(file_path)
        file = file_path.open("rb")
    except FileNotFoundError:
        raise MakemoreError(f"{path}: no such file; give a text file with one name per line") from None
    except IsADirectoryError:
        raise MakemoreError(f"{path}: is a folder; give a text file with one name per line") from None
    except OSError as error:
        raise MakemoreError(f"{path}: can't be read: {error.strerror}") from None
    with file:
        yield SourceFile(file, path, column, small_bytes)


def _with_column(path: Path) -> tuple[Path, str | None]:
    if not path.exists():
        parts = str(path).split(":")
        for at in range(len(parts) - 1, 0, -1):
            file = Path(":".join(parts[:at]))
            if file.is_file():
                return file, ":".join(parts[at:])
    return path, None


def _stamp(file: IO[bytes]) -> tuple[int, ...] | None:
    """What changes if a file is written; None for bytes in memory."""
    try:
        status = os.fstat(file.fileno())
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
