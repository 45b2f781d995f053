"""From a file of names to batches: vocabulary, splits, and contexts as windows on one flat stream of tokens.

The stream is every name followed by the end-of-word sign, in the splits' order: `emma.olivia.ava.`. Each of its
tokens is one example: that token is what is to be guessed, and the T tokens before it are its context, of which
whatever stands before the latest sign belongs to the name before and reads as `.` too.
"""

from __future__ import annotations

import codecs
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

from makemore_cli.config.schema import DataConfig
from makemore_cli.errors import MakemoreError, ParameterError
from makemore_cli.system.bundled_files import bundled
from makemore_cli.system.environment import compiles
from makemore_cli.system.files import read

END = "."  # starts and ends every name; token 0
NEWLINE = ord("\n")  # stands for the sign among code points, since no name holds one
SPACES = [chr(c) for c in range(0x3001) if chr(c).isspace() and c != NEWLINE]  # U+3000 is the last one in Unicode
PIECE_LETTERS = 1 << 20  # letters to work on at a time, where there are many
MANY_NAMES = 200_000  # names, from which on Python's own shuffle would take more than a tenth of a second
FEWEST_NAMES = 6  # names: with fewer, a split would be empty
LONGEST_NAME_LETTERS = 1000  # letters in a name
LARGEST_VOCABULARY_LETTERS = 8192  # letters: more than any language's names are written with
LARGEST_FILE_BYTES = 1 << 31  # bytes: some hundred million names
SPLITS = ("train", "val", "test")
NAMED = ("bundled", "lecture")  # data sets that go by a name instead of a path

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

    def text(self, tokens: Tokens) -> str:
        """What a stream of tokens spells, each name followed by a newline, which stands for the sign."""
        signs = f"\n{self.letters}"
        if signs.isascii():
            return np.frombuffer(signs.encode(), dtype=np.uint8)[tokens].tobytes().decode("ascii")
        return np.frombuffer(signs.encode("utf-32-le"), dtype="<u4")[tokens].tobytes().decode("utf-32-le")

    @property
    def dtype(self) -> type[np.unsignedinteger]:
        """The smallest type that holds every token."""
        return np.uint8 if len(self.letters) <= np.iinfo(np.uint8).max else np.uint16


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
        return self.vocabulary.text(self.tokens).split("\n")[:-1]

    @cached_property
    def distinct(self) -> Distinct:
        """Distinct contexts and pairs of context and letter, in ascending order.

        What is summed over them with their counts is what the examples would sum to, from far fewer rows.
        """
        rows, count = self._pairs()
        first = np.append(True, (rows[1:, :-1] != rows[:-1, :-1]).any(1))
        weight = np.add.reduceat(count, np.flatnonzero(first))
        return Distinct(rows[first, :-1], weight, np.cumsum(first) - 1, rows[:, -1], count)

    def _pairs(self) -> tuple[Tokens, Integers]:
        """Distinct rows of context and letter, ascending, and how often each occurs."""
        base, width = len(self.vocabulary), self.windows.shape[1] + 1
        if base**width > 8 * len(self):
            rows, _, count = distinct_rows(np.column_stack(self.examples(np.arange(len(self)))), base)
            return rows.astype(self.tokens.dtype), count
        count = np.zeros(base**width, dtype=np.int64)  # few enough to have a place for each
        for start in range(0, len(self), PIECE_LETTERS):
            index = np.arange(start, min(start + PIECE_LETTERS, len(self)))
            count += np.bincount(_numbers(np.column_stack(self.examples(index)), base), minlength=len(count))
        numbers = np.flatnonzero(count)
        return _rows(numbers, base, width).astype(self.tokens.dtype), count[numbers]


def distinct_rows(rows: Integers, base: int) -> tuple[Integers, Integers, Integers]:
    """Distinct rows of tokens below `base`, ascending; which of them each row is; how often each occurs."""
    width = rows.shape[1]
    if base**width > np.iinfo(np.int64).max:
        distinct, which, count = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
        return distinct, which.reshape(-1), count
    # Numbers sort much faster than rows.
    numbers, which, count = np.unique(_numbers(rows, base), return_inverse=True, return_counts=True)
    return _rows(numbers, base, width).astype(rows.dtype), which, count


def _numbers(rows: Integers, base: int) -> NDArray[np.int64]:
    """Each row read as a number."""
    numbers = np.zeros(len(rows), dtype=np.int64)
    for column in rows.T:
        numbers = numbers * base + column
    return numbers


def _rows(numbers: NDArray[np.int64], base: int, width: int) -> NDArray[np.int64]:
    """The rows that `_numbers` has read."""
    return numbers[:, None] // base ** np.arange(width - 1, -1, -1, dtype=np.int64) % base


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


def changed(dataset: Dataset) -> str:
    """The words for a file that is no longer what a model was trained on."""
    return f"{dataset.path}: has changed since the model was trained on it"


def resolve(path: str) -> Path:
    """The file that `data.path` means. Raises MakemoreError where the lecture's names were not fetched yet."""
    if path == "bundled":
        return bundled("data/names.txt")
    if path == "lecture":
        from makemore_cli.names.download import cached_names

        file = cached_names()
        if not file.is_file():
            raise ParameterError("data.path", "lecture has not been downloaded yet; run: makemore data get")
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
    digest = hashlib.sha256(raw).hexdigest()
    code_points = _code_points(raw, path)
    del raw  # of a large file, no copy more than needed is kept
    vocabulary, tokens = _encode(code_points, vocabulary, path)
    del code_points

    starts, lengths = _find_names(tokens)
    n = len(starts)
    _check_names(tokens, starts, lengths, path)

    cuts = [0, int(0.8 * n), int(0.9 * n), n]
    stream = np.zeros(context_length + int(lengths.sum()) + n, dtype=tokens.dtype)
    bounds, at, order = [context_length], context_length, _shuffled(n, config.split_seed)
    for first, last in pairwise(sorted({*range(0, n, PIECE_LETTERS // 16), *cuts})):
        begin, length = starts[order[first:last]], lengths[order[first:last]] + 1  # each with its sign
        stop = np.cumsum(length, dtype=np.int64)
        source = np.arange(stop[-1]) + np.repeat(begin - (stop - length), length)
        tokens.take(source, out=stream[at : at + len(source)], mode="clip")  # faster than "raise"
        at += len(source)
        if last in cuts:
            bounds.append(at)

    windows = np.lib.stride_tricks.sliding_window_view(stream[:-1], context_length)
    train, val, test = (
        Split(vocabulary, windows, stream[start:stop], start - context_length) for start, stop in pairwise(bounds)
    )
    return Dataset(path, digest, vocabulary, train, val, test)


def _check_names(tokens: Tokens, starts: Integers, lengths: Integers, path: Path) -> None:
    """Refuse what can't be split into names to learn from. Raises MakemoreError, which names the file and the line."""
    n = len(starts)
    if n and lengths.max() > LONGEST_NAME_LETTERS:
        first = int(np.argmax(lengths > LONGEST_NAME_LETTERS))
        line = np.count_nonzero(tokens[: starts[first]] == 0) + 1
        raise MakemoreError(
            f"{path}, line {line}: a name of {lengths[first]:,} letters; write one name a line, of at most "
            f"{LONGEST_NAME_LETTERS:,}"
        )
    if n < FEWEST_NAMES:
        names = {0: "no name", 1: "only 1 name"}.get(n, f"only {n} names")
        raise MakemoreError(f"{path}: holds {names}; at least {FEWEST_NAMES} are needed, so that each split gets one")
    if (lengths == lengths[0]).all():
        name = tokens[starts[0] : starts[0] + lengths[0]]
        if all((tokens[starts + at] == token).all() for at, token in enumerate(name)):
            raise MakemoreError(f"{path}: holds {n:,} times the same name; give different ones to learn from")


def _find_names(tokens: Tokens) -> tuple[Integers, Integers]:
    """Where each name starts, and its length; lines that hold none are left out."""
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


def _shuffled(n: int, seed: int) -> Integers:
    """The numbers from 0 to n − 1, shuffled as Python does."""
    if n >= MANY_NAMES and compiles():
        from makemore_cli.names.shuffle import shuffled

        return shuffled(n, seed)
    order = list(range(n))
    random.Random(seed).shuffle(order)
    return np.array(order)


def _read(path: Path) -> bytes:
    try:
        return read(path, LARGEST_FILE_BYTES)
    except FileNotFoundError:
        raise MakemoreError(f"{path}: no such file; give a text file with one name a line") from None
    except IsADirectoryError:
        raise MakemoreError(f"{path}: is a folder; give a text file with one name a line") from None
    except OSError as error:
        raise MakemoreError(f"{path}: can't be read: {error.strerror}") from None


def _code_points(raw: bytes, path: Path) -> NDArray[np.unsignedinteger]:
    """Code points of the whole text, without space around lines, and with a newline at the end of each."""
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


def _encode(
    code_points: NDArray[np.unsignedinteger], vocabulary: Vocabulary | None, path: Path
) -> tuple[Vocabulary, Tokens]:
    """The vocabulary, unless it is given, and the tokens of a text, in which the sign stands for a newline."""
    pieces = [slice(start, start + PIECE_LETTERS) for start in range(0, len(code_points), PIECE_LETTERS)]
    used = np.zeros(int(code_points.max()) + 1, dtype=bool)
    for piece in pieces:
        used[code_points[piece]] = True
    letters = [chr(code_point) for code_point in np.flatnonzero(used) if code_point != NEWLINE]
    faults = {letter: reason for letter in letters if (reason := fault(letter, vocabulary))}
    if faults:
        first, reason = min((int(np.argmax(code_points == ord(letter))), reason) for letter, reason in faults.items())
        raise MakemoreError(f"{path}, line {np.count_nonzero(code_points[:first] == NEWLINE) + 1}: {reason}")
    if len(letters) > LARGEST_VOCABULARY_LETTERS:
        raise MakemoreError(
            f"{path}: holds {len(letters):,} different letters, and at most {LARGEST_VOCABULARY_LETTERS:,} are "
            "taken; is it a list of names?"
        )
    vocabulary = vocabulary or Vocabulary("".join(letters))
    table = np.zeros(len(used), dtype=vocabulary.dtype)
    for token, letter in enumerate(vocabulary.letters, start=1):
        if ord(letter) < len(table):
            table[ord(letter)] = token
    tokens = np.empty(len(code_points), dtype=vocabulary.dtype)
    for piece in pieces:
        tokens[piece] = table[code_points[piece]]
    return vocabulary, tokens


def fault(letter: str, vocabulary: Vocabulary | None = None) -> str | None:
    """What speaks against a letter in a name, if anything does."""
    if letter == END:
        return f"a name may not hold {END!r}, which is the end-of-word sign; take it out"
    if unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp"):
        return f"a name may not hold the control character U+{ord(letter):04X}; take it out"
    if vocabulary is not None and letter not in vocabulary.letters:
        return f"the model knows no {letter!r}; its letters are {vocabulary.letters}"
    return None
