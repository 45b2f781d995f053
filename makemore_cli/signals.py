"""Signals that are to end a process, held back until it has saved its work."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Held:
    """As a context manager, keeps the first signal for later in `caught`; a second one ends the process as usual.

    A signal that is ignored, as under nohup, stays so. Outside the main thread nothing is held back.
    """

    def __init__(self) -> None:
        self.caught: int | None = None
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
            self.caught = number
        else:
            self.__exit__()
            signal.raise_signal(number)
