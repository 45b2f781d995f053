"""The common parts of all plots: colours, fonts, size, and saving."""

from __future__ import annotations

import io
import textwrap
import unicodedata
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import matplotlib
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from makemore_cli.errors import ParameterError
from makemore_cli.printable import printable
from makemore_cli.system.files import MARK, check_replaceable, write_atomically

# Okabe and Ito's palette, which colour-blind people can tell apart: http://jfly.iam.u-tokyo.ac.jp/color/
BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
SKY, AMBER, BLACK, YELLOW = "#56b4e9", "#e69f00", "#000000", "#b8a900"
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER, BLACK, YELLOW)
GREY = "#666666"

FORMATS = ("png", "svg")
SCRIPTS = ("Noto Sans", "Noto Sans CJK JP", "Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari")


class ShownFigure(Figure):
    """A figure that a notebook shows, whether or not it uses pyplot."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        with drawing():
            self.savefig(file, format="png", dpi=100)
        return file.getvalue()


class Picture(ABC):
    """A plot, dark on white, with a title that says what it shows."""

    size: ClassVar[tuple[float, float]] = (7.5, 4.5)  # inches
    of: str  # the run or runs that it shows

    @property
    @abstractmethod
    def title(self) -> str:
        """A sentence, without a full stop, that says what the plot shows."""

    @abstractmethod
    def draw(self, figure: Figure) -> None:
        """Draw on an empty figure."""

    def shape(self) -> tuple[float, float]:
        """Width and height in inches."""
        return self.size

    def figure(self, *, titled: bool = True) -> Figure:
        """The whole figure. Must be called within `drawing()`."""
        width, height = self.shape()
        below = 0.22 / height
        layout = ConstrainedLayoutEngine(rect=(0.01, below, 0.98, 0.99 - below))
        figure = ShownFigure(figsize=(width, height), layout=layout, facecolor="white")
        if titled:
            title = _balanced(self.title, int(width * 10.6))
            figure.suptitle(title, x=0.012, ha="left", fontsize=11, fontweight="bold")
        self.draw(figure)
        figure.text(
            0.99, 0.06 / height, shown(self.of, int(15 * width)), ha="right", va="bottom", fontsize=7, color=GREY
        )
        return figure

    def shown(self) -> Figure:
        """The whole figure in our style, for Python code."""
        with drawing():
            return self.figure()

    def render(self, format: str, *, titled: bool = True) -> bytes:
        """The bytes of a PNG or SVG file. The same plot gives the same bytes."""
        file = io.BytesIO()
        about = {"Software": MARK} if format == "png" else {"Creator": MARK, "Date": None}
        with drawing():
            self.figure(titled=titled).savefig(file, format=format, dpi=150, metadata=about)
        return file.getvalue()


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in our style, independent of the user's Matplotlib settings."""
    known = {font.name for font in font_manager.fontManager.ttflist}
    fonts = ["DejaVu Sans", *(name for name in SCRIPTS if name in known)]
    style: Any = {
        **matplotlib.rcParamsDefault,
        "backend": "agg",
        "font.family": fonts,
        "font.monospace": ["DejaVu Sans Mono", *fonts],
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.titlelocation": "left",
        "axes.edgecolor": GREY,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.edgecolor": "white",
        "legend.framealpha": 1.0,
        "text.parse_math": False,  # a $ is an ordinary character
        "svg.hashsalt": MARK,
    }
    with warnings.catch_warnings(), matplotlib.rc_context(style):
        # A character without a glyph is drawn as a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def save(picture: Picture, name: str, folder: Path, format: str) -> Path:
    """Write a plot into a folder, and return its path. Raises MakemoreError if makemore did not make the file there."""
    return save_as(picture, folder / f"{name}.{format}", "out")


def save_as(picture: Picture, path: Path, parameter: str) -> Path:
    """Write a plot as a .png or .svg file. `parameter` is the name of the caller's parameter, for errors.

    Raises ParameterError for another suffix, and MakemoreError if makemore did not make the file that is there.
    """
    write_atomically(path, picture.render(check_picture(path, parameter)))
    return path


def check_picture(path: Path, parameter: str) -> str:
    """The format of a plot's file, by its suffix. Raises as `save_as` does, so call it before long work."""
    format = path.suffix.lower().removeprefix(".")
    if format not in FORMATS:
        raise ParameterError(parameter, f"must be a .png or .svg file, got {path}")
    check_replaceable(path, parameter)
    return format


def thinned(letters: Sequence[str], most: int) -> list[int]:
    """Evenly spaced positions of at most `most` characters, or half as many if some are wide."""
    wide = any(unicodedata.east_asian_width(letter) in "WF" for letter in letters)
    return list(range(0, len(letters), -(-len(letters) * (1 + wide) // most)))


def _balanced(text: str, width: int) -> str:
    """Text wrapped into as few lines as possible, of about equal length."""
    lines = len(textwrap.wrap(text, width))
    while width > 1 and len(textwrap.wrap(text, width - 1)) == lines:
        width -= 1
    return textwrap.fill(text, width)


def shown(text: str, most: int) -> str:
    """Text that can be drawn on one line. Unprintable characters are escaped, and a long text loses its middle."""
    text = printable(text)
    return text if len(text) <= most else f"{text[: most * 2 // 3]}…{text[-(most // 4) :]}"


def clear(axes: Axes) -> None:
    """Remove the frame and tick marks."""
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
