"""Learning rates, step by step."""

from __future__ import annotations

import numpy as np
from typing_extensions import assert_never

from makemore_cli.config.schema import CosineSchedule, LinearSchedule, OptimConfig, StepsSchedule


def learning_rates(optim: OptimConfig, start: int, count: int, steps: int) -> list[float]:
    """Learning rates of the `count` steps that follow `start` steps, of a run of `steps` in all.

    While it warms up, the rate rises in equal parts, of which the first step has one. Then a cosine or linear schedule
    goes from the whole rate to its final share, which a step after the last would have; one of steps has the rate
    multiplied by gamma at each milestone.
    """
    step, schedule = np.arange(start, start + count), optim.schedule
    progress = np.clip((step - optim.warmup) / max(1, steps - optim.warmup), 0, 1)
    match schedule:
        case None:
            rates = np.full(count, optim.lr)
        case StepsSchedule():
            passed = np.searchsorted(schedule.milestones, step, side="right").tolist()
            powers = {power: optim.lr * schedule.gamma**power for power in set(passed)}
            rates = np.array([powers[power] for power in passed])
        case CosineSchedule():
            falling = (1 + np.cos(np.pi * progress)) / 2
            rates = optim.lr * (schedule.final + (1 - schedule.final) * falling)
        case LinearSchedule():
            rates = optim.lr * (schedule.final + (1 - schedule.final) * (1 - progress))
        case _:
            assert_never(schedule)
    if start < optim.warmup:
        rates *= np.minimum(1, (step + 1) / optim.warmup)
    return [float(rate) for rate in rates]
