"""Run a user's Python file, and name the line in which it fails."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Collection, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from makemore_cli.errors import MakemoreError


def libraries() -> dict[str, Any]:
    """The names that need no import."""
    return {"torch": torch, "F": F, "nn": torch.nn, "np": np, "numpy": np}


@contextmanager
def at_home(path: Path, *, quiet: bool = False) -> Iterator[None]:
    """Let a file import its neighbours, and send what it prints to stderr, since results go to stdout, or nowhere."""
    folder = str(path.absolute().parent)
    sys.path.insert(0, folder)
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere if quiet else sys.stderr):  # noqa: PTH123
            yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


def blame(path: Path, files: Collection[str], error: BaseException) -> MakemoreError:
    """An error with the innermost line of the user's files that it went through."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename in files]
    if isinstance(error, SyntaxError) and error.filename in files:
        return MakemoreError(f"{error.filename}, line {error.lineno}: {error.msg}: {(error.text or '').strip()}")
    where = f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else str(path)
    line = f": {frames[-1].line}" if frames else ""
    message = " ".join(str(error).split())
    if isinstance(error, MakemoreError):  # its message is complete
        return MakemoreError(f"{where}: {message}")
    return MakemoreError(f"{where}: {type(error).__name__}: {message}{line}")
