"""Locks."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from makemore_cli.system import files


class FakeMsvcrt(SimpleNamespace):
    """Windows' locks as its documentation has them: of bytes from the file's position on, held until it is closed."""

    LK_NBLCK = 2

    def __init__(self, error: int = errno.EACCES) -> None:
        self.locked: dict[tuple[int, int], int] = {}
        self.error = error

    def locking(self, fd: int, mode: int, nbytes: int) -> None:
        assert mode == self.LK_NBLCK
        place = (files.os.fstat(fd).st_ino, files.os.lseek(fd, 0, 1))
        if self.locked.setdefault(place, fd) != fd:
            raise OSError(self.error, "locked")
        assert nbytes == 1


@pytest.mark.parametrize(("error", "second"), [(errno.EACCES, False), (errno.EDEADLK, False), (errno.EINVAL, True)])
def test_a_lock_on_windows(error: int, second: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one fails, unless the file system has no locks; the content stays readable and writable."""
    fake = FakeMsvcrt(error)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "msvcrt", fake)
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"one\n")
    with path.open("r+b") as first, path.open("r+b") as other:
        first.seek(4)
        assert files.lock(first)
        assert first.tell() == 4
        first.write(b"two\n")
        first.flush()
        assert files.lock(other) is second
        assert other.read() == b"one\ntwo\n"
    ((_, place),) = fake.locked
    assert place > 1 << 30  # beyond what is read
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_lock_here(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with path.open("wb") as first, path.open("r+b") as other:
        assert files.lock(first)
        assert not files.lock(other)
    with path.open("r+b") as again:
        assert files.lock(again)
