"""An error in a learner's code, told by the learner's own line."""

from __future__ import annotations

import builtins
import linecache
import traceback
from difflib import get_close_matches
from pathlib import Path

from makemore_cli.errors import MakemoreError

ADVICE = {  # by a part of Python's message
    "invalid decimal literal": "in Python, a product needs *, as in 6*x",
    "for ^:": "in Python, a power is written **",
    "bitwise_xor": "in Python, a power is written **",
}


def blame(path: Path, error: BaseException) -> MakemoreError:
    """The error with the innermost line of the learner's file that it went through, and advice if there is any."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return MakemoreError(_with(_advice(error), f"{path.name}, line {error.lineno}: {error.msg}", error.text or ""))
    linecache.checkcache(str(path))
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    message = " ".join(str(error).split())
    kind = type(error).__name__
    told = f"{kind}: {message}" if message else kind
    if not frames:
        return MakemoreError(_with(_advice(error), f"{path.name}: {told}"))
    return MakemoreError(_with(_advice(error), f"{path.name}, line {frames[-1].lineno}: {told}", frames[-1].line or ""))


def _with(advice: str | None, told: str, line: str = "") -> str:
    code = f": {line.strip()}" if line.strip() else ""
    return f"{told} ({advice}){code}" if advice else f"{told}{code}"


def _advice(error: BaseException) -> str | None:
    if advice := next((advice for part, advice in ADVICE.items() if part in str(error)), None):
        return advice
    if isinstance(error, NameError | AttributeError) and isinstance(error.name, str):
        known = dir(error.obj) if isinstance(error, AttributeError) else _names(error)
        public = [name for name in known if not name.startswith("_")]
        near = [name for name in public if name.lower() == error.name.lower()]
        if near := near or get_close_matches(error.name, public, 1, 0.7):
            return f"did you mean {near[0]}?"
    return None


def _names(error: BaseException) -> list[str]:
    """The names that the line in which an error was raised can see."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return []
    return [*trace.tb_frame.f_locals, *trace.tb_frame.f_globals, *dir(builtins)]
