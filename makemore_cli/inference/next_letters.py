"""The next characters of many names at a time, from the network or from a lookup table of all contexts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from makemore_cli.errors import MakemoreError, ParameterError
from makemore_cli.names.splits import distinct_rows
from makemore_cli.network.model import Array, Folded, Integers, Model, Sizes
from makemore_cli.network.softmax import softmax

LONGEST_NAME_LETTERS = 10_000
NEARLY = 1 - 1e-9  # from here on, own + alias would be rounded to the next alias
COLDEST_TEMPERATURE = 1e-6  # below it, rounding errors would decide


@dataclass(frozen=True)
class Options:
    """The options of sampling. Raises ParameterError for an invalid value."""

    temperature: float = 1.0  # below 1, likely characters become likelier; above 1, less likely; 0: only the likeliest
    top_k: int | None = None  # draw only among the k likeliest characters; None: among all
    prefix: str = ""  # every name begins with it
    max_length: int = 100  # in characters, including the prefix; longer names are cut

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ParameterError("temperature", f"must be at least 0 and finite, got {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise ParameterError("top_k", f"must be at least 1, got {self.top_k}")
        if not 1 <= self.max_length <= LONGEST_NAME_LETTERS:
            raise ParameterError("max_length", f"must be from 1 to {LONGEST_NAME_LETTERS:,}, got {self.max_length}")
        if len(self.prefix) > self.max_length:
            raise ParameterError(
                "prefix", f"must not be longer than max_length ({self.max_length} characters), got {self.prefix!r}"
            )


class NextLetters(ABC):
    """A way to draw the next characters of many names. A state represents the context of one name."""

    @abstractmethod
    def start(self, context: list[int], n: int) -> Integers:
        """The states of n names that begin with the same context of T tokens."""

    @abstractmethod
    def draw(self, states: Integers, rng: np.random.Generator) -> Integers:
        """A token for each name."""

    @abstractmethod
    def after(self, states: Integers, drawn: Integers) -> Integers:
        """The states after these tokens have been appended."""


class AskedLetters(NextLetters):
    """Runs the network on the distinct contexts of the names. A state is the tokens of a context."""

    def __init__(self, model: Model | Folded, sizes: Sizes, options: Options) -> None:
        self.model, self.sizes, self.options = model, sizes, options

    def start(self, context: list[int], n: int) -> Integers:
        T = self.sizes.context
        return np.tile(np.array(([0] * T + context)[-T:]), (n, 1))

    def draw(self, states: Integers, rng: np.random.Generator) -> Integers:
        distinct, which, _ = distinct_rows(states, self.sizes.vocabulary)
        cumulative = next_probabilities(self.model.logits(distinct), self.options).cumsum(1)
        cumulative /= cumulative[:, -1:]  # exactly 1 from the last possible character on
        drawn: Integers = (cumulative[which] <= rng.random((len(states), 1))).sum(1)
        return drawn

    def after(self, states: Integers, drawn: Integers) -> Integers:
        return np.column_stack([states[:, 1:], drawn])


class TabulatedLetters(NextLetters):
    """A lookup table of all contexts, for Walker's alias method. A state is the context as a number in base V.

    The interval from 0 to V has one bin of length 1 per character. The lower part of a bin belongs to the character
    itself, the upper part to another one, its alias. So one lookup decides.
    """

    def __init__(self, model: Model, options: Options) -> None:
        self.V, self.T = model.sizes.vocabulary, model.sizes.context
        contexts = np.arange(self.V**self.T)[:, None] // self.V ** np.arange(self.T - 1, -1, -1) % self.V
        self.shares = alias_shares(next_probabilities(model.logits(contexts), options)).ravel()

    def start(self, context: list[int], n: int) -> Integers:
        number = 0
        for token in context:
            number = (number * self.V + token) % self.V**self.T
        return np.full(n, number)

    def draw(self, states: Integers, rng: np.random.Generator) -> Integers:
        number = rng.random(len(states)) * self.V
        letter = number.astype(np.int64)
        number -= letter
        share = self.shares.take(states * self.V + letter, mode="clip")  # faster than "raise"
        alias = share.astype(np.int64)
        return np.where(number < share - alias, letter, alias)

    def after(self, states: Integers, drawn: Integers) -> Integers:
        numbers: Integers = states % self.V ** (self.T - 1) * self.V + drawn
        return numbers


def alias_shares(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each row of probabilities and each character, alias + own part: an integer and a fraction.

    Each round closes the bin with the least probability, filled up from the one with the most.
    """
    least_left = np.ascontiguousarray(probabilities.T * probabilities.shape[1])
    most_left = least_left.copy()  # a closed bin is infinite in least_left, and −1 in most_left
    V, rows = least_left.shape
    shares = np.empty_like(least_left)
    row = np.arange(rows)
    for _ in range(V):
        least, most = least_left.argmin(0), most_left.argmax(0)
        own = least_left[least, row].clip(0, 1)
        shares[least, row] = np.where(own < NEARLY, most + own, least)  # a full bin is its own alias
        least_left[most, row] -= 1 - own
        most_left[most, row] -= 1 - own
        least_left[least, row], most_left[least, row] = np.inf, -1
    return np.ascontiguousarray(shares.T)


def next_probabilities(logits: Array, options: Options) -> NDArray[np.float64]:
    """The next character's probabilities (rows, V). Raises MakemoreError if the logits are not finite."""
    if not np.isfinite(logits).all():
        raise MakemoreError("the model's logits are not finite: its parameters are far too large to sample from")
    logits = logits.astype(np.float64)
    k = 1 if options.temperature == 0 else options.top_k
    if k is not None and k < logits.shape[1]:
        unlikely = np.argsort(-logits, axis=1, kind="stable")[:, k:]
        np.put_along_axis(logits, unlikely, -np.inf, axis=1)
    return softmax(logits, max(options.temperature, COLDEST_TEMPERATURE))
