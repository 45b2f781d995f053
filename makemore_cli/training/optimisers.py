"""Optimisers, and averages of the parameters.

They work on the one flat tensor of all parameters. Their results do not depend on how many steps are trained at a
time: factors that change from step to step are functions of the step's number.

To add an optimiser, start with its settings in `config/schema.py`; the type checker then points at the three places to
change here. The compiled kernel has its own update; `in_kernel` says whether it supports an optimiser. See
docs/contributing.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, assert_never

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from makemore_cli.backprop.update_numbers import Factors, Rule
from makemore_cli.config.schema import AdamWConfig, ExponentialAverage, MeanAverage, OptimConfig, SgdConfig

CLIP_EPSILON = 1e-6  # added to the gradient's norm before dividing by it, as in torch.nn.utils.clip_grad_norm_
LR, SHRINK, SIZE, SECOND, NEW = range(len(Factors._fields))  # the places of a step's factors
YOUNG_AVERAGE = 9  # at first, an exponential average spans about a ninth of the steps so far


class Optimiser:
    """Turns gradients into updates, and keeps the optimiser's state.

    sgd has plain or Nesterov momentum, and adds the weight decay to the gradient (`torch.optim.SGD`). adamw is
    Loshchilov and Hutter, "Decoupled weight decay regularization", 2019 (`torch.optim.AdamW`). First, a gradient whose
    norm exceeds `clip` is scaled down to that norm. Last, the average of the parameters is updated
    (`torch.optim.swa_utils.AveragedModel`). An exponential average decays faster at first, as in TensorFlow's
    ExponentialMovingAverage, so that it soon forgets the initial parameters.
    """

    def __init__(self, config: OptimConfig, steps: int, flat: Float[Tensor, " parameters"]) -> None:
        """`steps` is the run's number of steps, `flat` its parameters."""
        self.config, self._like = config, flat
        self.kept = {name: torch.zeros_like(flat) for name in config.kept}
        if "average" in self.kept:
            self.kept["average"].copy_(flat)
        self.began = 0  # steps trained before the first one that a mean includes
        if isinstance(config.average, MeanAverage):
            self.began = steps - max(1, round(config.average.share * steps))

    def state(self, flat: Float[Tensor, " parameters"]) -> dict[str, NDArray[Any]]:
        """The arrays needed to resume, besides the checkpoint's model, by their names in a checkpoint.

        If parameters are averaged, the model has the average, and the parameters themselves are here.
        """
        state = dict(self.kept)
        if state.pop("average", None) is not None:
            state["parameters"] = flat
        arrays: dict[str, NDArray[Any]] = {name: kept.cpu().numpy() for name, kept in state.items()}
        return arrays | {"began": np.array([self.began])} if isinstance(self.config.average, MeanAverage) else arrays

    def resume(self, model: Float[Tensor, " parameters"], state: Mapping[str, NDArray[Any]], step: int) -> Tensor:
        """Restore the state after `step` steps. Returns the parameters, given those of the checkpoint's model.

        If the run's number of steps has changed, the part of the run that a mean covers has moved. If that part is yet
        to come, the mean starts again there. If not, a mean that has started continues, and any other starts now. So
        all steps in a mean have the same weight.
        """
        if "began" in state and step > self.began:
            self.began = min(int(state["began"][0]), step)
        for name, kept in self.kept.items():
            kept.copy_(model if name == "average" else torch.from_numpy(state[name]))
        return torch.from_numpy(state["parameters"]) if "average" in self.kept else model

    def factors(self, learning_rates: Sequence[float], start: int) -> Float[Tensor, "steps 5"]:
        """The factors (see `Factors`) of the steps that follow the first `start` steps, where the parameters are."""
        return torch.from_numpy(self.factor_table(learning_rates, start)).to(self._like)

    def factor_table(self, learning_rates: Sequence[float], start: int) -> NDArray[np.float64]:
        """The same as an array."""
        c, rates = self.config, np.asarray(learning_rates, np.float64)
        steps = np.arange(start, start + len(rates))
        table = np.tile(np.array(Factors(0.0)), (len(rates), 1))
        lr, shrink, size, second, new = table.T
        lr[:] = rates
        new[:] = self._new(steps)
        match c:
            case SgdConfig():
                pass
            case AdamWConfig():
                shrink[:] = 1 - rates * c.weight_decay
                size[:] = rates / (1 - c.beta1 ** (steps + 1))
                second[:] = (1 - c.beta2 ** (steps + 1)) ** 0.5
            case _:
                assert_never(c)
        return table

    def kernel_rule(self) -> Rule:
        """The same update as a rule for the kernel, which supports it if `in_kernel` is true."""
        c = self.config
        match c:
            case SgdConfig():
                return Rule(nesterov=c.nesterov, momentum=c.momentum, weight_decay=c.weight_decay, clip=c.clip or 0.0)
            case AdamWConfig():
                return Rule(
                    adamw=True,
                    rest1=1 - c.beta1,
                    beta2=c.beta2,
                    rest2=1 - c.beta2,
                    epsilon=c.epsilon,
                    clip=c.clip or 0.0,
                )
            case _:
                assert_never(c)

    def _new(self, steps: NDArray[np.int64]) -> NDArray[np.float64] | float:
        """The weight of each step's parameters in the average; 1 when it starts."""
        average = self.config.average
        match average:
            case None:
                return 0.0
            case ExponentialAverage():
                return np.maximum(1 - average.decay, YOUNG_AVERAGE / (YOUNG_AVERAGE + steps))
            case MeanAverage():
                return 1 / np.maximum(1, steps - self.began + 1)
            case _:
                assert_never(average)

    def update(
        self, flat: Float[Tensor, " parameters"], gradient: Float[Tensor, " parameters"], factors: Float[Tensor, " 5"]
    ) -> None:
        """Take one step in place. This also changes the gradient.

        All that changes from step to step is read from tensors, since a CUDA graph keeps other numbers as they are.
        """
        c, kept = self.config, self.kept
        if c.clip is not None:
            gradient.mul_((c.clip / (gradient.norm() + CLIP_EPSILON)).clamp_(max=1.0))
        match c:
            case SgdConfig():
                if c.weight_decay:
                    gradient.add_(flat, alpha=c.weight_decay)
                if c.momentum:
                    velocity = kept["velocity"].mul_(c.momentum).add_(gradient)
                    gradient = gradient.add_(velocity, alpha=c.momentum) if c.nesterov else velocity
                flat.addcmul_(gradient, factors[LR], value=-1)
            case AdamWConfig():
                m, v = kept["m"], kept["v"]
                flat.mul_(factors[SHRINK])
                m.lerp_(gradient, 1 - c.beta1)
                v.mul_(c.beta2).addcmul_(gradient, gradient, value=1 - c.beta2)
                deviation = v.sqrt().div_(factors[SECOND]).add_(c.epsilon)
                flat.addcdiv_(m * factors[SIZE], deviation, value=-1)
            case _:
                assert_never(c)
        if c.average is not None:
            kept["average"].lerp_(flat, factors[NEW])
