"""The likelihood of names under a trained model: the probability of each character, given those before it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from html import escape
from itertools import islice

import numpy as np
from rich.style import Style
from rich.text import Text

from makemore_cli.errors import MakemoreError
from makemore_cli.names.names_file import LONGEST_NAME_LETTERS
from makemore_cli.names.vocabulary import END, Vocabulary
from makemore_cli.network.model import Model
from makemore_cli.network.softmax import log_softmax
from makemore_cli.printable import printable

BATCH_NAMES = 4096  # at a time
LONGEST_LINE_BYTES = 8 * LONGEST_NAME_LETTERS


@dataclass(frozen=True, repr=False)
class Score:
    """A name and the probability of each of its characters."""

    name: str
    probabilities: list[float]  # of each character, and of the end-of-word token

    @property
    def loss(self) -> float:
        """Mean negative log likelihood in nats per character, end-of-word token included: what training minimises."""
        return -sum(math.log(p) if p > 0 else -math.inf for p in self.probabilities) / len(self.probabilities)

    @property
    def letters(self) -> str:
        """The characters that the probabilities belong to, the end-of-word token last."""
        return self.name + END

    def __repr__(self) -> str:
        return f"Score({self.name!r}, loss={self.loss:.4f})"

    def to_json(self) -> dict[str, object]:
        return {"name": self.name, "loss": self.loss, "probabilities": self.probabilities}

    def _repr_html_(self) -> str:
        """The loss and the characters, each on the colour of its probability, for a notebook."""
        letters = "".join(
            f'<span style="background: {shade(p)}; color: black" title="{p:.1%}">{escape(printable(letter))}</span>'
            for letter, p in zip(self.letters, self.probabilities, strict=True)
        )
        return f"<code>{self.loss:.3f} {letters}</code>"


def score(model: Model, vocabulary: Vocabulary, names: Iterable[str]) -> Iterator[Score]:
    """Score names one after another. Raises MakemoreError for a character that the model does not know."""
    names, T = iter(names), model.sizes.context
    while piece := list(islice(names, BATCH_NAMES)):
        # Each name follows an empty context, and has one window for each of its characters and its end.
        streams = [[0] * T + vocabulary.encode(name) + [0] for name in piece]
        X = np.array([stream[at : at + T] for stream in streams for at in range(len(stream) - T)])
        Y = np.array([token for stream in streams for token in stream[T:]])
        logprobs = log_softmax(model.logits(X))[np.arange(len(Y)), Y]
        probabilities, start = np.exp(logprobs).tolist(), 0
        for name in piece:
            stop = start + len(name) + 1
            yield Score(name, probabilities[start:stop])
            start = stop


# Okabe and Ito's palette: colour-blind people can also tell these apart, and read black text on them.
SHADES = ((0.03, "#d55e00"), (0.1, "#e69f00"), (0.2, "#f0e442"), (0.5, "#56b4e9"), (math.inf, "#00b386"))


def shade(probability: float) -> str:
    """The background colour for a character of this probability."""
    return next(colour for below, colour in SHADES if probability < below)


def shaded(score: Score) -> Text:
    """A name for a terminal: its loss, and its characters, each on the colour of its probability."""
    text = Text(f"{score.loss:6.3f}  ")
    for letter, probability in zip(score.letters, score.probabilities, strict=True):
        text.append(printable(letter), Style(color="black", bgcolor=shade(probability)))
    return text


def plain(score: Score) -> str:
    """A name without colours: its loss, its characters, and the probability of each."""
    letters = zip(score.letters, score.probabilities, strict=True)
    return f"{score.loss:6.3f}  {score.letters}  {' '.join(f'{letter}={p:.3f}' for letter, p in letters)}"


def meanings() -> Iterator[tuple[str, str]]:
    """The meaning of each colour, and the colour."""
    above = 0.0
    for below, colour in SHADES:
        yield f"under {below:.0%}" if below < 1 else f"{above:.0%} or more", colour
        above = below


def legend() -> Text:
    """The meaning of the colours, for a terminal."""
    text = Text("probability of a character: ")
    for meaning, colour in meanings():
        text.append(f" {meaning} ", Style(color="black", bgcolor=colour))
    return text


def names_of(readline: Callable[[int], bytes]) -> Iterator[str]:
    """Names, one per line, stripped, without blank lines. Raises MakemoreError for lines that can't be read."""
    for number, line in enumerate(iter(partial(_line, readline), b""), start=1):
        try:
            name = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            raise MakemoreError(f"stdin, line {number}: not UTF-8 ({error.reason}); give names as UTF-8") from None
        if len(name) > LONGEST_NAME_LETTERS:
            raise MakemoreError(
                f"stdin, line {number}: a name of more than {LONGEST_NAME_LETTERS:,} characters; give one name per line"
            )
        if name:
            yield name


def _line(readline: Callable[[int], bytes]) -> bytes:
    try:
        return readline(LONGEST_LINE_BYTES)
    except OSError as error:  # for example, a folder
        raise MakemoreError(f"stdin: can't be read: {error.strerror}; give names, one per line") from None
