"""From a file of names to batches: vocabulary, splits, and contexts as windows on one flat stream of tokens.

The stream is every name followed by the end-of-word sign, in the splits' order: `emma.olivia.ava.`. Each of its
tokens is one example: that token is what is to be guessed, and the T tokens before it are its context, of which
whatever stands before the latest sign belongs to the name before and reads as `.` too.
"""

from __future__ import annotations

import hashlib
import random
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from makemore_cli.config import DataConfig
from makemore_cli.errors import MakemoreError
from makemore_cli.resources import bundled

END = "."  # starts and ends every name; token 0
NEWLINE = ord("\n")  # stands for the sign among code points, since no name holds one
FEWEST = 6  # names: with fewer, a split would be empty
SPLITS = ("train", "val", "test")

Tokens = NDArray[np.unsignedinteger]
Integers = NDArray[np.integer]


@dataclass(frozen=True)
class Vocabulary:
    """The letters, sorted by code point from 1; 0 is the end-of-word sign."""

    letters: str

    def __len__(self) -> int:
        """V, the sign included."""
        return 1 + len(self.letters)

    @cached_property
    def _token(self) -> dict[str, int]:
        return {letter: token for token, letter in enumerate(self.letters, start=1)}

    def encode(self, name: str) -> list[int]:
        """Tokens of a name. Raises MakemoreError for a letter that is not in the vocabulary."""
        for letter in name:
            if letter not in self._token:
                raise MakemoreError(f"{name!r}: the model knows no {letter!r}; its letters are {self.letters}")
        return [self._token[letter] for letter in name]

    def decode(self, tokens: Iterable[int]) -> str:
        """The name that tokens spell; the sign is left out."""
        return "".join(self.letters[token - 1] for token in tokens if token)

    @property
    def dtype(self) -> type[np.unsignedinteger]:
        """The smallest type that holds every token."""
        return next(t for t in (np.uint8, np.uint16, np.uint32) if len(self.letters) <= np.iinfo(t).max)


@dataclass(frozen=True)
class Distinct:
    """A split as a multiset: its distinct contexts, and which letters follow them how often."""

    X: Tokens  # (contexts, T)
    weight: Integers  # (contexts,): how many examples have the context
    context: Integers  # (pairs,): a context's row in X, ascending
    Y: Tokens  # (pairs,): a letter that follows it
    count: Integers  # (pairs,): how often


@dataclass(frozen=True)
class Split:
    """A part of the stream, and its examples."""

    vocabulary: Vocabulary
    windows: Tokens  # (tokens of the whole stream, T): the T tokens before each
    tokens: Tokens  # (len(self),)
    start: int

    def __len__(self) -> int:
        """How many examples: one for each letter of each name and one for its end."""
        return len(self.tokens)

    def examples(self, index: Integers) -> tuple[Tokens, Tokens]:
        """Contexts (…, T) and next letters (…) of the examples at `index` (…)."""
        X = self.windows[self.start + index]  # indexing by an array copies
        for t in reversed(range(X.shape[-1] - 1)):
            X[..., t] *= X[..., t + 1] != 0  # what stands before a sign is another name's
        return X, self.tokens[index]

    def names(self) -> list[str]:
        """The split's names, in their order."""
        code_points = np.array([NEWLINE, *map(ord, self.vocabulary.letters)], dtype="<u4")
        return code_points[self.tokens].tobytes().decode("utf-32-le").split("\n")[:-1]

    @cached_property
    def distinct(self) -> Distinct:
        """Distinct contexts and pairs of context and letter, in ascending order.

        What is summed over them with their counts is what the examples would sum to, from far fewer rows.
        """
        X, Y = self.examples(np.arange(len(self)))
        rows, count = _unique_rows(np.column_stack([X, Y]), len(self.vocabulary))
        first = np.append(True, (rows[1:, :-1] != rows[:-1, :-1]).any(1))
        weight = np.add.reduceat(count, np.flatnonzero(first))
        return Distinct(rows[first, :-1], weight, np.cumsum(first) - 1, rows[:, -1], count)


def _unique_rows(rows: Tokens, base: int) -> tuple[Tokens, Integers]:
    """Distinct rows of tokens below `base`, ascending, and how often each occurs."""
    width = rows.shape[1]
    if base**width > np.iinfo(np.int64).max:
        return np.unique(rows, axis=0, return_counts=True)
    # A row is a number in that base, and numbers sort much faster than rows.
    powers = base ** np.arange(width - 1, -1, -1, dtype=np.int64)
    number = np.zeros(len(rows), dtype=np.int64)
    for column, power in zip(rows.T, powers, strict=True):
        number += column.astype(np.int64) * power
    distinct, count = np.unique(number, return_counts=True)
    return (distinct[:, None] // powers % base).astype(rows.dtype), count


@dataclass(frozen=True)
class Dataset:
    """A file of names, split as in the lecture."""

    path: Path
    sha256: str
    vocabulary: Vocabulary
    train: Split
    val: Split
    test: Split

    @property
    def splits(self) -> dict[str, Split]:
        """The three splits by name."""
        return {name: getattr(self, name) for name in SPLITS}

    @cached_property
    def training_names(self) -> frozenset[str]:
        """Names that the model was trained on."""
        return frozenset(self.train.names())

    @cached_property
    def held_out_names(self) -> frozenset[str]:
        """Names of the validation and test splits that are not in the training split too."""
        return frozenset(self.val.names() + self.test.names()) - self.training_names

    def kind(self, name: str) -> str:
        """Whether a name stands in the training names ("train"), in the held-out ones ("held_out"), or is "new"."""
        return "train" if name in self.training_names else "held_out" if name in self.held_out_names else "new"


def resolve(path: str) -> Path:
    """The file that `data.path` means. Raises MakemoreError where the lecture's names were not fetched yet."""
    if path == "bundled":
        return bundled("data/names.txt")
    if path == "lecture":
        from makemore_cli.download import cached_names

        file = cached_names()
        if not file.is_file():
            raise MakemoreError("data lecture: the lecture's names are not here yet; run `makemore data get` once")
        return file
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError:
        raise MakemoreError(f"{path}: there is no such user's home") from None


def load(config: DataConfig, context_length: int, vocabulary: Vocabulary | None = None) -> Dataset:
    """Read, shuffle and split a file of names, one a line, UTF-8.

    As in the lecture: Python's `random.seed(split_seed); random.shuffle(names)`, then 80 / 10 / 10 %. Space around a
    name and blank lines are left out. With a `vocabulary`, a trained model's, no other letter may occur.
    Raises MakemoreError, which names the file and, where there is one, the line.
    """
    path = resolve(config.path)
    raw = _read(path)
    code_points, starts, lengths, lines = _find_names(raw, path)
    if len(starts) < FEWEST:
        names = {0: "no name", 1: "only 1 name"}.get(len(starts), f"only {len(starts)} names")
        raise MakemoreError(f"{path}: holds {names}; at least {FEWEST} are needed, so that each split gets one")

    order = list(range(len(starts)))
    random.Random(config.split_seed).shuffle(order)
    starts, lengths, lines = starts[order], lengths[order], lines[order]

    # The stream of code points: for each name in its new place, its letters, and a newline for the sign.
    ends = np.cumsum(lengths + 1)
    source = np.arange(ends[-1]) + np.repeat(starts - (ends - lengths - 1), lengths + 1)
    stream = code_points[source]
    stream[ends - 1] = NEWLINE

    letters = [chr(c) for c in np.flatnonzero(np.bincount(stream)) if c != NEWLINE]
    faults = {ord(letter): fault for letter in letters if (fault := _fault(letter, vocabulary))}
    if faults:
        at = np.flatnonzero(np.isin(stream, list(faults)))
        line = lines[np.searchsorted(ends, at, side="right")]  # of the file, of which the stream is another order
        first = np.argmin(line)
        raise MakemoreError(f"{path}, line {line[first]}: {faults[int(stream[at[first]])]}")
    if vocabulary is None:
        vocabulary = Vocabulary("".join(letters))
    table = np.zeros(max(map(ord, vocabulary.letters)) + 1, dtype=vocabulary.dtype)
    table[[ord(letter) for letter in vocabulary.letters]] = np.arange(1, len(vocabulary))
    tokens = table[stream]

    padded = np.concatenate([np.zeros(context_length, dtype=tokens.dtype), tokens])
    windows = np.lib.stride_tricks.sliding_window_view(padded, context_length)
    n = len(ends)
    bounds = [0, int(ends[int(0.8 * n) - 1]), int(ends[int(0.9 * n) - 1]), len(tokens)]
    train, val, test = (Split(vocabulary, windows, tokens[start:stop], start) for start, stop in pairwise(bounds))
    return Dataset(path, hashlib.sha256(raw).hexdigest(), vocabulary, train, val, test)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise MakemoreError(f"{path}: no such file; give a text file with one name a line") from None
    except IsADirectoryError:
        raise MakemoreError(f"{path}: is a folder; give a text file with one name a line") from None
    except OSError as error:
        raise MakemoreError(f"{path}: can't be read: {error.strerror}") from None


def _find_names(raw: bytes, path: Path) -> tuple[NDArray[np.uint32], Integers, Integers, Integers]:
    """Code points of the whole text, and each name's start in them, its length and its line (from 1)."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise MakemoreError(f"{path}, line {line}: not UTF-8 ({error.reason}); save the file as UTF-8") from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    # One more at the end, so that the last name is followed by something too.
    code_points = np.frombuffer(f"{text}\n".encode("utf-32-le"), dtype="<u4").copy()

    space = [c for c in range(0x3001) if chr(c).isspace()]  # U+3000 is the last one in Unicode
    visible = np.flatnonzero(~np.isin(code_points, space))
    line_of: Integers = np.cumsum(code_points == NEWLINE)[visible] + 1
    last = np.append(line_of[1:] != line_of[:-1], True)[: len(line_of)]
    first = np.roll(last, 1)  # a name starts where the one before has ended
    starts = visible[first]
    return code_points, starts, visible[last] + 1 - starts, line_of[first]


def _fault(letter: str, vocabulary: Vocabulary | None) -> str | None:
    """What speaks against a letter in a name, if anything does."""
    if letter == END:
        return f"a name may not hold {END!r}, which is the end-of-word sign; take it out"
    if unicodedata.category(letter) in ("Cc", "Zl", "Zp"):
        return f"a name may not hold the control character U+{ord(letter):04X}; take it out"
    if vocabulary is not None and letter not in vocabulary.letters:
        return f"the model knows no {letter!r}; its letters are {vocabulary.letters}"
    return None
