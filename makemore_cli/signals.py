"""Signals that are to end a process, held back until it has saved its work."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any

ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
PATIENCE = 1.0  # seconds


class Held:
    """As a context manager, keeps the first signal for later, in `caught`.

    Another Ctrl-C, a second or more after it, interrupts as usual; other signals may come again, as a terminal and its
    shell both send theirs when they close. A signal that is ignored, as under nohup, stays so. Outside the main thread
    nothing is held back.
    """

    def __init__(self) -> None:
        self.caught: int | None = None
        self._since = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Held:
        """Hold signals back."""
        if threading.current_thread() is threading.main_thread():
            for number in ENDING:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._catch)
        return self

    def __exit__(self, *error: object) -> None:
        """Let them through again."""
        while self._before:
            signal.signal(*self._before.popitem())

    def _catch(self, number: int, frame: FrameType | None) -> None:
        if self.caught is None:
            self.caught, self._since = number, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() > self._since + PATIENCE:
            raise KeyboardInterrupt
