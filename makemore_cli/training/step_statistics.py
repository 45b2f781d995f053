"""Statistics of one training step: the lecture's ratios, gradient norms, and the saturation of tanh."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from makemore_cli.backprop.atomic import given, network_up_to
from makemore_cli.backprop.fused import training_pass
from makemore_cli.network.parameters import Parameters

SATURATED = 0.97  # absolute value of tanh above which almost no gradient passes through


def diagnose(
    before: Parameters, after: Parameters, X: Tensor, Y: Tensor, eps: float, smoothing: float = 0.0
) -> dict[str, Any]:
    """Statistics of one training step on a batch: for each parameter the lecture's ratios, as plain values.

    `grad_data` is the gradient's standard deviation over the parameter's, `update_data` the update's over the
    parameter's (about 1e-3 is healthy), `grad_norm` the gradient's Euclidean norm. A ratio is None if the parameter is
    a single number, or all of its numbers are equal. `saturated` is what the function `saturated` returns.
    """
    gradients = training_pass(before, X, Y, eps, smoothing).gradients
    grad_norm, grad_data, update_data = {}, {}, {}
    for name, parameter in before.views.items():
        own = spread(parameter)
        update, gradient = after.views[name] - parameter, gradients.views[name]
        grad_norm[name] = float(gradient.double().norm())
        grad_data[name] = spread(gradient) / own if own else None
        update_data[name] = spread(update) / own if own else None
    return {
        "saturated": saturated(before, X, eps),
        "grad_norm": grad_norm,
        "grad_data": grad_data,
        "update_data": update_data,
    }


def spread(tensor: Tensor) -> float:
    """Standard deviation of all numbers of a tensor; 0 for a single number."""
    return float(tensor.double().std(correction=0))


def saturated(p: Parameters, X: Tensor, eps: float) -> float:
    """The fraction of tanh's outputs above 0.97 in absolute value, for a batch of contexts X (n, T)."""
    h = network_up_to("h", p.sizes.first_bias).forward(given(p, X, X[:, 0], eps))["h"]
    return float((h.abs() > SATURATED).float().mean())
