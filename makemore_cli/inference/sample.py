"""Sampling names: start from an empty context, draw one character at a time, stop at the end-of-word token.

Many names are drawn at a time (`batches.py`). The first few run the network on the contexts that they meet. If the
context length is small enough, the others use a lookup table of all contexts.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from itertools import chain, islice

from makemore_cli.config.schema import Config
from makemore_cli.errors import MakemoreError, ParameterError
from makemore_cli.inference.batches import Batches, Text
from makemore_cli.inference.next_letters import Options
from makemore_cli.names.dataset import Dataset, load
from makemore_cli.names.vocabulary import Vocabulary
from makemore_cli.network.model import Model
from makemore_cli.runs.checkpoint import Checkpoint

SEEDS = 2**63
SEED_OFFSET = 10  # added to the run's seed, as in the lecture
MOST_JOBS = 256
GROUPED_NAMES = 1000  # printed and looked up at a time, if they are drawn one by one
COUNTED_NAMES = 100_000  # names that are looked up in the data
PATIENCE_DRAWS = 20_000  # draws without a new name, after which `only_new` gives up


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

    def kinds_of(self, names: Sequence[str]) -> list[str] | list[None]:
        """The kind of each name, or None if that is unknown."""
        return [None] * len(names) if self._dataset is None else self._dataset.kinds(names)

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
    jobs: int = 1,
) -> Sampled:
    """Draw n names from a checkpoint, and look them up in the data that it was trained on.

    The default seed is `default_seed`. With `only_new`, there may be fewer than n. With `lecture`, they are drawn by
    the lecture's procedure. Several `jobs` are processes, which draw the same names side by side.

    Raises MakemoreError, also for `only_new` if the data is missing or has changed.
    """
    model, vocabulary = checkpoint.model, checkpoint.vocabulary
    if seed is None:
        seed = default_seed(checkpoint.config)
    elif not 0 <= seed < SEEDS:
        raise ParameterError("seed", f"must be from 0 to 2^63 − 1, got {seed}")
    if not 1 <= jobs <= MOST_JOBS:
        raise ParameterError("jobs", f"must be from 1 to {MOST_JOBS}, got {jobs}")
    dataset, reason = None, ""
    try:
        dataset = load(checkpoint.config.data, model.sizes.context, sha256=checkpoint.data_sha256)
    except MakemoreError as error:
        if only_new:
            raise ParameterError("only_new", f"cannot tell which names are new: {error}") from None
        dataset, reason = None, str(error)
    if lecture:
        if only_new or options != Options() or jobs > 1:
            raise ParameterError("lecture", "cannot be combined with any sampling option but a seed")
        from makemore_cli.inference.lecture_sampler import names as lecture_names

        drawn = _grouped(islice(lecture_names(model, vocabulary, seed), n))
    elif only_new and dataset is not None:
        drawn = _grouped(iter(sample_new(model, dataset, n, seed, options, jobs)))
    else:
        batches = Batches(model, vocabulary, seed, options)
        drawn = _first(n, texts(batches, min(jobs, max(1, batches.needed(n)))))
    return Sampled(drawn, dataset, reason)


def sample(model: Model, vocabulary: Vocabulary, n: int, seed: int, options: Options | None = None) -> list[str]:
    """Draw n names. The same model, seed and options give the same names; a larger n only adds to them.

    Raises MakemoreError if the prefix has a character that the model does not know.
    """
    return list(islice(names(model, vocabulary, seed, options or Options()), n))


def sample_new(
    model: Model, dataset: Dataset, n: int, seed: int, options: Options | None = None, jobs: int = 1
) -> list[str]:
    """Draw until there are n distinct names that are not in the data, or PATIENCE_DRAWS draws in a row add none.

    Empty names and names that were cut do not count.
    """
    options = options or Options()
    new: dict[str, None] = {}
    since = 0
    with closing(texts(Batches(model, dataset.vocabulary, seed, options), jobs)) as drawn_texts:
        for _, text in drawn_texts:
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
    batches = Batches(model, vocabulary, seed, options)
    return chain.from_iterable(text.split("\n")[:-1] for _, text in texts(batches))


def _grouped(names: Iterator[str]) -> Iterator[Text]:
    while group := list(islice(names, GROUPED_NAMES)):
        yield len(group), "".join(f"{name}\n" for name in group)


def _first(n: int, texts: Generator[Text, None, None]) -> Iterator[Text]:
    with closing(texts):
        while n > 0:
            count, text = next(texts)
            if count > n:
                count, text = n, "".join(f"{name}\n" for name in text.split("\n", n)[:n])
            n -= count
            yield count, text


def texts(batches: Batches, jobs: int = 1) -> Generator[Text, None, None]:
    """An endless stream of names, a batch at a time. The batches do not depend on how many names are needed.

    With several `jobs`, as many processes draw them, all but the first batch.
    """
    yield batches.draw(0)
    if jobs == 1:
        yield from map(batches.draw, itertools.count(1))
    else:
        from makemore_cli.inference.sampling_processes import draw_side_by_side

        with closing(draw_side_by_side(batches, 1, jobs)) as drawn:
            yield from drawn
