"""The numbers of an update that change from step to step, for every engine."""

from __future__ import annotations

from typing import NamedTuple


class Factors(NamedTuple):
    """The numbers of an update that change from step to step."""

    lr: float
    shrink: float = 1.0  # what decay leaves of the parameters, where it is decoupled
    size: float = 0.0  # of an update, and
    second: float = 1.0  # what divides the root of v: with these, Adam's averages do not begin too small
    new: float = 0.0  # the new parameters' share in their average
