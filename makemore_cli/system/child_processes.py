"""Child processes, which import what this one can, but never a file in the working folder.

Python puts the working folder first on a child's path, so a `signal.py` there would run in place of Python's own. Only
isolated mode omits that folder in every version. It omits PYTHONPATH too, so the path is passed on.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HOME = Path(__file__).parents[2]  # contains the package


def import_path() -> list[str]:
    """The folders that a child may import from: this process's path, without the working folder.

    If the package itself is in the working folder, as in a checkout, that comes last, after everything installed.
    """
    kept = [entry for entry in sys.path if entry and not _is_here(entry)]
    return kept if str(HOME) in kept else [*kept, str(HOME)]


def _is_here(entry: str) -> bool:
    try:
        return Path(entry).samefile(os.curdir)
    except (OSError, ValueError):  # there is no such folder
        return False


def command(code: str) -> list[str]:
    """The command line of a Python that runs `code`, which can import from `import_path` only."""
    # Non-ASCII characters are escaped, so that the locale does not matter.
    return [sys.executable, "-I", "-c", f"import sys; sys.path[:] = {import_path()!a}; {code}"]


def begin(code: str) -> subprocess.Popen[bytes]:
    """Start a child that runs `code`. Its output is discarded."""
    nothing = subprocess.DEVNULL
    return subprocess.Popen(command(code), stdin=nothing, stdout=nothing, stderr=nothing)


def start(code: str, descriptors: Sequence[int]) -> subprocess.Popen[bytes]:
    """Start a child that runs `code` and inherits these file descriptors, with the same numbers.

    A terminal's Ctrl-C reaches only this process.
    """
    return subprocess.Popen(command(code), stdin=subprocess.DEVNULL, pass_fds=descriptors, process_group=0)
