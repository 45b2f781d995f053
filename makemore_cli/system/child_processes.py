"""Processes that this one starts: they import what this one can, but never a file of the working folder.

Python puts the working folder at the head of a child's path, so that a `signal.py` that lies there would run in place
of its own. Only isolated mode leaves it out on every version; and since that leaves out PYTHONPATH too, the path is
handed over.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HOME = Path(__file__).parents[2]  # where the package lies


def import_path() -> list[str]:
    """The folders that a child may import from: this process's path, without the working folder.

    If the package itself lies in the working folder, as in a checkout, that comes last, behind everything installed.
    """
    kept = [entry for entry in sys.path if entry and not _is_here(entry)]
    return kept if str(HOME) in kept else [*kept, str(HOME)]


def _is_here(entry: str) -> bool:
    try:
        return Path(entry).samefile(os.curdir)
    except (OSError, ValueError):  # there is no such folder
        return False


def command(code: str) -> list[str]:
    """The command line of a Python that runs some code, which may import from `import_path` only."""
    # What is not ASCII is escaped, so that it means the same whatever the locale.
    return [sys.executable, "-I", "-c", f"import sys; sys.path[:] = {import_path()!a}; {code}"]


def begin(code: str) -> subprocess.Popen[bytes]:
    """Begin to run some code in a child. What it prints is dropped."""
    nothing = subprocess.DEVNULL
    return subprocess.Popen(command(code), stdin=nothing, stdout=nothing, stderr=nothing)


def start(code: str, descriptors: Sequence[int]) -> subprocess.Popen[bytes]:
    """Begin to run some code in a child, which has these open files too, by the same numbers."""
    return subprocess.Popen(command(code), stdin=subprocess.DEVNULL, pass_fds=descriptors)
