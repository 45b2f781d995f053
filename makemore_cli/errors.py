"""Errors that are shown as one line instead of a traceback."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

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

    def _render_traceback_(self) -> list[str]:
        """One line in place of a traceback, for IPython and Jupyter."""
        return [f"{type(self).__name__}: {self}"]


class ParameterError(MakemoreError):
    """An invalid value of a parameter. `fact` says what is wrong, as in "must be at least 0, got -1"."""

    def __init__(self, parameter: str, fact: str) -> None:
        super().__init__(f"{parameter} {fact}", parameters=(parameter,))
        self.fact = brief(fact)


class CheckFailedError(MakemoreError):
    """A requested check has failed: gradients disagree."""


class WriteError(MakemoreError):
    """Something can't be written: the disk is full, or a folder is gone."""


class StoppedError(MakemoreError):
    """The work was stopped by a signal or an observer, and all of it was saved.

    `signal` is the signal's number, or None.
    """

    def __init__(self, message: str, signal: int | None = None, *, resume: Path | None = None) -> None:
        super().__init__(message, resume=resume)
        self.signal = signal
