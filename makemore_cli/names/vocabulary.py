"""The characters of a data set, and their tokens."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from makemore_cli.errors import MakemoreError

END = "."  # starts and ends every name; token 0
LARGEST_VOCABULARY_LETTERS = 8192  # more than names in any language need

Tokens = NDArray[np.unsignedinteger]


@dataclass(frozen=True)
class Vocabulary:
    """The characters, sorted by code point, with tokens from 1. Token 0 is the end-of-word token."""

    letters: str

    def __len__(self) -> int:
        """The number of tokens V, including the end-of-word token."""
        return 1 + len(self.letters)

    @cached_property
    def _token(self) -> dict[str, int]:
        return {letter: token for token, letter in enumerate(self.letters, start=1)}

    def encode(self, name: str) -> list[int]:
        """Tokens of a name. Raises MakemoreError for a character that is not in the vocabulary."""
        for letter in name:
            if letter not in self._token:
                raise MakemoreError(f"{name!r}: the model does not know {letter!r}; its characters are {self.letters}")
        return [self._token[letter] for letter in name]

    def decode(self, tokens: Iterable[int]) -> str:
        """The name that tokens spell, without end-of-word tokens."""
        return "".join(self.letters[token - 1] for token in tokens if token)

    def text(self, tokens: Tokens) -> str:
        """The names of a stream of tokens, with a newline for each end-of-word token."""
        signs = f"\n{self.letters}"
        if signs.isascii():
            return np.frombuffer(signs.encode(), dtype=np.uint8)[tokens].tobytes().decode("ascii")
        return np.frombuffer(signs.encode("utf-32-le"), dtype="<u4")[tokens].tobytes().decode("utf-32-le")

    @property
    def dtype(self) -> type[np.unsignedinteger]:
        """The smallest type that holds every token."""
        return np.uint8 if len(self.letters) <= np.iinfo(np.uint8).max else np.uint16


def fault(letter: str, vocabulary: Vocabulary | None = None) -> str | None:
    """The reason why a character is not allowed in a name, or None."""
    if letter == END:
        return f"a name can't contain {END!r}, which is the end-of-word token; remove it"
    if unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp"):
        return f"a name can't contain the control character U+{ord(letter):04X}; remove it"
    if vocabulary is not None and letter not in vocabulary.letters:
        return f"the model does not know {letter!r}; its characters are {vocabulary.letters}"
    return None
