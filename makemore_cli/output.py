"""How results and remarks leave the program: results to stdout, remarks to stderr, and neither with a traceback."""

from __future__ import annotations

import io
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


class ReaderGoneError(Exception):
    """Whoever reads stdout has enough, as in `makemore sample RUN | head`."""


def prepare() -> None:
    """Make sure that there are two streams, and that a letter that they can't show does not end the program."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115, PTH123 (closed before the program began)
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def silence() -> None:
    """Let nothing more be written to stdout, not even at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_lines(lines: Iterable[str]) -> None:
    """Print a result, line by line."""
    with _stdout():
        sys.stdout.writelines(f"{line}\n" for line in lines)


def print_texts(texts: Iterable[str]) -> None:
    """Print a result as it comes, text by text, each of whole lines."""
    for text in texts:
        with _stdout():
            sys.stdout.write(text)


def print_json(value: Any) -> None:
    """Print a result as JSON, which knows no infinity and no NaN: they become null."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False)
    print_lines([text])


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_rich(show: Callable[[Console], None], width: int | None = None) -> None:
    """Print what `show` puts on a console; elsewhere than in a terminal it has `width` columns, or 80."""
    from rich.console import Console

    console = Console(highlight=False)
    if width is not None and not console.is_terminal:
        console = Console(highlight=False, width=width)
    with console.capture() as captured:
        show(console)
    with _stdout():
        sys.stdout.write(captured.get())


def remark(text: str) -> None:
    """Print what is no result. Where nobody can read it any more, that is no reason to fail."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


@contextmanager
def _stdout() -> Iterator[None]:
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise ReaderGoneError from None
