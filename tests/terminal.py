"""A command on a real terminal."""

from __future__ import annotations

import os
import pty
import select
import signal
import sys
import time
from collections.abc import Callable

LINES = 40
Reply = Callable[[bytes], bytes]  # what is typed when a part of the output has come


def in_terminal(
    *arguments: str, columns: int = 120, reply: Reply | None = None, codes: tuple[int, ...] = (0,), **environment: str
) -> str:
    """All that a command shows, which must end within a minute, with one of the exit codes."""
    size = {"COLUMNS": str(columns), "LINES": str(LINES)}
    env = {**os.environ, "TERM": "xterm-256color", **size, **environment}
    process, terminal = pty.fork()
    if process == 0:
        os.execve(sys.executable, [sys.executable, "-m", "makemore_cli", *arguments], env)
    shown, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 1.0)[0]:
            continue
        try:
            part = os.read(terminal, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
        if reply is not None:
            os.write(terminal, reply(part))
    else:
        os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) in codes, shown.decode()
    return shown.decode()
