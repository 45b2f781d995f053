"""Plots of a network on one batch: its activations and their gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import FuncNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter
from numpy.typing import NDArray
from torch import Tensor

from makemore_cli.errors import MakemoreError
from makemore_cli.names.vocabulary import END
from makemore_cli.runs.metrics import Floats
from makemore_cli.training.step_statistics import SATURATED, spread
from makemore_cli.views.diagnostics import LAYERS, Look
from makemore_cli.views.plots.style import BLUE, GREY, ORANGE, SKY, Picture, clear, thinned

SHOWN_EXAMPLES = 100  # in the map of saturation
DLOGITS_ROWS = 32  # of dlogits
BINS = 60


@dataclass(frozen=True)
class SaturationPicture(Picture):
    """The saturation of tanh: examples × neurons, as in the lecture."""

    of: str
    saturated: NDArray[np.bool_]  # (n, H)
    size: ClassVar[tuple[float, float]] = (7.5, 5.0)

    @property
    def dead(self) -> NDArray[np.bool_]:
        """(H,): neurons that are saturated on every example."""
        dead: NDArray[np.bool_] = np.logical_and.reduce(self.saturated, axis=0)
        return dead

    @property
    def title(self) -> str:
        n, H = self.saturated.shape
        dead = int(self.dead.sum())
        return (
            f"{self.saturated.mean():.1%} of the outputs of tanh are saturated (beyond ±{SATURATED}); "
            f"{dead:,} of {H:,} neurons {'is' if dead == 1 else 'are'} dead (saturated on all {n:,} examples)"
        )

    def draw(self, figure: Figure) -> None:
        """Draw the fraction of saturated examples for each neuron, and the map of saturation below."""
        n, H = self.saturated.shape
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2.6))
        colours = np.where(self.dead, ORANGE, BLUE)
        above.bar(np.arange(H), self.saturated.mean(0), width=1.0, color=colours.tolist())
        above.set_ylim(0, 1)
        above.set_ylabel("fraction of\nexamples")
        above.yaxis.set_major_formatter(PercentFormatter(1.0))
        shown = self.saturated[:SHOWN_EXAMPLES].astype(np.int8) * (1 + self.dead.astype(np.int8))
        below.imshow(
            shown,
            aspect="auto",
            cmap=ListedColormap(["white", BLUE, ORANGE]),
            vmin=0,
            vmax=2,
            interpolation="nearest",
            extent=(-0.5, H - 0.5, len(shown) + 0.5, 0.5),
        )
        for spine in below.spines.values():
            spine.set_visible(True)
        below.xaxis.set_major_locator(MaxNLocator(integer=True))
        below.set_ylabel("example" if len(shown) == n else f"example (the first {len(shown)} of {n:,})")
        below.set_xlabel("neuron (white: not saturated; blue: saturated; orange: dead)")


def saturation_picture(seen: Look, of: str) -> SaturationPicture:
    return SaturationPicture(of, seen.saturated.numpy())


@dataclass(frozen=True)
class Histogram:
    """The distribution of one tensor's numbers."""

    name: str
    about: str
    edges: Floats  # (bins + 1,)
    share: Floats  # (bins,): fraction of all values
    mean: float
    std: float
    note: str = ""


def histogram(name: str, about: str, tensor: Tensor, note: str = "") -> Histogram:
    """A tensor's histogram over the range of its values. Raises MakemoreError if a value is not finite."""
    numbers = tensor.detach().double().flatten().numpy()
    if not np.isfinite(numbers).all():
        raise MakemoreError(
            f"{name}: not all values are finite, since the parameters are too large; try a smaller learning rate"
        )
    bins = min(BINS, max(10, len(numbers) // 4))
    counts, edges = np.histogram(numbers, bins, range=_range(numbers))
    return Histogram(name, about, edges, counts / len(numbers), float(numbers.mean()), float(numbers.std()), note)


def _range(numbers: Floats) -> tuple[float, float]:
    low, high = float(numbers.min()), float(numbers.max())
    # If values differ by less than bins could resolve, they count as one value.
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        room = abs(low) or 1.0
        return low - room, high + room
    return low, high


@dataclass(frozen=True)
class HistogramsPicture(Picture):
    """One histogram for each tensor."""

    of: str
    headline: str
    histograms: list[Histogram]
    columns: int = 3

    @property
    def title(self) -> str:
        return self.headline

    def shape(self) -> tuple[float, float]:
        return 7.5, 0.6 + 1.8 * -(-len(self.histograms) // self.columns)

    def draw(self, figure: Figure) -> None:
        grid = figure.subplots(-(-len(self.histograms) // self.columns), self.columns, squeeze=False)
        for axes in grid.flat[len(self.histograms) :]:
            axes.set_visible(False)
        for axes in grid[:, 0]:
            axes.set_ylabel("fraction of values")
        for axes in grid.flat[: len(self.histograms)][-self.columns :]:
            axes.set_xlabel("value")
        for axes, h in zip(grid.flat, self.histograms, strict=False):
            axes.stairs(h.share, h.edges, fill=True, color=SKY)
            axes.stairs(h.share, h.edges, color=BLUE, linewidth=1)
            axes.axvline(0, color=GREY, linewidth=0.6)
            about = f"{h.about}\nmean {_number(h.mean)}, std {_number(h.std)}" + (f"\n{h.note}" if h.note else "")
            axes.annotate(
                about, (0, 1), xycoords="axes fraction", xytext=(0, 3), textcoords="offset points", fontsize=7
            )
            axes.set_title(h.name + "\n" * (about.count("\n") + 1), fontweight="bold", linespacing=1.0)
            _small_axes(axes)


def _small_axes(axes: Axes) -> None:
    axes.tick_params(labelsize=7)
    axes.locator_params(axis="x", nbins=4)
    axes.locator_params(axis="y", nbins=3)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{100 * value:g}%"))
    axes.ticklabel_format(axis="x", style="sci", scilimits=(-3, 4))
    axes.xaxis.get_offset_text().set_fontsize(7)


def _number(value: float) -> str:
    return f"{value:.2g}".replace("-", "−")


ABOUT = {
    "embcat": "embedded characters",
    "hprebn": "output of the first linear layer",
    "hpreact": "output of batchnorm",
    "h": "output of tanh",
    "logits": "output of the second linear layer",
}


def activations_picture(seen: Look, of: str) -> HistogramsPicture:
    share = float(seen.saturated.double().mean())
    notes = {"h": f"{share:.1%} beyond ±{SATURATED}"}
    histograms = [histogram(name, ABOUT[name], seen.values[name], notes.get(name, "")) for name in LAYERS]
    into = next(h.std for h in histograms if h.name == "hpreact")
    title = f"Activations by layer: the input of tanh has std {into:.2g}, and {share:.1%} of its outputs are saturated"
    return HistogramsPicture(of, title, histograms)


def gradients_picture(seen: Look, of: str) -> HistogramsPicture:
    """The gradients of the activations, layer by layer."""
    histograms = [
        histogram(
            f"d{name}",
            f"of the {ABOUT[name]}",
            seen.gradients[name],
        )
        for name in LAYERS
    ]
    first, last = histograms[0].std, histograms[-1].std
    title = f"Gradients by layer: std {_number(last)} at the logits, {_number(first)} at the embedded characters"
    return HistogramsPicture(of, title, histograms)


def weight_gradients_picture(seen: Look, of: str) -> HistogramsPicture:
    """The gradients of the parameters."""
    histograms, ratios = [], {}
    for name, data in seen.parameters.views.items():
        gradient, own = seen.gradients[name], spread(data)
        shape = "×".join(str(size) for size in data.shape)
        ratio = spread(gradient) / own if own else np.nan
        note = f"gradient / parameter {_number(ratio)}" if np.isfinite(ratio) else "all values are equal: no ratio"
        note = "rounding only: batchnorm cancels b1" if name == "b1" else note
        histograms.append(histogram(f"d{name}", shape, gradient, note))
        if name != "b1" and np.isfinite(ratio):
            ratios[name] = ratio
    title = "Gradients of the parameters"
    if ratios:
        largest = max(ratios, key=ratios.__getitem__)
        title += f": the largest gradient-to-parameter ratio is that of {largest}, {_number(ratios[largest])}"
    return HistogramsPicture(of, title, histograms)


def _signed(value: float, place: int | None) -> str:
    return f"{value:+g}".replace("-", "−") if value else "0"


@dataclass(frozen=True)
class DlogitsPicture(Picture):
    """The gradient of the logits, row by row, as in the lecture's second exercise."""

    of: str
    dlogits: Floats  # (n, V), times n: the probabilities, minus 1 at the target
    rows: list[str]  # context → target
    letters: list[str]  # of the columns
    size: ClassVar[tuple[float, float]] = (7.5, 6.5)

    @property
    def title(self) -> str:
        return "Gradient of the logits: each row pulls its target up, and pushes all others down by the same total"

    def draw(self, figure: Figure) -> None:
        """Draw rows of colours, on a square-root scale, so that small numbers are visible too."""
        axes = figure.subplots()
        norm = FuncNorm((lambda x: np.sign(x) * np.sqrt(np.abs(x)), lambda x: np.sign(x) * np.square(x)), -1, 1)
        image = axes.imshow(self.dlogits, aspect="auto", cmap="RdBu_r", norm=norm, interpolation="nearest")
        axes.set_yticks(range(len(self.rows)), self.rows, family="monospace", fontsize=7)
        columns = thinned(self.letters, 60)
        axes.set_xticks(columns, [self.letters[column] for column in columns], family="monospace", fontsize=8)
        clear(axes)
        axes.set_xlabel("character")
        axes.set_ylabel("context → target character")
        ticks = [-1, -0.5, -0.1, 0, 0.1, 0.5, 1]
        bar = figure.colorbar(image, ax=axes, ticks=ticks, fraction=0.04, pad=0.02, format=FuncFormatter(_signed))
        bar.set_label("gradient × batch size, square-root scale (blue: raise logit; red: lower it)")
        bar.outline.set_visible(False)


def dlogits_picture(seen: Look, of: str) -> DlogitsPicture:
    n = min(DLOGITS_ROWS, len(seen.X))
    gradient = seen.gradients["logits"][:n] * len(seen.X)
    letters = [END, *seen.checkpoint.vocabulary.letters]
    return DlogitsPicture(of, gradient.double().numpy(), seen.rows()[:n], letters)
