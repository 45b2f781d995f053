"""How results and remarks leave the program: results to stdout, remarks to stderr, and neither with a traceback.

Much of what is printed is not ours: names, paths, settings of somebody else's run. So all of it passes through
`printable` here, lest it moves the cursor, recolours the screen, or reads in another order than it is written in.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


# Control characters, C1 and DEL among them; the ends of lines and paragraphs; what changes the direction of writing, is
# not seen, or stands for a tag; and halves of surrogate pairs, as undecodable file names have them. What joins letters
# or keeps them apart (U+200C, U+200D) stays: some languages' names need it.
CONTROLS = (
    "\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f"
)
_UNPRINTABLE = re.compile(f"[{CONTROLS}]")
_UNPRINTABLE_BUT_NEWLINES = re.compile(f"(?!\n)[{CONTROLS}]")


def printable(text: str, *, newlines: bool = False) -> str:
    """The text on one line, with what might steer a terminal written as Python shows it in a string.

    With `newlines` these stay. What has been made printable stays as it is.
    """
    pattern = _UNPRINTABLE_BUT_NEWLINES if newlines else _UNPRINTABLE
    return pattern.sub(lambda found: repr(found[0])[1:-1], text)


class ReaderGoneError(Exception):
    """Whoever reads stdout has enough, as in `makemore sample RUN | head`."""


def prepare() -> None:
    """Make sure that there are two streams, and that a letter that they can't show does not end the program."""
    if sys.stdin is None:  # closed before the program began; let no file that is opened take its number
        os.open(os.devnull, os.O_RDONLY)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115, PTH123
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def silence() -> None:
    """Let nothing more be written to stdout, not even at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_lines(lines: Iterable[str]) -> None:
    """Print a result line by line, as they come."""
    print_texts(f"{printable(line)}\n" for line in lines)


def print_texts(texts: Iterable[str]) -> None:
    """Print a result text by text, as they come, each of whole lines."""
    for text in texts:
        with _stdout():
            sys.stdout.write(printable(text, newlines=True))


def print_json(value: Any) -> None:
    """Print a result as JSON, which knows no infinity and no NaN: they become null.

    What might steer a terminal is written with JSON's own escapes, so that a program reads what there is.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False)
    print_lines([_UNPRINTABLE.sub(lambda found: json.dumps(found[0])[1:-1], text)])


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_rich(show: Callable[[Console], None], width: int | None = None) -> None:
    """Print what `show` puts on a console; elsewhere than in a terminal it has `width` columns, or 80."""
    from makemore_cli.system.console import SafeConsole

    console = SafeConsole(highlight=False)
    if width is not None and not console.is_terminal:
        console = SafeConsole(highlight=False, width=width)
    with console.capture() as captured:
        show(console)
    with _stdout():
        sys.stdout.write(captured.get())


def remark(text: str) -> None:
    """Print a line that is no result. If nobody can read it any more, that is no reason to fail."""
    with suppress(OSError):
        print(printable(text), file=sys.stderr, flush=True)


@contextmanager
def _stdout() -> Iterator[None]:
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise ReaderGoneError from None
