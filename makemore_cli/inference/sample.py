"""Sampling names: start from an empty context, draw one character at a time, stop at the end-of-word token.

Many names are drawn at a time. The first few run the network on the contexts that they meet. If the context length is
small enough, the others use a lookup table of all contexts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice

import numpy as np

from makemore_cli.config.schema import Config
from makemore_cli.errors import MakemoreError, ParameterError
from makemore_cli.inference.next_letters import AskedLetters, NextLetters, Options, TabulatedLetters
from makemore_cli.names.dataset import Dataset, changed, load
from makemore_cli.names.vocabulary import Tokens, Vocabulary
from makemore_cli.network.model import Folded, Model
from makemore_cli.runs.checkpoint import Checkpoint

SEEDS = 2**63
SEED_OFFSET = 10  # added to the run's seed, as in the lecture
FEW, MANY = 1024, 1 << 16  # names drawn at a time, at first and later
BUFFER_LETTERS = 1 << 24  # characters, or their probabilities, in memory at a time
LARGEST_TABLE_WORK = 1 << 24  # V^(T + 2), the work to make the largest table of all contexts
LARGEST_FOLDED_NUMBERS = 1 << 24  # numbers in the largest tables of a folded network
COUNTED_NAMES = 100_000  # names that are looked up in the data
PATIENCE_DRAWS = 20_000  # draws without a new name, after which `only_new` gives up


Text = tuple[int, str]  # a number of names, and the names, each followed by a newline


class Sampled:
    """Names as they are drawn, and how many of each kind there were: "train", "held_out" and "new"."""

    def __init__(self, texts: Iterator[Text], dataset: Dataset | None = None, reason: str = "") -> None:
        self._texts, self._dataset = texts, dataset
        self.reason = reason  # why the kinds are unknown
        self.drawn = 0
        self.counted = 0  # only the first COUNTED_NAMES names are looked up
        self.kinds: Counter[str] | None = None if dataset is None else Counter(train=0, held_out=0, new=0)

    def texts(self) -> Iterator[str]:
        """The names, many at a time, each followed by a newline."""
        for count, text in self._texts:
            self.drawn += count
            if self._dataset is not None and self.kinds is not None and self.counted < COUNTED_NAMES:
                names = text.split("\n")[: min(COUNTED_NAMES - self.counted, count)]
                self.kinds.update(self._dataset.kinds(names))
                self.counted += len(names)
            yield text

    def each(self) -> Iterator[str]:
        """The names, one by one."""
        for text in self.texts():
            yield from text.split("\n")[:-1]

    def kind(self, name: str) -> str | None:
        """The kind of a name, or None if that is unknown."""
        return None if self._dataset is None else self._dataset.kinds([name])[0]

    def names(self) -> list[str]:
        return "".join(self.texts()).split("\n")[:-1]


def default_seed(config: Config) -> int:
    """The seed of a run's samples: the run's own plus 10, as in the lecture."""
    return (config.train.seed + SEED_OFFSET) % SEEDS


def sample_run(
    checkpoint: Checkpoint,
    n: int,
    seed: int | None,
    options: Options,
    *,
    only_new: bool = False,
    lecture: bool = False,
) -> Sampled:
    """Draw n names from a checkpoint, and look them up in the data that it was trained on.

    The default seed is `default_seed`. With `only_new`, there may be fewer than n. With `lecture`, they are drawn by
    the lecture's procedure. Raises MakemoreError, also for `only_new` if the data is missing or has changed.
    """
    model, vocabulary = checkpoint.model, checkpoint.vocabulary
    if seed is None:
        seed = default_seed(checkpoint.config)
    elif not 0 <= seed < SEEDS:
        raise ParameterError("seed", f"must be from 0 to 2^63 − 1, got {seed}")
    dataset, reason = None, ""
    try:
        dataset = load(checkpoint.config.data, model.sizes.context)
        if dataset.sha256 != checkpoint.data_sha256:
            raise MakemoreError(changed(dataset))
    except MakemoreError as error:
        if only_new:
            raise ParameterError("only_new", f"cannot tell which names are new: {error}") from None
        dataset, reason = None, str(error)
    if lecture:
        if only_new or options != Options():
            raise ParameterError("lecture", "cannot be combined with any sampling option but a seed")
        from makemore_cli.inference.lecture_sampler import names as lecture_names

        drawn: Iterator[Text] = ((1, f"{name}\n") for name in islice(lecture_names(model, vocabulary, seed), n))
    elif only_new and dataset is not None:
        drawn = ((1, f"{name}\n") for name in sample_new(model, dataset, n, seed, options))
    else:
        drawn = _first(n, texts(model, vocabulary, seed, options))
    return Sampled(drawn, dataset, reason)


def sample(model: Model, vocabulary: Vocabulary, n: int, seed: int, options: Options | None = None) -> list[str]:
    """Draw n names. The same model, seed and options give the same names; a larger n only adds to them.

    Raises MakemoreError if the prefix has a character that the model does not know.
    """
    return list(islice(names(model, vocabulary, seed, options or Options()), n))


def sample_new(model: Model, dataset: Dataset, n: int, seed: int, options: Options | None = None) -> list[str]:
    """Draw until there are n distinct names that are not in the data, or PATIENCE_DRAWS draws in a row add none.

    Empty names and names that were cut do not count.
    """
    options = options or Options()
    new: dict[str, None] = {}
    since = 0
    for _, text in texts(model, dataset.vocabulary, seed, options):
        drawn = text.split("\n")[:-1]
        for name, kind in zip(drawn, dataset.kinds(drawn), strict=True):
            if len(new) == n or since == PATIENCE_DRAWS:
                return list(new)
            since += 1
            # A name of full length was cut: it has not reached the end-of-word token.
            if kind == "new" and name not in new and 0 < len(name) < options.max_length:
                new[name] = None
                since = 0
    raise AssertionError("the stream of names is endless")


def names(model: Model, vocabulary: Vocabulary, seed: int, options: Options) -> Iterator[str]:
    """An endless stream of names."""
    return chain.from_iterable(text.split("\n")[:-1] for _, text in texts(model, vocabulary, seed, options))


def _first(n: int, texts: Iterator[Text]) -> Iterator[Text]:
    while n > 0:
        count, text = next(texts)
        if count > n:
            count, text = n, "".join(f"{name}\n" for name in text.split("\n", n)[:n])
        n -= count
        yield count, text


def texts(model: Model, vocabulary: Vocabulary, seed: int, options: Options) -> Iterator[Text]:
    """An endless stream of names, many at a time. That number does not depend on how many names are needed."""
    prefix, sizes = vocabulary.encode(options.prefix), model.sizes
    rng = np.random.Generator(np.random.PCG64(seed))
    letters: NextLetters = AskedLetters(model, sizes, options)
    yield FEW, vocabulary.text(_draw(letters, FEW, prefix, rng, options, vocabulary))
    if sizes.vocabulary ** (sizes.context + 2) <= LARGEST_TABLE_WORK:
        letters = TabulatedLetters(model, options)
    elif sizes.context * sizes.vocabulary * sizes.hidden <= LARGEST_FOLDED_NUMBERS:
        letters = AskedLetters(Folded(model), sizes, options)
    many = max(FEW, min(MANY, BUFFER_LETTERS // max(options.max_length, sizes.vocabulary)))
    while True:
        yield many, vocabulary.text(_draw(letters, many, prefix, rng, options, vocabulary))


def _draw(
    letters: NextLetters,
    n: int,
    prefix: list[int],
    rng: np.random.Generator,
    options: Options,
    vocabulary: Vocabulary,
) -> Tokens:
    """Tokens of n names, one after the other, each followed by the end-of-word token."""
    states, unfinished = letters.start(prefix, n), np.arange(n)
    nothing = len(vocabulary)  # marks positions after the end of a name
    token = np.min_scalar_type(nothing)
    columns = [np.full(n, letter, token) for letter in prefix]
    for _ in range(len(prefix), options.max_length):
        drawn = letters.draw(states, rng)
        columns.append(np.full(n, nothing, token))
        columns[-1][unfinished] = drawn
        going = np.flatnonzero(drawn)
        unfinished, drawn = unfinished[going], drawn[going]
        if len(going) == 0:
            break
        states = letters.after(states[going], drawn)
    columns.append(np.full(n, nothing, token))
    columns[-1][unfinished] = 0  # names that were cut
    tokens = np.column_stack(columns)
    spelled: Tokens = tokens[tokens != nothing]
    return spelled
