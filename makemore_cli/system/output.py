"""The program's output: results on stdout, remarks on stderr.

All of it passes through `printable` here.
"""

from __future__ import annotations

import io
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from makemore_cli.printable import UNPRINTABLE, printable

if TYPE_CHECKING:
    from rich.console import Console


class ReaderGoneError(Exception):
    """The reader of stdout has closed it, as `head` does in `makemore sample RUN | head`."""


def prepare() -> None:
    """Make sure that stdout and stderr exist, and that a character that they can't encode does not end the program."""
    if sys.stdin is None:  # closed before the program started; no other file may get its descriptor
        os.open(os.devnull, os.O_RDONLY)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115, PTH123
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def silence() -> None:
    """Write nothing more to stdout, not even at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_lines(lines: Iterable[str]) -> None:
    """Print lines as they arrive."""
    print_texts(f"{printable(line)}\n" for line in lines)


def print_texts(texts: Iterable[str]) -> None:
    """Print texts as they arrive, each of whole lines."""
    for text in texts:
        with _stdout():
            sys.stdout.write(printable(text, newlines=True))


def print_json(value: Any) -> None:
    """Print a result as JSON. Infinity and NaN become null, since JSON lacks them.

    Characters that could control a terminal become JSON escapes, so that a program reads the original text.
    """
    print_lines([_json(value)])


def print_json_list(parts: Iterable[list[Any]], before: str = "", after: Callable[[], str] = str) -> None:
    """Print a long list as JSON, a part at a time, with some JSON before and after it."""

    def texts() -> Iterator[str]:
        separator = f"{before}["
        for part in parts:
            if part:
                yield separator + _json(part)[1:-1]
                separator = ", "
        yield f"{']' if separator == ', ' else f'{before}[]'}{after()}\n"

    print_texts(texts())


def _json(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False)
    return UNPRINTABLE.sub(lambda found: json.dumps(found[0])[1:-1], text)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_rich(show: Callable[[Console], None], width: int | None = None) -> None:
    """Print what `show` puts on a console; outside a terminal it has `width` columns, or 80."""
    from makemore_cli.system.console import SafeConsole

    console = SafeConsole(highlight=False)
    if width is not None and not console.is_terminal:
        console = SafeConsole(highlight=False, width=width)
    with console.capture() as captured:
        show(console)
    with _stdout():
        sys.stdout.write(captured.get())


def remark(text: str) -> None:
    """Print a line on stderr, and ignore it if that fails."""
    with suppress(OSError):
        print(printable(text), file=sys.stderr, flush=True)


@contextmanager
def _stdout() -> Iterator[None]:
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise ReaderGoneError from None


def duration(seconds: float) -> str:
    """A time for people to read: 8 s, 3 min 20 s, 2 h 5 min."""
    if seconds == float("inf"):
        return "?"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {s} s"
