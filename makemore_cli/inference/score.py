"""The likelihood of names under a trained model: the probability of each character, given those before it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from html import escape
from itertools import accumulate, chain, pairwise

import numpy as np
from rich.style import Style
from rich.text import Text

from makemore_cli.errors import MakemoreError
from makemore_cli.inference.batches import LARGEST_FOLDED_NUMBERS
from makemore_cli.names.names_file import LONGEST_NAME_LETTERS
from makemore_cli.names.splits import Split, distinct_rows
from makemore_cli.names.vocabulary import END, Vocabulary
from makemore_cli.network.model import Folded, Model
from makemore_cli.network.softmax import log_softmax
from makemore_cli.printable import printable

FIRST_NAMES, MANY_NAMES = 1024, 1 << 15  # scored at a time, at first and later
BUFFER_NUMBERS = 1 << 23  # probabilities, or tokens of contexts, in memory at a time
LONGEST_LINE_BYTES = 8 * LONGEST_NAME_LETTERS


@dataclass(frozen=True, repr=False)
class Score:
    """A name and the probability of each of its characters."""

    name: str
    probabilities: list[float]  # of each character, and of the end-of-word token

    @property
    def loss(self) -> float:
        """Mean negative log likelihood in nats per character, end-of-word token included: what training minimises."""
        if 0.0 in self.probabilities:
            return math.inf
        return -sum(map(math.log, self.probabilities)) / len(self.probabilities)

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
    return chain.from_iterable(score_batches(model, vocabulary, names))


def score_batches(model: Model, vocabulary: Vocabulary, names: Iterable[str]) -> Iterator[list[Score]]:
    """Score names, many at a time. Raises MakemoreError for a character that the model does not know."""
    sizes = model.sizes
    network: Model | Folded = model
    for number, piece in enumerate(_pieces(names, BUFFER_NUMBERS // max(sizes.vocabulary, sizes.context))):
        if number == 1 and sizes.context * sizes.vocabulary * sizes.hidden <= LARGEST_FOLDED_NUMBERS:
            network = Folded(model)  # worth its making for many names
        tokens = [token for name in piece for token in (*vocabulary.encode(name), 0)]
        stream = np.array([0] * sizes.context + tokens, dtype=vocabulary.dtype)
        windows = np.lib.stride_tricks.sliding_window_view(stream[:-1], sizes.context)
        X, Y = Split(vocabulary, windows, stream[sizes.context :], 0).examples(np.arange(len(tokens)))
        contexts, which, _ = distinct_rows(X, sizes.vocabulary)
        probabilities = np.exp(log_softmax(network.logits(contexts))[which, Y]).tolist()
        places = accumulate((len(name) + 1 for name in piece), initial=0)
        yield [Score(name, probabilities[a:b]) for name, (a, b) in zip(piece, pairwise(places), strict=True)]


def _pieces(names: Iterable[str], most_letters: int) -> Iterator[list[str]]:
    """Names that are scored together: not too many, and not too many characters."""
    piece, letters, most = list[str](), 0, FIRST_NAMES
    for name in names:
        piece.append(name)
        letters += len(name) + 1
        if len(piece) == most or letters >= most_letters:
            yield piece
            piece, letters, most = [], 0, MANY_NAMES
    if piece:
        yield piece


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
    parts: list[str | float] = [*score.letters, *score.letters]
    parts[::2], parts[1::2] = score.letters, score.probabilities
    # One format for all characters: three times as fast as one for each.
    return f"{score.loss:6.3f}  {score.letters}  {' '.join(['%s=%.3f'] * len(score.letters)) % tuple(parts)}"


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
        if len(line) == LONGEST_LINE_BYTES and not line.endswith(b"\n"):
            raise _too_long(number)
        try:
            name = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            raise MakemoreError(f"stdin, line {number}: not UTF-8 ({error.reason}); give names as UTF-8") from None
        if len(name) > LONGEST_NAME_LETTERS:
            raise _too_long(number)
        if name:
            yield name


def _too_long(line: int) -> MakemoreError:
    return MakemoreError(
        f"stdin, line {line}: a name of more than {LONGEST_NAME_LETTERS:,} characters; give one name per line"
    )


def _line(readline: Callable[[int], bytes]) -> bytes:
    try:
        return readline(LONGEST_LINE_BYTES)
    except OSError as error:  # for example, a folder
        raise MakemoreError(f"stdin: can't be read: {error.strerror}; give names, one per line") from None
