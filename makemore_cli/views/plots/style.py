"""The common parts of all pictures: colours, type, size, and how they are saved."""

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


class Picture(ABC):
    """A picture, dark on white, with a title that says what it shows."""

    size: ClassVar[tuple[float, float]] = (7.5, 4.5)  # inches
    of: str  # the run or runs that it is of

    @property
    @abstractmethod
    def title(self) -> str:
        """One sentence that says what the picture shows."""

    @abstractmethod
    def draw(self, figure: Figure) -> None:
        """Draw on an empty figure."""

    def shape(self) -> tuple[float, float]:
        """Width and height in inches."""
        return self.size

    def figure(self, *, titled: bool = True) -> Figure:
        """The whole picture. To be called within `drawing()`."""
        width, height = self.shape()
        below = 0.22 / height
        layout = ConstrainedLayoutEngine(rect=(0.01, below, 0.98, 0.99 - below))
        figure = Figure(figsize=(width, height), layout=layout, facecolor="white")
        if titled:
            title = _balanced(self.title, int(width * 10.6))
            figure.suptitle(title, x=0.012, ha="left", fontsize=11, fontweight="bold")
        self.draw(figure)
        figure.text(
            0.99, 0.06 / height, shown(self.of, int(15 * width)), ha="right", va="bottom", fontsize=7, color=GREY
        )
        return figure

    def render(self, format: str, *, titled: bool = True) -> bytes:
        """The file, as PNG or SVG. The same picture gives the same bytes."""
        file = io.BytesIO()
        about = {"Software": MARK} if format == "png" else {"Creator": MARK, "Date": None}
        with drawing():
            self.figure(titled=titled).savefig(file, format=format, dpi=150, metadata=about)
        return file.getvalue()


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in our style, whatever the user's own settings are."""
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
        "text.parse_math": False,  # a $ is a letter like any other
        "svg.hashsalt": MARK,
    }
    with warnings.catch_warnings(), matplotlib.rc_context(style):
        # A letter that no font has is drawn as a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def save(picture: Picture, name: str, folder: Path, format: str) -> Path:
    """Write a picture into a folder, and return its path. Raises MakemoreError rather than replace another's file."""
    return save_as(picture, folder / f"{name}.{format}", "out")


def save_as(picture: Picture, path: Path, parameter: str) -> Path:
    """Write a picture as a file whose ending says its format. `parameter` is the name of the caller's parameter.

    Raises ParameterError for another ending, and MakemoreError rather than replace another's file.
    """
    write_atomically(path, picture.render(check_picture(path, parameter)))
    return path


def check_picture(path: Path, parameter: str) -> str:
    """The format of a picture's file, by its ending. Raises as `save_as` does, so that it can be known beforehand."""
    format = path.suffix.lower().removeprefix(".")
    if format not in FORMATS:
        raise ParameterError(parameter, f"must be a .png or .svg file, got {path}")
    check_replaceable(path, parameter)
    return format


def thinned(letters: Sequence[str], most: int) -> list[int]:
    """Positions of at most so many letters, evenly spaced; of wide ones, of half as many."""
    wide = any(unicodedata.east_asian_width(letter) in "WF" for letter in letters)
    return list(range(0, len(letters), -(-len(letters) * (1 + wide) // most)))


def _balanced(text: str, width: int) -> str:
    """Text in as few lines as its width takes, which are about as long as each other."""
    lines = len(textwrap.wrap(text, width))
    while width > 1 and len(textwrap.wrap(text, width - 1)) == lines:
        width -= 1
    return textwrap.fill(text, width)


def shown(text: str, most: int) -> str:
    """Text that can be drawn, on one line: signs that can't are written as in Python, and a long middle left out."""
    text = printable(text)
    return text if len(text) <= most else f"{text[: most * 2 // 3]}…{text[-(most // 4) :]}"


def clear(axes: Axes) -> None:
    """Take away frame and ticks."""
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
