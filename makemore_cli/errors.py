"""Errors that are shown as one line instead of a traceback."""

from __future__ import annotations

import re
from operator import index
from typing import TYPE_CHECKING, Any, SupportsIndex

from makemore_cli.printable import printable

if TYPE_CHECKING:
    from pathlib import Path

LONGEST_WORD_CHARACTERS, LONGEST_MESSAGE_CHARACTERS = 300, 900


def brief(message: str) -> str:
    """A message on one line, with the middle of long words and of a long message cut out."""

    def shorter(text: str, most: int) -> str:
        return text if len(text) <= most else f"{text[: 2 * most // 3]}…{text[-most // 4 :]}"

    return shorter(
        re.sub(r"\S+", lambda word: shorter(word[0], LONGEST_WORD_CHARACTERS), printable(message)),
        LONGEST_MESSAGE_CHARACTERS,
    )


class MakemoreError(Exception):
    """A user's mistake. The message says in one line what is wrong, where, and what to do.

    `parameters` are the names of the parameters and configuration keys that can correct it. The command line adds
    the options for them. `resume` is the run folder whose training can be resumed now, if there is one.
    """

    def __init__(self, message: str, *, parameters: tuple[str, ...] = (), resume: Path | None = None) -> None:
        """The message may contain user text of any length."""
        super().__init__(brief(message))
        self.parameters, self.resume = parameters, resume

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process: its subclasses take other arguments than the message."""
        return _restored, (type(self), str(self), self.__dict__)

    def _render_traceback_(self) -> list[str]:
        """One line in place of a traceback, for IPython and Jupyter."""
        return [f"{type(self).__name__}: {self}"]


def _restored(kind: type[MakemoreError], message: str, state: dict[str, Any]) -> MakemoreError:
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    error.__dict__.update(state)
    return error


class ParameterError(MakemoreError):
    """An invalid value of a parameter. `fact` says what is wrong, as in "must be at least 0, got -1"."""

    def __init__(self, parameter: str, fact: str) -> None:
        super().__init__(f"{parameter} {fact}", parameters=(parameter,))
        self.fact = brief(fact)


def whole(parameter: str, value: SupportsIndex, least: int, most: int | None = None) -> int:
    """A whole number within bounds, also NumPy's. Raises ParameterError for anything else."""
    try:
        number = index(value)
    except TypeError:
        number = None
    if number is None or number < least or (most is not None and number > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ParameterError(parameter, f"must be a whole number {bounds}, got {value!r}")
    return number


class CheckFailedError(MakemoreError):
    """A requested check has failed: gradients disagree."""


class ToldElsewhereError(MakemoreError):
    """Another process that works with this one tells the user what is wrong."""


class WriteError(MakemoreError):
    """Something can't be written: the disk is full, or a folder is gone."""


class StoppedError(MakemoreError):
    """The work was stopped by a signal or an observer, and all of it was saved.

    `signal` is the signal's number, or None.
    """

    def __init__(self, message: str, signal: int | None = None, *, resume: Path | None = None) -> None:
        super().__init__(message, resume=resume)
        self.signal = signal
