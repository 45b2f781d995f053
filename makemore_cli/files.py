"""Files that can't be trusted to be small, and files that must never be half written."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO

from makemore_cli.errors import MakemoreError, WriteError


def check_plain(path: Path, most: int) -> None:
    """Make sure that a file can be read without waiting for ever and without filling the memory.

    Raises MakemoreError for a pipe, a device, or a file of more than `most` bytes; OSError where there is none.
    """
    try:
        status = path.stat()
    except ValueError:  # a NUL, or half of a surrogate pair
        raise MakemoreError(f"{str(path)!r}: can't be the name of a file") from None
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise MakemoreError(f"{path}: is a pipe or a device; give a file, for it may be read again")
    if status.st_size > most:
        raise MakemoreError(f"{path}: has {status.st_size:,} bytes, and at most {most:,} are read; give a smaller file")


def read(path: Path, most: int) -> bytes:
    """A file's content. Raises as `check_plain` does, and as opening it does."""
    check_plain(path, most)
    with path.open("rb") as file:
        return file.read(most)


def partial(path: Path) -> Path:
    """Where a file is written before it takes its name."""
    return path.with_name(f".{path.name}.partial")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that at no moment is there half of it under its name, even if the machine goes down.

    Only one process at a time may write a file. Raises WriteError; what was there before then still is.
    """
    temporary = partial(path)
    try:
        try:
            temporary.unlink(missing_ok=True)  # an earlier process may have been killed here
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise WriteError(f"{path}: can't write: {error.strerror}") from None


def _sync_folder(folder: Path) -> None:
    """Have a new name reach the disk, where the system can."""
    if sys.platform != "win32":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            with suppress(OSError):  # not every file system can
                os.fsync(descriptor)
        finally:
            os.close(descriptor)


def lock(file: IO[bytes]) -> bool:
    """Take an open file for this process until it closes it or ends. False where another one has taken it.

    A file system without locks, and Windows, let everybody have it.
    """
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass
    return True
