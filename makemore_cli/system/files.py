"""Read files that may be huge, and write files that must never be incomplete."""

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
LOCKED_BYTE = 1 << 40  # on Windows
SVG_MARK = f"<!-- {MARK} graph -->".encode()
DOT_MARK = f"// {MARK} graph"
# How makemore's plots, reports and the like begin, and a mark near the beginning. No other file is replaced.
SIGNATURES = (
    (b"\x89PNG\r\n", b"tEXtSoftware\0" + MARK.encode()),
    (b"<?xml", f"<dc:title>{MARK}</dc:title>".encode()),
    (b"<?xml", SVG_MARK),
    (DOT_MARK.encode(), b"\n"),
    (f"# The best trial of a `{MARK} sweep`".encode(), b"\n"),
    (b"<!DOCTYPE html>", f'<meta name="generator" content="{MARK}">'.encode()),
)


def check_plain(path: Path, most: int | None = None) -> None:
    """Check that a file can be read without blocking and, if `most` is given, without filling the memory.

    Raises MakemoreError for a pipe, a device, or a file of more than `most` bytes; OSError if there is no file.
    """
    try:
        status = path.stat()
    except ValueError:  # a NUL, or a lone surrogate
        raise MakemoreError(f"{str(path)!r}: is not a valid file name") from None
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise MakemoreError(f"{path}: is a pipe or a device; give a file, since it may be read twice")
    if most is not None and status.st_size > most:
        raise MakemoreError(f"{path}: has {status.st_size:,} bytes, but at most {most:,} are read; give a smaller file")


def read(path: Path, most: int) -> bytes:
    """A file's content. Raises the errors of `check_plain`, and OSError."""
    check_plain(path, most)
    with path.open("rb") as file:
        return file.read(most)


def partial(path: Path) -> Path:
    """The path at which a file is written before it gets its name."""
    return path.with_name(f".{path.name}.partial")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is never incomplete under its name, even if the machine crashes.

    Only one process at a time may write a file. Raises WriteError, and then keeps the previous file.
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
    """Create the folder for a plot, a report or the like, which may replace only an earlier one.

    `parameter` names the caller's parameter that holds the path. Raises MakemoreError.
    """
    own = (parameter,)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise MakemoreError(f"{path.parent}: is not a folder; choose another one", parameters=own) from None
    except OSError as error:
        raise MakemoreError(
            f"{path.parent}: can't be created: {error.strerror}; choose another folder", parameters=own
        ) from None
    try:
        if (path.exists() or path.is_symlink()) and not is_ours(path):
            raise MakemoreError(f"{path}: exists, but was not made by makemore; choose another path", parameters=own)
    except OSError as error:
        raise MakemoreError(f"{path}: can't write: {error.strerror}") from None


def is_ours(path: Path) -> bool:
    """Whether a file is a plot, a report or the like by makemore. Raises OSError if it can't be read."""
    if not stat.S_ISREG(path.lstat().st_mode):
        return False
    with path.open("rb") as file:
        beginning = file.read(4096)
    return any(beginning.startswith(start) and mark in beginning for start, mark in SIGNATURES)


def _sync_folder(folder: Path) -> None:
    """Flush a new name to the disk, if the system can. The file is complete in any case."""
    if sys.platform != "win32":
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def open_log(path: Path) -> IO[bytes]:
    """Open a file for appending, created if missing, and unbuffered, so that a failed write is not retried later.

    Raises OSError for a link, which could redirect the output, and for a pipe or device, which could block it.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = open(os.open(path, flags, 0o666), "ab", buffering=0)  # noqa: SIM115, PTH123 (closed by the caller)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "Not a file", str(path))
    return file


def is_open_at(file: IO[bytes], path: Path) -> bool:
    """Whether an open file is still at this path: neither it nor its folder was moved or removed."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    except FileNotFoundError:
        return False


def lock(file: IO[bytes]) -> bool:
    """Lock an open file for this process until it closes it or ends. False if another process has locked it.

    Always true on a file system without locks. The part for Windows is untested there.
    """
    if sys.platform == "win32":
        import msvcrt

        # Windows keeps others from reading what is locked, so this locks a byte far beyond the end.
        position = file.tell()
        file.seek(LOCKED_BYTE)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError as error:
            return error.errno not in (errno.EACCES, errno.EDEADLK)
        finally:
            file.seek(position)
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
