"""The speed of a run, and the length of its next chunk."""

from __future__ import annotations

import math

CHUNK_SECONDS = 0.1  # target: long enough for negligible overhead, short enough for a responsive display
LONGEST_CHUNK_STEPS = 2000
FIRST_CHUNK_STEPS = 10
SPEED_SECONDS = 1.0  # time constant with which older steps fade from the current speed


class Pace:
    """Measures the time that chunks take. The length of a chunk does not affect results."""

    def __init__(self) -> None:
        self.seconds = 0.0  # spent in training steps
        self.chunk_steps = FIRST_CHUNK_STEPS
        self._recent_steps = self._recent_seconds = 0.0

    def record(self, steps: int, seconds: float) -> None:
        self.seconds += seconds
        fade = math.exp(-seconds / SPEED_SECONDS)
        self._recent_steps = fade * self._recent_steps + steps
        self._recent_seconds = fade * self._recent_seconds + seconds
        if 2 * steps >= self.chunk_steps:  # a chunk that was cut short tells little
            fitting = max(1, int(CHUNK_SECONDS * steps / seconds))
            self.chunk_steps = min(LONGEST_CHUNK_STEPS, 4 * steps, fitting)

    @property
    def steps_per_second(self) -> float:
        return self._recent_steps / max(self._recent_seconds, 1e-9)
