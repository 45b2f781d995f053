"""Progress of work that takes long. The library reports it; who shows it, and whether, is the caller's choice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

Report = Callable[[float | None], None]  # takes the fraction that is done; None if it is unknown
Display = Callable[[str], AbstractContextManager[Report]]  # takes a text that says what is being done

_display: ContextVar[Display | None] = ContextVar("display", default=None)


@contextmanager
def progress(text: str) -> Iterator[Report]:
    """Report the progress of some work, which `text` names; by default, nobody shows it."""
    display = _display.get()
    if display is None:
        yield lambda fraction: None
    else:
        with display(text) as report:
            yield report


@contextmanager
def shown_by(display: Display | None) -> Iterator[None]:
    """Have all progress shown in this context."""
    token = _display.set(display)
    try:
        yield
    finally:
        _display.reset(token)
