"""Read the names in a text, and convert them to tokens."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from makemore_cli.errors import MakemoreError
from makemore_cli.names.splits import PIECE_LETTERS, Integers
from makemore_cli.names.vocabulary import LARGEST_VOCABULARY_LETTERS, Tokens, Vocabulary, fault

NEWLINE = ord("\n")  # the end-of-word token among code points, since no name contains one
SPACES = [chr(c) for c in range(0x3001) if chr(c).isspace() and c != NEWLINE]  # U+3000 is the last one in Unicode
FEWEST_NAMES = 6  # with fewer, a split would be empty
LONGEST_NAME_LETTERS = 1000
LONGEST_LINE_BYTES = 1 << 20  # with space around the name

Points = NDArray[np.unsignedinteger]


class NamesReader:
    """Reads the names in a text, a piece at a time, and checks them."""

    def __init__(self, text: Iterable[bytes], path: Path, vocabulary: Vocabulary | None = None) -> None:
        """If a trained model's `vocabulary` is given, no other character may occur. Messages name `path`."""
        self._text, self.path, self.given = text, path, vocabulary
        self.text_bytes, self.names, self.line = 0, 0, 1
        self._points: set[int] = set()  # of the characters so far
        self._first: Points | None = None
        self._alike = True  # whether all names so far are the same

    def pieces(self) -> Iterator[Points]:
        """Code points of the text, with no whitespace around lines and a newline at the end of each.

        Each piece has whole lines, and the smallest type that holds it. Raises MakemoreError, which names the line.
        """
        for raw in self._whole_lines():
            points = self._code_points(raw)
            self._check_letters(points)
            self._check_names(points)
            self.line += int(np.count_nonzero(points == NEWLINE))
            yield points

    def check_number(self) -> None:
        """Refuse too few names. Raises MakemoreError."""
        n, path = self.names, self.path
        if n < FEWEST_NAMES:
            names = {0: "no name", 1: "only 1 name"}.get(n, f"only {n} names")
            raise MakemoreError(
                f"{path}: holds {names}; at least {FEWEST_NAMES} are needed, so that each split gets one"
            )
        if self._alike:
            raise MakemoreError(f"{path}: holds the same name {n:,} times; give different names")

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The given vocabulary, or that of the names read."""
        return self.given or Vocabulary("".join(map(chr, sorted(self._points))))

    @property
    def has_own_vocabulary(self) -> bool:
        """Whether the vocabulary has no other characters than the names."""
        return len(self.vocabulary.letters) == len(self._points)

    def _whole_lines(self) -> Iterator[bytes]:
        rest, is_first = b"", True
        for block in self._text:
            self.text_bytes += len(block)
            text = rest + block
            if is_first and len(text) >= len(codecs.BOM_UTF8):
                text, is_first = text.removeprefix(codecs.BOM_UTF8), False
            # A carriage return at the end may be the first half of a line break.
            cut = 1 + max(text.rfind(b"\n"), text.rfind(b"\r", 0, len(text) - 1))
            rest = text[cut:]
            if len(rest) > LONGEST_LINE_BYTES:
                line = self.line + len(text[:cut].splitlines())
                raise MakemoreError(f"{self.path}, line {line}: more than 1 MiB; write one name per line")
            if cut:
                yield text[:cut]
        if rest:
            yield rest.removeprefix(codecs.BOM_UTF8) if is_first else rest

    def _code_points(self, raw: bytes) -> Points:
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            line = self.line + len((raw[: error.start] + b".").splitlines()) - 1
            raise MakemoreError(
                f"{self.path}, line {line}: not UTF-8 ({error.reason}); save the file as UTF-8"
            ) from None
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        if any(space in text for space in SPACES):
            text = "\n".join(line.strip() for line in text.split("\n"))
        if not text.endswith("\n"):
            text += "\n"
        if text.isascii():
            return np.frombuffer(text.encode("ascii"), dtype=np.uint8)
        points = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
        return points.astype(np.min_scalar_type(points.max()))

    def _check_letters(self, points: Points) -> None:
        new = [point for point in _distinct(points) if point not in self._points]
        faults = {point: reason for point in new if (reason := fault(chr(point), self.given))}
        if faults:
            first, reason = min((int(np.argmax(points == point)), reason) for point, reason in faults.items())
            line = self.line + int(np.count_nonzero(points[:first] == NEWLINE))
            raise MakemoreError(f"{self.path}, line {line}: {reason}")
        self._points.update(new)
        if len(self._points) > LARGEST_VOCABULARY_LETTERS:
            raise MakemoreError(
                f"{self.path}: has more than {LARGEST_VOCABULARY_LETTERS:,} different characters; give a file of names"
            )

    def _check_names(self, points: Points) -> None:
        starts, lengths = find_names(points)
        if len(starts) == 0:
            return
        if lengths.max() > LONGEST_NAME_LETTERS:
            first = int(np.argmax(lengths > LONGEST_NAME_LETTERS))
            line = self.line + int(np.count_nonzero(points[: starts[first]] == NEWLINE))
            raise self._too_long(line, f"{lengths[first]:,}")
        self.names += len(starts)
        if self._first is None:
            self._first = points[starts[0] : starts[0] + lengths[0]].copy()
        if self._alike:
            self._alike = bool((lengths == len(self._first)).all()) and all(
                bool((points[starts + at] == point).all()) for at, point in enumerate(self._first)
            )

    def _too_long(self, line: int, letters: str) -> MakemoreError:
        return MakemoreError(
            f"{self.path}, line {line}: a name of {letters} characters; write one name per line, with at most "
            f"{LONGEST_NAME_LETTERS:,}"
        )


def _distinct(points: Points) -> list[int]:
    """The distinct code points in a text but the newline, in ascending order."""
    used = np.zeros(int(points.max()) + 1, dtype=bool)
    for start in range(0, len(points), PIECE_LETTERS):
        used[points[start : start + PIECE_LETTERS]] = True
    used[NEWLINE] = False
    return np.flatnonzero(used).tolist()


def find_names(points: Points) -> tuple[Integers, Integers]:
    """The start and the length of each name among code points. Blank lines are skipped."""
    place = np.uint32 if len(points) < 2**32 else np.int64
    pieces = range(0, len(points), PIECE_LETTERS)
    ends = np.concatenate(
        [start + np.flatnonzero(points[start : start + PIECE_LETTERS] == NEWLINE).astype(place) for start in pieces]
    )
    lengths = ends.copy()
    lengths[1:] -= ends[:-1] + 1
    starts = np.subtract(ends, lengths, out=ends)
    if lengths.all():
        return starts, lengths
    return starts[lengths > 0], lengths[lengths > 0]


def token_table(vocabulary: Vocabulary) -> Tokens:
    """The token of each code point, with token 0 for a newline and for all others."""
    points = [ord(letter) for letter in vocabulary.letters]
    table = np.zeros(max(points, default=NEWLINE) + 1, dtype=vocabulary.dtype)
    table[points] = np.arange(1, len(points) + 1)
    return table
