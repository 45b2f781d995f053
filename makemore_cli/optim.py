"""Optimisers and learning-rate schedules."""

from __future__ import annotations

from bisect import bisect_right

from makemore_cli.config import OptimConfig
from makemore_cli.model import Parameters


def sgd(parameters: Parameters, gradients: Parameters, lr: float) -> None:
    """Plain stochastic gradient descent, in place: parameters −= lr · gradients."""
    parameters.flat.sub_(gradients.flat, alpha=lr)


def learning_rate(optim: OptimConfig, step: int) -> float:
    """Learning rate of a step; the first step is 0. At each milestone it is multiplied by gamma."""
    if optim.schedule is None:
        return optim.lr
    return optim.lr * optim.schedule.gamma ** bisect_right(optim.schedule.milestones, step)
