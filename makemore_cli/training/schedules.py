"""Learning-rate schedules."""

from __future__ import annotations

from typing import assert_never

import numpy as np

from makemore_cli.config.schema import CosineSchedule, LinearSchedule, OptimConfig, StepsSchedule


def learning_rates(optim: OptimConfig, start: int, count: int, steps: int) -> list[float]:
    """The learning rates of the `count` steps that follow the first `start` steps, in a run of `steps`.

    During warm-up, the learning rate rises linearly: the first step has 1 / `warmup` of it. Then a cosine or linear
    schedule falls from `lr` to `final * lr`, which the step after the last would have. A steps schedule multiplies the
    learning rate by `gamma` at each milestone.
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
