"""Sources of gradients: functions `(parameters, X, Y, eps) → gradients by the tensor's name`.

A source gives as many of the chain's 26 gradients as it has; the parameters' are always among them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from makemore_cli import engine
from makemore_cli.backprop import fused, steps
from makemore_cli.model import Parameters

Gradients = dict[str, Tensor]
Source = Callable[[Parameters, Tensor, Tensor, float], Gradients]


def atomic(p: Parameters, X: Tensor, Y: Tensor, eps: float, *, table: Sequence[steps.Step] | None = None) -> Gradients:
    """The hand-written chain, line by line: all 26 gradients."""
    return steps.backward(steps.forward(p, X, Y, eps=eps, table=table), table=table)


def training_pass(p: Parameters, X: Tensor, Y: Tensor, eps: float) -> Gradients:
    """The hand-written pass that training uses: the parameters' gradients."""
    return fused.training_pass(p, X, Y, eps).gradients.views


def autograd_chain(p: Parameters, X: Tensor, Y: Tensor, eps: float) -> Gradients:
    """Autograd through the chain's forward lines: all 26 gradients."""
    leaves = _leaves(p)
    values = steps.forward(leaves, X, Y, eps=eps)
    tensors = {k: v for k, v in values.items() if isinstance(v, Tensor) and v.requires_grad and k != "loss"}
    return dict(zip(tensors, torch.autograd.grad(values["loss"], tuple(tensors.values())), strict=True))


def autograd(p: Parameters, X: Tensor, Y: Tensor, eps: float) -> Gradients:
    """Autograd through the network in PyTorch's own functions: the parameters' gradients."""
    leaves = _leaves(p).views
    loss, _, _ = engine.forward(leaves, X, Y, eps)
    return dict(zip(leaves, torch.autograd.grad(loss, tuple(leaves.values())), strict=True))


def _leaves(p: Parameters) -> Parameters:
    """The same memory, named by tensors that autograd follows.

    The same memory matters: at another alignment a matrix product may add in another order.
    """
    leaves = Parameters(p.sizes, p.flat)
    leaves.views = {name: view.detach().requires_grad_() for name, view in leaves.views.items()}
    return leaves
