"""The numbers of an optimiser's update, for every engine."""

from __future__ import annotations

from typing import NamedTuple


class Factors(NamedTuple):
    """The numbers of an update that change from step to step."""

    lr: float
    shrink: float = 1.0  # AdamW: the fraction of the parameters that weight decay leaves
    size: float = 0.0  # AdamW: the learning rate over 1 − beta1^step, which corrects for m starting at zero
    second: float = 1.0  # AdamW: √(1 − beta2^step), by which √v is divided, to correct for v starting at zero
    new: float = 0.0  # the weight of the new parameters in their average


class Rule(NamedTuple):
    """The numbers of an update that are the same in every step, for the compiled pass."""

    adamw: bool = False
    nesterov: bool = False
    average: bool = False
    momentum: float = 0.0
    rest1: float = 0.0  # 1 − beta1
    beta2: float = 0.0
    rest2: float = 0.0
    epsilon: float = 0.0
    weight_decay: float = 0.0  # of sgd
    clip: float = 0.0  # zero: no clipping


SGD = Rule()
