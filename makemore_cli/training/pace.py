"""The speed of a run, and how many steps its next chunk should have."""

from __future__ import annotations

import math

CHUNK_SECONDS = 0.1  # the aim: long enough to cost nothing, short enough for a lively display
LONGEST_CHUNK_STEPS = 2000
FIRST_CHUNK_STEPS = 10
SPEED_SECONDS = 1.0  # older steps count less and less in the present speed


class Pace:
    """Measures the time that chunks take. The length of a chunk changes no result."""

    def __init__(self) -> None:
        self.seconds = 0.0  # spent in training steps
        self.chunk_steps = FIRST_CHUNK_STEPS
        self._recent_steps = self._recent_seconds = 0.0

    def record(self, steps: int, seconds: float) -> None:
        """Take a chunk's time into account."""
        self.seconds += seconds
        fade = math.exp(-seconds / SPEED_SECONDS)
        self._recent_steps = fade * self._recent_steps + steps
        self._recent_seconds = fade * self._recent_seconds + seconds
        if 2 * steps >= self.chunk_steps:  # a chunk that was cut short tells little
            fitting = max(1, int(CHUNK_SECONDS * steps / seconds))
            self.chunk_steps = min(LONGEST_CHUNK_STEPS, 4 * steps, fitting)

    @property
    def steps_per_second(self) -> float:
        """The present speed."""
        return self._recent_steps / max(self._recent_seconds, 1e-9)
