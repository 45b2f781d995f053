"""An error in a learner's code, told by the learner's own line."""

from __future__ import annotations

import linecache
import traceback
from pathlib import Path

from makemore_cli.errors import MakemoreError


def blame(path: Path, error: BaseException) -> MakemoreError:
    """The error with the innermost line of the learner's file that it went through."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return MakemoreError(f"{path.name}, line {error.lineno}: {error.msg}: {(error.text or '').strip()}")
    linecache.checkcache(str(path))
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    message = " ".join(str(error).split())
    kind = type(error).__name__
    told = f"{kind}: {message}" if message else kind
    if not frames:
        return MakemoreError(f"{path.name}: {told}")
    return MakemoreError(f"{path.name}, line {frames[-1].lineno}: {told}: {frames[-1].line}")
