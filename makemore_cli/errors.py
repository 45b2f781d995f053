"""What the command line tells in one line instead of a traceback."""

from __future__ import annotations

import re

from makemore_cli.printable import printable

LONGEST_WORD_CHARACTERS, LONGEST_MESSAGE_CHARACTERS = 300, 900  # signs of a word, and of a message


def brief(message: str) -> str:
    """A message that can be read: on one line, without the middle of long words (keys, paths, values), or its own."""

    def shorter(text: str, most: int) -> str:
        return text if len(text) <= most else f"{text[: 2 * most // 3]}…{text[-most // 4 :]}"

    return shorter(
        re.sub(r"\S+", lambda word: shorter(word[0], LONGEST_WORD_CHARACTERS), printable(message)),
        LONGEST_MESSAGE_CHARACTERS,
    )


class MakemoreError(Exception):
    """A user's mistake: the message says what is wrong, where, and what to do, in one line. Exit code 2."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        """The message may hold what is the user's, of whatever length."""
        super().__init__(brief(message))


class CheckFailedError(MakemoreError):
    """A check that was asked for did not hold (gradients that disagree). Exit code 1."""

    exit_code = 1


class WriteError(MakemoreError):
    """Something can't be written: a full disk, a folder that is gone. Exit code 2."""


class StoppedError(MakemoreError):
    """A signal has ended the training, and all was saved. Exit code 128 + the signal's number, as in shells."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal
