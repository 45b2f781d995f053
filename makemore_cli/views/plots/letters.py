"""Plots of the embedding, and of the probabilities after a name's first character."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from matplotlib.figure import Figure

from makemore_cli.errors import MakemoreError
from makemore_cli.names.vocabulary import END
from makemore_cli.network.softmax import softmax
from makemore_cli.runs.checkpoint import Checkpoint
from makemore_cli.runs.metrics import Floats
from makemore_cli.views.plots.style import BLUE, GREY, ORANGE, Picture, clear, thinned

VOWELS = frozenset("aeiouyæøœıаеёиоуыэюяіїєαεηιουω")
CROWD_LETTERS = 300  # if there are more, they are not moved apart
TABLE_LETTERS = 1000  # in a table, at most
NUMBERED_LETTERS = 40  # if there are more, cells have no room for numbers


def is_vowel(letter: str) -> bool:
    """Whether a letter, without its accents, is a vowel of the Latin, Greek or Cyrillic alphabet."""
    return unicodedata.normalize("NFD", letter.lower())[0] in VOWELS


@dataclass(frozen=True)
class EmbeddingPicture(Picture):
    """The characters' embeddings in two dimensions."""

    of: str
    letters: list[str]
    points: Floats  # (V, 2)
    axes: tuple[str, str]  # their labels
    nearness: float  # see `nearness`
    size: ClassVar[tuple[float, float]] = (7.0, 6.0)

    @property
    def title(self) -> str:
        ratio = self.nearness
        if not np.isfinite(ratio):
            return "Character embedding: characters that the network treats alike are close together"
        return (
            f"Character embedding: two vowels are on average {ratio:.2f} times as far apart as a vowel and a consonant"
        )

    def draw(self, figure: Figure) -> None:
        """Draw characters as marks. Those that would overlap are moved apart, with a line to their place."""
        axes = figure.subplots()
        low, high = self.points.min(0), self.points.max(0)
        room = np.where(high > low, 0.08 * (high - low), 1.0)
        axes.set_xlim(low[0] - room[0], high[0] + room[0])
        axes.set_ylim(low[1] - room[1], high[1] + room[1])
        size = 13 if len(self.letters) <= 60 else 8
        inches = np.array([self.size[0] - 1.0, self.size[1] - 1.2])  # of the axes, roughly
        scale = inches * 72 / (high - low + 2 * room)  # points per unit
        many = len(self.letters) > CROWD_LETTERS
        places = self.points if many else spread(self.points * scale, 1.45 * size) / scale
        for letter, point, place in zip(self.letters, self.points, places, strict=True):
            colour = GREY if letter == END else ORANGE if is_vowel(letter) else BLUE
            if np.abs((place - point) * scale).max() > 0.3 * size:
                axes.plot(*point, ".", color=colour, markersize=4)
                axes.plot(*np.stack([point, place]).T, color=colour, linewidth=0.6, zorder=1)
            axes.text(
                place[0], place[1], letter, color=colour, fontsize=size, fontweight="bold", ha="center", va="center"
            )
        axes.set_xlabel(self.axes[0])
        axes.set_ylabel(self.axes[1])
        axes.grid(color="#eeeeee")
        vowels = "vowels orange, consonants blue, " if any(map(is_vowel, self.letters)) else ""
        axes.set_title(f"{vowels}{END} (start and end of a name) grey", color=GREY)


def nearness(C: Floats, letters: Sequence[str]) -> float:
    """The mean distance of two vowels over that of a vowel and a consonant, in all dimensions; NaN if too few."""
    vowels = C[[at for at, letter in enumerate(letters) if is_vowel(letter)]]
    others = C[[at for at, letter in enumerate(letters) if not is_vowel(letter) and letter != END]]
    if len(vowels) < 2 or not len(others):
        return float("nan")
    within = np.linalg.norm(vowels[:, None] - vowels, axis=2).sum() / (len(vowels) * (len(vowels) - 1))
    between = float(np.linalg.norm(vowels[:, None] - others, axis=2).mean())
    return float(within / between) if between > 0 else float("nan")


def spread(points: Floats, apart: float, rounds: int = 300) -> Floats:
    """Points, moved a little so that any two are at least `apart` from each other, in the points' unit."""
    places = points.astype(np.float64, copy=True)
    # A small offset gives identical points a direction in which to separate.
    places += 1e-3 * np.stack([np.cos(np.arange(len(places))), np.sin(np.arange(len(places)))], 1)
    for _ in range(rounds):
        between = places[:, None] - places
        distance = np.linalg.norm(between, axis=2) + np.eye(len(places)) * 1e9
        short = np.clip(apart - distance, 0, None)
        if not short.any():
            break
        places += (between * (0.5 * short / distance)[:, :, None]).sum(1)
    return places


def embedding_picture(checkpoint: Checkpoint, of: str) -> EmbeddingPicture:
    """The embedding itself if it has at most two dimensions, or else its first two principal components."""
    C = np.asarray(checkpoint.model.parameters["C"], dtype=np.float64)
    letters = [END, *checkpoint.vocabulary.letters]
    if C.shape[1] <= 2:
        points = np.pad(C, ((0, 0), (0, 2 - C.shape[1])))
        second = "second dimension of the embedding" if C.shape[1] == 2 else "(the embedding has one dimension)"
        return EmbeddingPicture(of, letters, points, ("first dimension of the embedding", second), nearness(C, letters))
    points, shares = principal_axes(C)
    first, second = (f"{which} principal component ({share:.0%} of the variance)" for which, share in shares.items())
    return EmbeddingPicture(of, letters, points, (first, second), nearness(C, letters))


def principal_axes(C: Floats) -> tuple[Floats, dict[str, float]]:
    """Points (V, 2) along the two directions of most variance, and the fraction of the variance along each.

    The sign of an axis is chosen so that its largest coordinate in absolute value is positive.
    """
    centred = C - C.mean(0)
    _, size, axes = np.linalg.svd(centred, full_matrices=False)
    points = centred @ axes[:2].T
    points *= np.sign(points[np.abs(points).argmax(0), [0, 1]])
    variance = size**2 / max(float((size**2).sum()), 1e-300)
    return points, {"first": float(variance[0]), "second": float(variance[1])}


@dataclass(frozen=True)
class NextLetterPicture(Picture):
    """The probabilities of the character that follows a name's first character."""

    of: str
    letters: list[str]
    probabilities: Floats  # (V, V): of each column's character after the row's; the first row is the start of a name
    size: ClassVar[tuple[float, float]] = (8.5, 8.2)

    @property
    def title(self) -> str:
        rows = self.probabilities[1:]
        row, column = np.unravel_index(int(rows.argmax()), rows.shape)
        following = self.letters[column]
        what = "the end" if following == END else following
        return (
            f"Probability of the character after a name's first one, in per cent; most certain: {what} "
            f"after {self.letters[row + 1]} ({rows[row, column]:.0%})"
        )

    def draw(self, figure: Figure) -> None:
        """Draw a cell for each pair, with its number if there is room."""
        axes = figure.subplots()
        axes.imshow(np.sqrt(self.probabilities), cmap="Blues", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
        places = thinned(self.letters, NUMBERED_LETTERS)
        labels = [self.letters[place] for place in places]
        axes.set_xticks(places, labels, family="monospace")
        axes.set_yticks(places, labels, family="monospace")
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        clear(axes)
        axes.set_xlabel(f"next character ({END} is the end of the name); empty: below 0.5%")
        axes.set_ylabel(f"first character of the name ({END}: none yet)")
        if len(self.letters) > NUMBERED_LETTERS:
            return
        percent = np.rint(100 * self.probabilities).astype(int)
        for row, column in zip(*np.nonzero(percent), strict=True):
            colour = "white" if percent[row, column] > 45 else "black"
            axes.text(column, row, f"{percent[row, column]}", color=colour, fontsize=7, ha="center", va="center")


def next_letter_picture(checkpoint: Checkpoint, of: str) -> NextLetterPicture:
    """The network's probabilities at the start of a name, and after each first character.

    Raises MakemoreError if there are more characters than a table can show.
    """
    model, letters = checkpoint.model, [END, *checkpoint.vocabulary.letters]
    if len(letters) > TABLE_LETTERS:
        raise MakemoreError(
            f"{len(letters):,} characters are too many for a table; at most {TABLE_LETTERS:,} can be drawn"
        )
    X = np.zeros((len(letters), model.sizes.context), dtype=np.int64)
    X[:, -1] = np.arange(len(letters))
    return NextLetterPicture(of, letters, softmax(model.logits(X)))
