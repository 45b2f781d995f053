"""Optimisers, and averages of the parameters.

All of them work on the one flat tensor, whatever the layers, and nothing that they do depends on how many steps are
trained at a time: what changes from step to step follows from the step's number.

A new optimiser begins with its settings in `config/schema.py`; the type checker then shows the three places here. The
compiled kernel has its own update and says which optimisers it has (`in_kernel`). docs/contributing.md has the recipe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import assert_never

from makemore_cli.backprop.update_numbers import Factors, Rule
from makemore_cli.config.schema import AdamWConfig, ExponentialAverage, MeanAverage, OptimConfig, SgdConfig

CLIP_EPSILON = 1e-6  # added to the gradient's norm before it divides, as in torch.nn.utils.clip_grad_norm_
YOUNG_AVERAGE = 9  # an exponential average remembers, at first, about a ninth of the steps so far


class Optimiser:
    """Turns gradients into updates, with what it keeps for that from step to step.

    sgd: Nesterov's or plain momentum, the weight decay added to the gradient (`torch.optim.SGD`). adamw: Loshchilov and
    Hutter, "Decoupled weight decay regularization", 2019 (`torch.optim.AdamW`). Before either, a gradient whose norm is
    beyond `clip` is scaled down to it. After it, the parameters' average moves towards them
    (`torch.optim.swa_utils.AveragedModel`). An exponential one forgets faster while it is young, as in TensorFlow's
    ExponentialMovingAverage: the network that it began with is not to be averaged with a trained one.
    """

    def __init__(self, config: OptimConfig, steps: int, flat: Float[Tensor, " parameters"]) -> None:
        """For a run of `steps`, whose parameters are `flat`."""
        self.config = config
        self.kept = {name: torch.zeros_like(flat) for name in config.kept}
        if "average" in self.kept:
            self.kept["average"].copy_(flat)
        self.began = 0  # the step after which a mean has its first share
        if isinstance(config.average, MeanAverage):
            self.began = steps - max(1, round(config.average.share * steps))

    def state(self, flat: Float[Tensor, " parameters"]) -> dict[str, NDArray[Any]]:
        """The arrays that it takes to resume, beside the checkpoint's model, by their names in a checkpoint.

        Where parameters are averaged, the average is the model, and what they were themselves is kept here.
        """
        state = dict(self.kept)
        if state.pop("average", None) is not None:
            state["parameters"] = flat
        arrays: dict[str, NDArray[Any]] = {name: kept.cpu().numpy() for name, kept in state.items()}
        return arrays | {"began": np.array([self.began])} if isinstance(self.config.average, MeanAverage) else arrays

    def resume(self, model: Float[Tensor, " parameters"], state: Mapping[str, NDArray[Any]], step: int) -> Tensor:
        """Put what is kept where it stood after `step` steps. Returns the parameters, given the checkpoint's model's.

        Where the run has another goal than it had, a mean of its last part begins anew if that part is yet to come, or
        now if it should have begun already; one that has begun goes on. So all steps that are in it count alike.
        """
        if "began" in state and step > self.began:
            self.began = min(int(state["began"][0]), step)
        for name, kept in self.kept.items():
            kept.copy_(model if name == "average" else torch.from_numpy(state[name]))
        return torch.from_numpy(state["parameters"]) if "average" in self.kept else model

    def factors(self, learning_rates: Sequence[float], start: int) -> list[Factors]:
        """The numbers of the steps that follow `start` steps."""
        return [Factors._make(row) for row in self.factor_table(learning_rates, start).tolist()]

    def factor_table(self, learning_rates: Sequence[float], start: int) -> NDArray[np.float64]:
        """The same as an array (steps, 5)."""
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
        """The same update for the compiled pass, which has it if `in_kernel` says so."""
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
        """The weight of the parameters after each step in their average; 1 at its beginning."""
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
        self, flat: Float[Tensor, " parameters"], gradient: Float[Tensor, " parameters"], factors: Factors
    ) -> None:
        """Take one step, in place. The gradient is changed, too."""
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
                flat.sub_(gradient, alpha=factors.lr)
            case AdamWConfig():
                m, v = kept["m"], kept["v"]
                flat.mul_(factors.shrink)
                m.lerp_(gradient, 1 - c.beta1)
                v.mul_(c.beta2).addcmul_(gradient, gradient, value=1 - c.beta2)
                deviation = (v.sqrt() / factors.second).add_(c.epsilon)
                flat.addcdiv_(m, deviation, value=-factors.size)
            case _:
                assert_never(c)
        if c.average is not None:
            kept["average"].lerp_(flat, factors.new)
