"""What changes an update from step to step, whoever makes it."""

from __future__ import annotations

from typing import NamedTuple


class Factors(NamedTuple):
    """Numbers of one step."""

    lr: float
    shrink: float = 1.0  # what decay leaves of the parameters, where it is decoupled
    size: float = 0.0  # of an update, and
    second: float = 1.0  # what divides the root of v: with these, Adam's averages do not begin too small
    new: float = 0.0  # the new parameters' share in their average
