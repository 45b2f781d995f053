"""Files that can't be trusted to be small, and files that must never be half written."""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO

from makemore_cli.errors import MakemoreError, WriteError

MARK = "makemore"
SVG_MARK = f"<!-- {MARK} graph -->".encode()
DOT_MARK = f"// {MARK} graph"
# How a picture, a report or the like begins, and what stands near its beginning: no other file is taken for one.
SIGNATURES = (
    (b"\x89PNG\r\n", b"tEXtSoftware\0" + MARK.encode()),
    (b"<?xml", f"<dc:title>{MARK}</dc:title>".encode()),
    (b"<?xml", SVG_MARK),
    (DOT_MARK.encode(), b"\n"),
    (f"# The best trial of a `{MARK} sweep`".encode(), b"\n"),
    (b"<!DOCTYPE html>", f'<meta name="generator" content="{MARK}">'.encode()),
)


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
    """A file's content. Raises what `check_plain` and opening it raise."""
    check_plain(path, most)
    with path.open("rb") as file:
        return file.read(most)


def partial(path: Path) -> Path:
    """The path at which a file is written before it takes its name."""
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
    except OSError as error:
        raise WriteError(f"{path}: can't write: {error.strerror}") from None
    _sync_folder(path.parent)


def check_replaceable(path: Path, parameter: str = "out") -> None:
    """Make a folder for a picture, a report or the like, which replaces nothing but an earlier one.

    `parameter` is the name of the caller's parameter that says where. Raises MakemoreError.
    """
    own = (parameter,)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise MakemoreError(f"{path.parent}: is not a folder; choose another one", parameters=own) from None
    except OSError as error:
        raise MakemoreError(
            f"{path.parent}: can't be made: {error.strerror}; choose another folder", parameters=own
        ) from None
    try:
        if (path.exists() or path.is_symlink()) and not is_ours(path):
            raise MakemoreError(f"{path}: exists, and was not made by makemore; choose another place", parameters=own)
    except OSError as error:
        raise MakemoreError(f"{path}: can't write: {error.strerror}") from None


def is_ours(path: Path) -> bool:
    """Whether a file is a picture, a report or the like of ours. Raises OSError where it can't be read."""
    if not stat.S_ISREG(path.lstat().st_mode):
        return False
    with path.open("rb") as file:
        beginning = file.read(4096)
    return any(beginning.startswith(start) and mark in beginning for start, mark in SIGNATURES)


def _sync_folder(folder: Path) -> None:
    """Have a new name reach the disk, where the system can. The file is whole in any case."""
    if sys.platform != "win32":
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def open_log(path: Path) -> IO[bytes]:
    """Open a file to add to, made where there is none, unbuffered: what could not be written is not tried again later.

    Raises OSError for a link and for what is no file: nobody may lead us to write elsewhere, or let us wait for ever.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = open(os.open(path, flags, 0o666), "ab", buffering=0)  # noqa: SIM115, PTH123 (closed by who asked for it)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "Not a file", str(path))
    return file


def is_open_at(file: IO[bytes], path: Path) -> bool:
    """Whether an open file still has that name: neither it nor its folder was moved or removed."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    except FileNotFoundError:
        return False


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
