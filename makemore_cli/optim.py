"""Optimisers and learning-rate schedules."""

from __future__ import annotations

import numpy as np

from makemore_cli.config import OptimConfig, StepsSchedule
from makemore_cli.parameters import Parameters


def sgd(parameters: Parameters, gradients: Parameters, lr: float) -> None:
    """Plain stochastic gradient descent, in place: parameters −= lr · gradients."""
    parameters.flat.sub_(gradients.flat, alpha=lr)


def learning_rates(optim: OptimConfig, first: int, count: int, steps: int) -> list[float]:
    """Learning rates of `count` steps from `first` on, a run's first step being 0, and `steps` what it has in all.

    While it warms up, the rate rises in equal parts, of which the first step has one. Then a cosine or linear schedule
    goes from the whole rate to its final share, which a step after the last would have; one of steps has the rate
    multiplied by gamma at each milestone.
    """
    step = np.arange(first, first + count)
    rates, schedule = np.full(count, optim.lr), optim.schedule
    if isinstance(schedule, StepsSchedule):
        passed = np.searchsorted(schedule.milestones, step, side="right").tolist()
        powers = {power: optim.lr * schedule.gamma**power for power in set(passed)}
        rates = np.array([powers[power] for power in passed])
    elif schedule is not None:
        progress = np.clip((step - optim.warmup) / max(1, steps - optim.warmup), 0, 1)
        falling = (1 + np.cos(np.pi * progress)) / 2 if schedule.name == "cosine" else 1 - progress
        rates = optim.lr * (schedule.final + (1 - schedule.final) * falling)
    if first < optim.warmup:
        rates *= np.minimum(1, (step + 1) / optim.warmup)
    return [float(rate) for rate in rates]
