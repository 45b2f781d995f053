"""Signals that end the process: it saves its work first, and says so if that takes long.

Python's handlers run between two instructions of the main thread, and one instruction may take minutes, such as a
product of huge matrices. So a separate thread learns of each signal, from a socket that the system's handler writes to.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, ClassVar

from makemore_cli.system import output

ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
INTERRUPTED = 130  # the exit code, 128 + SIGINT's number, as in shells
NOTICE_SECONDS = 0.5
AGAIN = "press Ctrl-C again to stop at once"


class Watch:
    """A context manager that says that a signal was received if the process still runs half a second later.

    From then on, another Ctrl-C stops the work at once. Before that, it counts as the same one, since a terminal and
    its shell each send one. Outside the main thread, nothing is watched.
    """

    exits: ClassVar[bool] = False  # whether that Ctrl-C ends the process, which the command line owns

    def __init__(
        self,
        notice: str,
        tell: Callable[[str], None] = output.remark,
        before: Callable[[], None] | None = None,
        *,
        exits: bool = False,
    ) -> None:
        """`tell` shows the notice, and `before` is called before the process ends at once.

        `exits` also holds for what is watched inside.
        """
        self._notice, self._tell, self._before, self._exits = f"{notice}; {AGAIN}", tell, before, exits
        self._socket: socket.socket | None = None
        self.told = False  # whether the notice was shown

    def __enter__(self) -> Watch:
        if threading.current_thread() is threading.main_thread():
            ours, self._socket = socket.socketpair()
            self._socket.setblocking(False)
            self._thread = threading.Thread(target=self._listen, args=(ours,), name="signals", daemon=True)
            self._thread.start()
            self._earlier = signal.set_wakeup_fd(self._socket.fileno(), warn_on_full_buffer=False)
            self._outer, Watch.exits = Watch.exits, Watch.exits or self._exits
        return self

    def __exit__(self, *error: object) -> None:
        if self._socket is not None:
            signal.set_wakeup_fd(self._earlier, warn_on_full_buffer=False)
            Watch.exits = self._outer
            self._socket.close()
            self._thread.join(NOTICE_SECONDS)  # it takes longer only if nobody reads its notice
            self._socket = None

    def _listen(self, signals: socket.socket) -> None:
        with signals:
            while not set(ENDING) & set(received := signals.recv(64)):
                if not received:  # the other end is closed
                    return
            deadline = time.monotonic() + NOTICE_SECONDS
            while (left := deadline - time.monotonic()) > 0:
                signals.settimeout(left)
                with suppress(TimeoutError):
                    if not signals.recv(64):
                        return
            self.told = True
            self._tell(self._notice)
            signals.settimeout(None)
            while received := signals.recv(64):
                if signal.SIGINT in received and Watch.exits:
                    self._leave()

    def _leave(self) -> None:
        with suppress(Exception):
            if self._before is not None:
                self._before()
        with suppress(OSError):
            if os.isatty(sys.stderr.fileno()):
                os.write(sys.stderr.fileno(), b"\x1b[?25h\n")  # show the cursor, which a live view hides
        output.remark("makemore: interrupted")
        os._exit(INTERRUPTED)


class Held:
    """A context manager that keeps the first signal in `caught`. The training loop then saves and stops.

    Further signals have no effect, except for another Ctrl-C: `Watch` ends the process, or if it does not, this raises
    KeyboardInterrupt. A signal that is ignored, as under nohup, stays ignored. Outside the main thread, nothing is held
    back.
    """

    def __init__(self, watch: Watch) -> None:
        self.caught: int | None = None
        self._watch = watch
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Held:
        self._watch.__enter__()
        if threading.current_thread() is threading.main_thread():
            for number in ENDING:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._catch)
        return self

    def __exit__(self, *error: object) -> None:
        while self._before:
            signal.signal(*self._before.popitem())
        self._watch.__exit__()

    def _catch(self, number: int, frame: FrameType | None) -> None:
        if self.caught is None:
            self.caught = number
        elif number == signal.SIGINT and self._watch.told and not Watch.exits:
            raise KeyboardInterrupt
