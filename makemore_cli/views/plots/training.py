"""Plots of the log of a run over its training steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator, NullLocator

from makemore_cli.errors import MakemoreError
from makemore_cli.runs.metrics import Floats, Metrics, positive
from makemore_cli.views.plots.style import BLACK, BLUE, GREY, ORANGE, PALETTE, SKY, Picture, shown

NAME_CHARACTERS = 40  # of a run's name, at most
OVER, ENTRIES = 6, 30  # at most so many runs have the legend inside the axes; at most so many are in the legend
NEGLIGIBLE = 1e-6  # gradient-to-parameter ratio: a smaller one is only rounding error


@dataclass(frozen=True)
class Curve:
    """One run's losses, in nats per character."""

    name: str
    steps: Floats
    loss: Floats  # mean over `batches` training batches around each step
    batches: int
    evaluated: Floats  # the steps of the following losses
    train: Floats  # over the whole split; NaN if it was not evaluated
    val: Floats
    rates: list[tuple[int, float, float]]  # changes of the learning rate: step, before, after


@dataclass(frozen=True)
class LossPicture(Picture):
    """The smoothed loss of one or several runs against steps, on a logarithmic scale."""

    of: str
    curves: list[Curve]

    @property
    def title(self) -> str:
        last = [(curve.val[-1], curve.name) for curve in self.curves if len(curve.val) and np.isfinite(curve.val[-1])]
        if not last:
            return "Training loss, smoothed"
        if len(self.curves) > 1:
            loss, name = min(last)
            return f"Lowest validation loss: {loss:.4f}, by {shown(name, NAME_CHARACTERS)}"
        (curve,) = self.curves
        steps = int(curve.evaluated[-1])
        return (
            f"Loss after {steps:,} step{'s' if steps > 1 else ''}: {curve.train[-1]:.4f} on the training split, "
            f"{curve.val[-1]:.4f} on the validation split"
        )

    @property
    def _beside(self) -> bool:
        """Whether the legend is beside the axes, since inside it would hide the lines."""
        return len(self.curves) > OVER

    def shape(self) -> tuple[float, float]:
        width, height = self.size
        entries = min(len(self.curves), ENTRIES) + 3
        return (width + 3.5, max(height, 1.0 + 0.17 * entries)) if self._beside else (width, height)

    def draw(self, figure: Figure) -> None:
        axes, entries = figure.subplots(), dict[Line2D, str]()
        one = len(self.curves) == 1
        for curve, colour in zip(self.curves, cycle(PALETTE), strict=False):
            mean = f"mean of {curve.batches:,} batches" if curve.batches > 1 else "each batch"
            label = f"training, {mean}" if one else f"{shown(curve.name, NAME_CHARACTERS)}, {mean}"
            point = "." if len(curve.loss) == 1 else ""
            (line,) = axes.plot(curve.steps, curve.loss, color=SKY if one else colour, marker=point, zorder=2)
            if len(entries) < ENTRIES:
                entries[line] = label
            for values, mark, split, shade in (
                (curve.train, "o", "whole training split", BLUE),
                (curve.val, "D", "whole validation split", ORANGE),
            ):
                (marks,) = axes.plot(
                    curve.evaluated,
                    values,
                    mark,
                    color=shade if one else colour,
                    markersize=7 if mark == "o" else 4.5,  # both are visible if they coincide
                    markerfacecolor="white" if mark == "o" else None,
                    clip_on=False,
                    zorder=3,
                )
                if one:
                    entries[marks] = split
        axes.set_yscale("log")
        axes.set_xlim(left=0)
        _plain_ticks(axes)
        axes.set_xlabel("training step")
        axes.set_ylabel("loss, nats per character (log scale)")
        axes.grid(axis="y", color="#eeeeee")
        if one:
            for step, before, after in self.curves[0].rates:
                axes.axvline(step, color=GREY, linewidth=0.8, linestyle=":")
                axes.annotate(
                    f"learning rate\n{before:.3g} → {after:.3g}",
                    (step, 0.62),
                    xycoords=("data", "axes fraction"),
                    xytext=(-4, 0),
                    textcoords="offset points",
                    ha="right",
                    color=GREY,
                    fontsize=8,
                )
        else:
            if len(self.curves) > ENTRIES:
                entries[Line2D([], [], linestyle="")] = f"and {len(self.curves) - ENTRIES:,} more"
            entries[Line2D([], [], color=BLACK, marker="o", markersize=7, markerfacecolor="white", linestyle="")] = (
                "whole training split"
            )
            entries[Line2D([], [], color=BLACK, marker="D", markersize=4.5, linestyle="")] = "whole validation split"
        if self._beside:
            handles, labels = list(entries), list(entries.values())
            axes.legend(handles, labels, fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
        else:
            axes.legend(list(entries), list(entries.values()), loc="best")


def _plain_ticks(axes: Axes) -> None:
    """Decimal numbers on the logarithmic y axis, even if it spans no power of ten, and steps such as 10k."""
    low, high = axes.get_ylim()
    if high / low < 20:
        ticks = MaxNLocator(8, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        axes.set_yticks([tick for tick in ticks if low <= tick <= high], minor=False)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    steps_axis(axes)


def steps_axis(axes: Axes) -> None:
    """Whole steps on the x axis, thousands as 1k."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def loss_picture(runs: Mapping[str, Metrics], of: str) -> LossPicture:
    """The losses of runs, by name. Raises MakemoreError if a run has no steps."""
    curves = []
    for name, metrics in runs.items():
        if metrics.steps == 0:
            raise MakemoreError(f"{name}: has no steps yet, so there is no loss to draw; train it first")
        steps, loss = metrics.smoothed()
        evaluated = np.array([step for step, _ in metrics.evaluations], dtype=np.float64)
        train, val = (
            np.array([losses.get(split, np.nan) for _, losses in metrics.evaluations], dtype=np.float64)
            for split in ("train", "val")
        )
        changes = np.flatnonzero(np.diff(metrics.lr))
        few = changes if len(changes) < 4 else changes[:0]  # no marks for a learning rate that changes often
        rates = [(int(at) + 2, float(metrics.lr[at]), float(metrics.lr[at + 1])) for at in few]
        batches = max(1, round(float(steps[1] - steps[0]))) if len(steps) > 1 else metrics.steps
        curves.append(Curve(name, steps, loss, batches, evaluated, train, val, rates))
    return LossPicture(of, curves)


@dataclass(frozen=True)
class RatiosPicture(Picture):
    """Gradient-to-parameter and update-to-parameter ratios over the training steps."""

    of: str
    steps: Floats
    grad_data: dict[str, Floats]  # log10, by parameter
    update_data: dict[str, Floats]
    left_out: list[str]  # which parameters, and why
    size: ClassVar[tuple[float, float]] = (7.5, 6.0)

    @property
    def title(self) -> str:
        last = [series[-1] for series in self.update_data.values() if np.isfinite(series[-1])]
        if not last:
            return "Gradient-to-parameter and update-to-parameter ratios"
        text = f"Update-to-parameter ratio, log10: between {min(last):.1f} and {max(last):.1f} at the end"
        return f"{text}; about -3 is healthy".replace("-", "−")

    def draw(self, figure: Figure) -> None:
        above, below = figure.subplots(2, 1, sharex=True)
        for axes, series, label in (
            (above, self.grad_data, "gradient / parameter, log10"),
            (below, self.update_data, "update / parameter, log10"),
        ):
            for (name, values), colour in zip(series.items(), cycle(PALETTE), strict=False):
                axes.plot(self.steps, values, color=colour, linewidth=1.2, label=name)
            axes.set_ylabel(f"{label}\n(standard deviations)")
            axes.grid(axis="y", color="#eeeeee")
        below.axhline(-3, color=BLACK, linewidth=1, linestyle="--", label="−3, healthy")
        figure.legend(*below.get_legend_handles_labels(), loc="outside right center")
        below.set_xlabel("training step" + "".join(f"; left out: {names}" for names in self.left_out))
        steps_axis(below)


def ratios_picture(metrics: Metrics, run: Path, of: str) -> RatiosPicture:
    """The ratios that a run has logged. Raises MakemoreError if there are none."""
    if not metrics.diagnoses:
        raise MakemoreError(
            f"{run}: has no ratios in its log; set train.diagnose_every, for example to 100, and train again"
        )
    steps = np.array([step for step, _ in metrics.diagnoses], dtype=np.float64)
    found = [diagnosis for _, diagnosis in metrics.diagnoses]
    series = {key: _series(found, key) for key in ("grad_data", "update_data")}
    without = [name for name, values in series["grad_data"].items() if not np.isfinite(values).any()]
    rounding = [name for name, values in series["grad_data"].items() if name not in without]
    rounding = [name for name in rounding if np.nanmedian(series["grad_data"][name]) < np.log10(NEGLIGIBLE)]
    left_out = [f"{', '.join(rounding)} (rounding error only)"] if rounding else []
    left_out += [f"{', '.join(without)} (no ratio)"] if without else []
    kept = {
        key: {name: values for name, values in of.items() if name not in rounding + without}
        for key, of in series.items()
    }
    return RatiosPicture(of, steps, kept["grad_data"], kept["update_data"], left_out)


def _series(found: Sequence[Mapping[str, Any]], key: str) -> dict[str, Floats]:
    names = list(found[-1][key])
    return {name: np.log10(np.array([positive(diagnosis[key].get(name)) for diagnosis in found])) for name in names}
