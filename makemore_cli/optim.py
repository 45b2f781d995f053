"""Optimisers and learning-rate schedules."""

from __future__ import annotations

import numpy as np

from makemore_cli.config import OptimConfig
from makemore_cli.parameters import Parameters


def sgd(parameters: Parameters, gradients: Parameters, lr: float) -> None:
    """Plain stochastic gradient descent, in place: parameters −= lr · gradients."""
    parameters.flat.sub_(gradients.flat, alpha=lr)


def learning_rates(optim: OptimConfig, first: int, count: int) -> list[float]:
    """Learning rates of `count` steps from `first` on, a run's first step being 0.

    At each milestone the rate is multiplied by gamma.
    """
    milestones, gamma = ([], 1.0) if optim.schedule is None else (optim.schedule.milestones, optim.schedule.gamma)
    passed = np.searchsorted(milestones, np.arange(first, first + count), side="right")
    rates = [optim.lr * gamma**power for power in range(int(passed[-1]) + 1)]
    return [rates[power] for power in passed.tolist()]
