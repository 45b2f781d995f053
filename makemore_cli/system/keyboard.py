"""Single keys from a terminal, without Enter."""

from __future__ import annotations

import os
import select
import sys
from types import TracebackType

try:
    import termios
    import tty
except ImportError:  # Windows
    termios = tty = None  # type: ignore[assignment]


class Keyboard:
    """A context manager in which `pressed` returns keys. Without a terminal, no key is ever pressed."""

    def __init__(self) -> None:
        self._file: int | None = None

    def __enter__(self) -> Keyboard:
        if termios is not None and sys.stdin is not None and sys.stdin.isatty():
            self._file = sys.stdin.fileno()
            self._before = termios.tcgetattr(self._file)
            tty.setcbreak(self._file)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            termios.tcsetattr(self._file, termios.TCSADRAIN, self._before)

    @property
    def there(self) -> bool:
        """Whether keys can be read."""
        return self._file is not None

    def pressed(self) -> str:
        """The key that was pressed, or "" if none was."""
        if self._file is None or not select.select([self._file], [], [], 0)[0]:
            return ""
        key = os.read(self._file, 1)
        return key.decode(errors="replace") if key else "q"  # the terminal is closed

    def forget(self) -> None:
        """Forget the keys that were pressed up to now."""
        if self._file is not None:
            termios.tcflush(self._file, termios.TCIFLUSH)
