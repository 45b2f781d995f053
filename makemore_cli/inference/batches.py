"""Batches of sampled names. Each has random numbers of its own, so any batch can be drawn alone."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from makemore_cli.inference.next_letters import AskedLetters, NextLetters, Options, TabulatedLetters
from makemore_cli.names.vocabulary import Tokens, Vocabulary
from makemore_cli.network.model import Folded, Model

FEW, MANY = 1024, 1 << 16  # names in the first batch, and in the largest ones, unless there are many characters
FEWEST = 16  # names in the first batch, however many characters there are
FEW_PROBABILITIES = 1 << 18  # of the next characters of the first batch, which keeps the first names fast
BUFFER_LETTERS = 1 << 24  # characters, or their probabilities, in memory at a time
LARGEST_TABLE_WORK = 1 << 24  # V^(T + 2), the work to make the largest table of all contexts
LARGEST_FOLDED_NUMBERS = 1 << 24  # numbers in the largest tables of a folded network

Text = tuple[int, str]  # a number of names, and the names, each followed by a newline


class Batches:
    """The batches of names that a model, a seed and options give."""

    def __init__(self, model: Model, vocabulary: Vocabulary, seed: int, options: Options) -> None:
        """Raises MakemoreError if the prefix has a character that the model does not know."""
        self._model, self._vocabulary, self._seed, self._options = model, vocabulary, seed, options
        self._prefix = vocabulary.encode(options.prefix)

    def draw(self, number: int) -> Text:
        """The batch with this number, from 0 on. Raises MakemoreError if the logits are not finite."""
        rng = np.random.Generator(np.random.PCG64(self._seed).jumped(number))
        options, vocabulary = self._options, self._vocabulary
        if number == 0:
            letters: NextLetters = AskedLetters(self._model, self._model.sizes, options)
        else:
            letters = self._letters
        n = self.size(number)
        return n, vocabulary.text(_draw(letters, n, self._prefix, rng, options, vocabulary))

    def size(self, number: int) -> int:
        """The number of names in a batch. It doubles from one batch to the next, up to the largest ones."""
        first = max(FEWEST, min(FEW, FEW_PROBABILITIES // len(self._vocabulary)))
        return min(first << min(number, MANY.bit_length()), self._largest)

    def needed(self, n: int) -> int:
        """The number of the largest batches that n names need after the first batch."""
        return max(0, -(-(n - self.size(0)) // self._largest))

    @property
    def _largest(self) -> int:
        widest = max(self._options.max_length, len(self._vocabulary), self._model.sizes.context)
        return max(FEW, min(MANY, BUFFER_LETTERS // widest))

    @cached_property
    def _letters(self) -> NextLetters:
        """The fastest way to draw many names."""
        model, sizes = self._model, self._model.sizes
        if sizes.vocabulary ** (sizes.context + 2) <= LARGEST_TABLE_WORK:
            return TabulatedLetters(model, self._options)
        if sizes.context * sizes.vocabulary * sizes.hidden <= LARGEST_FOLDED_NUMBERS:
            return AskedLetters(Folded(model), sizes, self._options)
        return AskedLetters(model, sizes, self._options)


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
