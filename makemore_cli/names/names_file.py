"""Convert the bytes of a file of names to tokens."""

from __future__ import annotations

import codecs
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from makemore_cli.errors import MakemoreError
from makemore_cli.names.splits import PIECE_LETTERS, Integers
from makemore_cli.names.vocabulary import LARGEST_VOCABULARY_LETTERS, Tokens, Vocabulary, fault
from makemore_cli.system.files import read

NEWLINE = ord("\n")  # the end-of-word token among code points, since no name contains one
SPACES = [chr(c) for c in range(0x3001) if chr(c).isspace() and c != NEWLINE]  # U+3000 is the last one in Unicode
LARGEST_FILE_BYTES = 1 << 31  # some hundred million names


def read_file(path: Path) -> bytes:
    try:
        return read(path, LARGEST_FILE_BYTES)
    except FileNotFoundError:
        raise MakemoreError(f"{path}: no such file; give a text file with one name per line") from None
    except IsADirectoryError:
        raise MakemoreError(f"{path}: is a folder; give a text file with one name per line") from None
    except OSError as error:
        raise MakemoreError(f"{path}: can't be read: {error.strerror}") from None


def code_points(raw: bytes, path: Path) -> NDArray[np.unsignedinteger]:
    """Code points of the text, with no whitespace around lines and a newline at the end of each."""
    try:
        raw = raw.removeprefix(codecs.BOM_UTF8)
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise MakemoreError(f"{path}, line {line}: not UTF-8 ({error.reason}); save the file as UTF-8") from None
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if any(space in text for space in SPACES):
        text = "\n".join(line.strip() for line in text.split("\n"))
    if not text.endswith("\n"):
        text += "\n"
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), dtype=np.uint8)
    return np.frombuffer(text.encode("utf-32-le"), dtype="<u4")


def encode(points: NDArray[np.unsignedinteger], vocabulary: Vocabulary | None, path: Path) -> tuple[Vocabulary, Tokens]:
    """The vocabulary, new unless it is given, and the tokens of a text, with token 0 for a newline."""
    pieces = [slice(start, start + PIECE_LETTERS) for start in range(0, len(points), PIECE_LETTERS)]
    used = np.zeros(int(points.max()) + 1, dtype=bool)
    for piece in pieces:
        used[points[piece]] = True
    letters = [chr(point) for point in np.flatnonzero(used) if point != NEWLINE]
    faults = {letter: reason for letter in letters if (reason := fault(letter, vocabulary))}
    if faults:
        first, reason = min((int(np.argmax(points == ord(letter))), reason) for letter, reason in faults.items())
        raise MakemoreError(f"{path}, line {np.count_nonzero(points[:first] == NEWLINE) + 1}: {reason}")
    if len(letters) > LARGEST_VOCABULARY_LETTERS:
        raise MakemoreError(
            f"{path}: holds {len(letters):,} different characters, but at most {LARGEST_VOCABULARY_LETTERS:,} are "
            "allowed; give a file of names"
        )
    vocabulary = vocabulary or Vocabulary("".join(letters))
    table = np.zeros(len(used), dtype=vocabulary.dtype)
    for token, letter in enumerate(vocabulary.letters, start=1):
        if ord(letter) < len(table):
            table[ord(letter)] = token
    tokens = np.empty(len(points), dtype=vocabulary.dtype)
    for piece in pieces:
        tokens[piece] = table[points[piece]]
    return vocabulary, tokens


def find_names(tokens: Tokens) -> tuple[Integers, Integers]:
    """The start and the length of each name. Blank lines are skipped."""
    place = np.uint32 if len(tokens) < 2**32 else np.int64
    pieces = range(0, len(tokens), PIECE_LETTERS)
    ends = np.concatenate(
        [start + np.flatnonzero(tokens[start : start + PIECE_LETTERS] == 0).astype(place) for start in pieces]
    )
    lengths = ends.copy()
    lengths[1:] -= ends[:-1] + 1
    starts = np.subtract(ends, lengths, out=ends)
    if lengths.all():
        return starts, lengths
    return starts[lengths > 0], lengths[lengths > 0]
