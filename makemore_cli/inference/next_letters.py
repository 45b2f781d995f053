"""The next letter of many names side by side: by asking the network, or by looking up a table of all contexts."""

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
COLDEST_TEMPERATURE = 1e-6  # below it, only rounding would decide


@dataclass(frozen=True)
class Options:
    """The options of sampling. Raises ParameterError for a value that makes no sense."""

    temperature: float = 1.0  # below 1 bolder towards the likely letters, above 1 more even; 0 takes the likeliest
    top_k: int | None = None  # only among the k likeliest letters
    prefix: str = ""  # every name begins with it
    max_length: int = 100  # letters, the prefix included; a longer name is cut there

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ParameterError("temperature", f"must be at least 0 and finite, got {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise ParameterError("top_k", f"must be at least 1, got {self.top_k}")
        if not 1 <= self.max_length <= LONGEST_NAME_LETTERS:
            raise ParameterError("max_length", f"must be from 1 to {LONGEST_NAME_LETTERS:,}, got {self.max_length}")
        if len(self.prefix) > self.max_length:
            raise ParameterError(
                "prefix", f"must not be longer than a name may be ({self.max_length} letters), got {self.prefix!r}"
            )


class NextLetters(ABC):
    """A way to draw the next letters of many names. A state stands for the context of one name."""

    @abstractmethod
    def start(self, context: list[int], n: int) -> Integers:
        """The states of n names that begin with the same context of T tokens."""

    @abstractmethod
    def draw(self, states: Integers, rng: np.random.Generator) -> Integers:
        """A token for each name."""

    @abstractmethod
    def after(self, states: Integers, drawn: Integers) -> Integers:
        """The states when these tokens have been added."""


class AskedLetters(NextLetters):
    """Asks the network about the distinct contexts of the names. A state is the tokens of a context."""

    def __init__(self, model: Model | Folded, sizes: Sizes, options: Options) -> None:
        self.model, self.sizes, self.options = model, sizes, options

    def start(self, context: list[int], n: int) -> Integers:
        T = self.sizes.context
        return np.tile(np.array(([0] * T + context)[-T:]), (n, 1))

    def draw(self, states: Integers, rng: np.random.Generator) -> Integers:
        distinct, which, _ = distinct_rows(states, self.sizes.vocabulary)
        cumulative = next_probabilities(self.model.logits(distinct), self.options).cumsum(1)
        cumulative /= cumulative[:, -1:]  # exactly 1 from the last letter on that can come
        drawn: Integers = (cumulative[which] <= rng.random((len(states), 1))).sum(1)
        return drawn

    def after(self, states: Integers, drawn: Integers) -> Integers:
        return np.column_stack([states[:, 1:], drawn])


class TabulatedLetters(NextLetters):
    """All contexts' probabilities, in the form of Walker's alias method. A state is the context's number, base V.

    Of the numbers from 0 to V, each letter has a share of length 1. The lower part of a share is the letter's own, the
    upper part another letter's, its alias, so one look-up decides.
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
    """For each row of probabilities and each letter, alias + own part: the one before the point, the other after it.

    Each round closes the share that has least, filled up from the one that has most.
    """
    least_left = np.ascontiguousarray(probabilities.T * probabilities.shape[1])
    most_left = least_left.copy()  # in the one, a share that is closed is infinite, in the other −1
    V, rows = least_left.shape
    shares = np.empty_like(least_left)
    row = np.arange(rows)
    for _ in range(V):
        least, most = least_left.argmin(0), most_left.argmax(0)
        own = least_left[least, row].clip(0, 1)
        shares[least, row] = np.where(own < NEARLY, most + own, least)  # all its own if it is its own alias
        least_left[most, row] -= 1 - own
        most_left[most, row] -= 1 - own
        least_left[least, row], most_left[least, row] = np.inf, -1
    return np.ascontiguousarray(shares.T)


def next_probabilities(logits: Array, options: Options) -> NDArray[np.float64]:
    """Probabilities (rows, V) that the next letter is drawn from. Raises MakemoreError if the logits are not finite."""
    if not np.isfinite(logits).all():
        raise MakemoreError("the model's scores are not finite: its parameters are far too large to sample from")
    logits = logits.astype(np.float64)
    k = 1 if options.temperature == 0 else options.top_k
    if k is not None and k < logits.shape[1]:
        unlikely = np.argsort(-logits, axis=1, kind="stable")[:, k:]
        np.put_along_axis(logits, unlikely, -np.inf, axis=1)
    return softmax(logits, max(options.temperature, COLDEST_TEMPERATURE))
