"""A sweep's plot: the effect of each key on the validation loss."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from makemore_cli.sweep.space import Choice, Space, short
from makemore_cli.sweep.study import Outcome
from makemore_cli.views.plots.style import BLUE, GREY, ORANGE, Picture, shown

PANELS_ACROSS = 3
VALUE_CHARACTERS = 64  # most characters shown of a value
SHOWN_SPREADS = 2.5  # losses above the median by more than this times (median − lowest) are drawn at the edge


class SweepPicture(Picture):
    """A panel for each key, the most important first: the losses of the trials against its values."""

    def __init__(self, trials: Sequence[Outcome], space: Space, importance: Mapping[str, float], of: str) -> None:
        self.space, self.importance, self.of = space, importance, of
        self.trials = [t for t in trials if t.val is not None and math.isfinite(t.val)]
        self.keys = sorted(space, key=lambda key: -importance.get(key, 0.0))

    @property
    def title(self) -> str:
        best = self.trials[0]
        said = f"The best of {len(self.trials):,} trials has a validation loss of {best.val:.4f}"
        if not self.importance:
            return said
        most = self.keys[0]
        return f"{said}; the most important key is {most} ({self.importance[most]:.0%})"

    def shape(self) -> tuple[float, float]:
        return 9.0, 0.8 + 2.4 * math.ceil(len(self.keys) / PANELS_ACROSS)

    def draw(self, figure: Figure) -> None:
        columns = min(PANELS_ACROSS, len(self.keys))
        panels = figure.subplots(
            math.ceil(len(self.keys) / PANELS_ACROSS), columns, sharey=True, squeeze=False
        ).flatten()
        top = self._top()
        for place, panel in enumerate(panels):
            if place >= len(self.keys):
                panel.set_visible(False)
                continue
            self._panel(panel, self.keys[place], top)
            if place % columns == 0:
                panel.set_ylabel("validation loss, nats per character")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower left", ncols=3, fontsize=8, frameon=False)

    def _top(self) -> float:
        """The upper limit of the loss axis. Without it, a few bad trials would squeeze all others together."""
        complete = [t for t in self.trials if t.state == "complete"]
        losses = sorted(t.val for t in complete or self.trials if t.val is not None)
        least, middle = losses[0], losses[len(losses) // 2]
        return min(losses[-1], middle + SHOWN_SPREADS * max(middle - least, 1e-4))

    def _panel(self, panel: Axes, key: str, top: float) -> None:
        part, places = self.space[key], {}
        if isinstance(part, Choice):
            places = {repr(value): place for place, value in enumerate(part.values.values())}
            panel.set_xticks(
                range(len(places)), [textwrap.fill(shown(short(v), VALUE_CHARACTERS), 16) for v in part.values.values()]
            )
            panel.set_xlim(-0.5, len(places) - 0.5)
        elif part.log:
            panel.set_xscale("log")
            panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
            panel.xaxis.set_minor_formatter(NullFormatter())
        else:
            panel.xaxis.set_major_locator(MaxNLocator(6, integer=part.whole))
        kinds: list[tuple[str, str, str, int, Callable[[Outcome], bool]]] = [
            ("pruned", GREY, "x", 18, lambda t: t.state != "complete"),
            ("complete", BLUE, "o", 18, lambda t: t.state == "complete" and t is not self.trials[0]),
            ("best", ORANGE, "*", 130, lambda t: t is self.trials[0]),
        ]
        for name, colour, marker, size, belongs in kinds:
            of_kind = [t for t in self.trials if belongs(t)]
            x = [places[repr(t.settings[key])] if places else t.settings[key] for t in of_kind]
            y = [min(top, t.val) for t in of_kind if t.val is not None]
            if x:
                panel.scatter(x, y, size, colour, marker=marker, alpha=0.8, label=name, clip_on=False, zorder=3)
        share = self.importance.get(key)
        panel.set_title(shown(key, 40) if share is None else f"{shown(key, 40)}: {share:.0%}")
        panel.grid(axis="y", color="#dddddd", linewidth=0.6)
