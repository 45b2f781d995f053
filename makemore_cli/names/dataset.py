"""A data set: a file of names, read, shuffled and split as in the lecture."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np

from makemore_cli.config.schema import DataConfig
from makemore_cli.errors import MakemoreError, ParameterError
from makemore_cli.names import names_file
from makemore_cli.names.splits import PIECE_LETTERS, SPLITS, Integers, Split
from makemore_cli.names.vocabulary import Tokens, Vocabulary
from makemore_cli.system.bundled_files import bundled
from makemore_cli.system.environment import compiles

MANY_NAMES = 200_000  # from this size, Python's own shuffle takes more than a tenth of a second
FEWEST_NAMES = 6  # with fewer, a split would be empty
LONGEST_NAME_LETTERS = 1000
NAMED = ("bundled", "lecture")  # data sets given by name instead of by path


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
        """Whether a name is in the training names ("train"), in the held-out ones ("held_out"), or neither ("new")."""
        return "train" if name in self.training_names else "held_out" if name in self.held_out_names else "new"


def changed(dataset: Dataset) -> str:
    """A remark that a file has changed since a model was trained on it."""
    return f"{dataset.path}: has changed since the model was trained on it"


def resolve(path: str) -> Path:
    """The file that `data.path` means. Raises MakemoreError if the lecture's names have not been downloaded."""
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
        raise MakemoreError(f"{path}: the home folder can't be found; give a full path") from None


def load(
    config: DataConfig, context_length: int, vocabulary: Vocabulary | None = None, content: bytes | None = None
) -> Dataset:
    """Read, shuffle and split a UTF-8 file of names, one per line.

    As in the lecture: Python's `random.seed(split_seed); random.shuffle(names)`, then 80 / 10 / 10 %. Whitespace around
    a name and blank lines are ignored. If a trained model's `vocabulary` is given, no other character may occur.
    `content` is what the file will hold, if it has not been written yet; messages then call it `data`.

    Raises MakemoreError, which names the file and, if there is one, the line.
    """
    path = resolve(config.path) if content is None else Path("data")
    raw = names_file.read_file(path) if content is None else content
    digest = hashlib.sha256(raw).hexdigest()
    code_points = names_file.code_points(raw, path)
    del raw  # a large file should not be in memory twice
    vocabulary, tokens = names_file.encode(code_points, vocabulary, path)
    del code_points

    starts, lengths = names_file.find_names(tokens)
    n = len(starts)
    _check_names(tokens, starts, lengths, path)

    cuts = [0, int(0.8 * n), int(0.9 * n), n]
    stream = np.zeros(context_length + int(lengths.sum()) + n, dtype=tokens.dtype)
    bounds, at, order = [context_length], context_length, _shuffled(n, config.split_seed)
    for first, last in pairwise(sorted({*range(0, n, PIECE_LETTERS // 16), *cuts})):
        begin, length = starts[order[first:last]], lengths[order[first:last]] + 1  # each with its end-of-word token
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
    """Refuse names that can't be split or learnt from. Raises MakemoreError, which names the file and the line."""
    n = len(starts)
    if n and lengths.max() > LONGEST_NAME_LETTERS:
        first = int(np.argmax(lengths > LONGEST_NAME_LETTERS))
        line = np.count_nonzero(tokens[: starts[first]] == 0) + 1
        raise MakemoreError(
            f"{path}, line {line}: a name of {lengths[first]:,} characters; write one name per line, with at most "
            f"{LONGEST_NAME_LETTERS:,}"
        )
    if n < FEWEST_NAMES:
        names = {0: "no name", 1: "only 1 name"}.get(n, f"only {n} names")
        raise MakemoreError(f"{path}: holds {names}; at least {FEWEST_NAMES} are needed, so that each split gets one")
    if (lengths == lengths[0]).all():
        name = tokens[starts[0] : starts[0] + lengths[0]]
        if all((tokens[starts + at] == token).all() for at, token in enumerate(name)):
            raise MakemoreError(f"{path}: holds the same name {n:,} times; give different names")


def _shuffled(n: int, seed: int) -> Integers:
    """The numbers from 0 to n − 1, shuffled as by Python's `random`."""
    if n >= MANY_NAMES and compiles():
        from makemore_cli.names.shuffle import shuffled

        return shuffled(n, seed)
    order = list(range(n))
    random.Random(seed).shuffle(order)
    return np.array(order)
