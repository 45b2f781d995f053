"""A function of one variable with its tangent, and the error of its difference quotients."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from makemore_cli.scalar.derivative import Slope, Study
from makemore_cli.scalar.expression import ExpressionError
from makemore_cli.views.plots.style import BLUE, GREEN, ORANGE, Picture, clear, shown

REACH = 5.0  # to each side of 0, or of the point itself if that is outside, or nearer to the edge than BESIDE
BESIDE = 2.0
POINTS = 401
LARGEST_DRAWN = 1e300  # an axis extends a little further, and must not overflow


class DerivativePicture(Picture):
    """The function with its tangent on the left, the error against h on the right."""

    size = (9.0, 4.2)

    def __init__(self, study: Study, chosen: Slope) -> None:
        self.study, self.chosen = study, chosen
        self.result, self.nudges = study.result, study.nudges[chosen.name]
        self.of = study.expression.text

    @property
    def title(self) -> str:
        one = self.chosen
        return f"At {shown(one.name, 20)} = {one.value:g} the slope is {one.slope:.6g}"

    def draw(self, figure: Figure) -> None:
        curve, errors = figure.subplots(1, 2)
        one = self.chosen
        middle = 0.0 if abs(one.value) <= REACH - BESIDE else one.value
        x = np.linspace(middle - REACH, middle + REACH, POINTS)
        y = [self._value(float(place) - one.value) for place in x]
        curve.plot(x, y, color=BLUE, label="the function")
        left, right = x[0], x[-1]
        curve.plot(
            [left, right],
            [self.result + one.slope * (end - one.value) for end in (left, right)],
            color=ORANGE,
            label=f"its tangent, slope {one.slope:.4g}",
        )
        curve.plot([one.value], [self.result], "o", color=ORANGE)
        seen = [self.result, *(value for value in y if math.isfinite(value))]
        margin = 0.08 * ((max(seen) - min(seen)) or 1.0)
        if math.isfinite(max(seen) + margin - (min(seen) - margin)):
            curve.set_ylim(min(seen) - margin, max(seen) + margin)  # the tangent may leave the axes
        curve.set_xlabel(shown(one.name, 20))
        curve.legend(fontsize=8)
        self._draw_errors(errors)

    def _draw_errors(self, axes: Axes) -> None:
        axes.set_title("Error of the difference quotient")
        axes.set_xlabel("h")
        drawn = False
        for which, colour in (("forward", GREEN), ("central", BLUE)):
            known = [(one.h, getattr(one, which)) for one in self.nudges]
            errors = [(h, abs(value - self.chosen.slope)) for h, value in known if value is not None]
            errors = [(h, error) for h, error in errors if 0 < error < math.inf]
            if errors:
                axes.plot(*zip(*errors, strict=True), "o-", ms=3, color=colour, label=which)
                drawn = True
        if not drawn:
            axes.text(0.5, 0.5, "Every difference quotient is exact.", ha="center", transform=axes.transAxes)
            clear(axes)
            axes.set_xticks([])
            axes.set_yticks([])
            return
        for axis, set_scale in ((axes.xaxis, axes.set_xscale), (axes.yaxis, axes.set_yscale)):
            set_scale("log")
            axis.set_major_locator(LogLocator(numticks=9))
            axis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:.0e}"))
            axis.set_minor_formatter(NullFormatter())
        axes.legend(fontsize=8)

    def _value(self, nudge: float) -> float:
        try:
            value = self.study.expression.evaluate(self.study.at, {self.chosen.name: nudge}).result.data
        except ExpressionError:
            return math.nan
        return value if abs(value) < LARGEST_DRAWN else math.nan
