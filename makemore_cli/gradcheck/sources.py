"""Sources of gradients, by name.

A source is a function `problem → gradients by the tensor's name`. It gives as many of the
chain's 26 gradients as it has. Adding one is a line in SOURCES.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from makemore_cli.backprop import atomic as steps
from makemore_cli.backprop import fused
from makemore_cli.backprop.update_factors import Factors
from makemore_cli.errors import ParameterError
from makemore_cli.gradcheck import numeric
from makemore_cli.network import reference
from makemore_cli.network.parameters import Parameters

if TYPE_CHECKING:
    from makemore_cli.gradcheck.problem import Problem

Gradients = dict[str, Tensor]


def atomic(problem: Problem) -> Gradients:
    """The hand-written chain, line by line: all 26 gradients."""
    return steps.backward(problem.values)


def training_pass(problem: Problem) -> Gradients:
    """The hand-written pass that training uses: the parameters' gradients."""
    return _fused(problem).gradients.views


def _fused(problem: Problem) -> fused.Pass:
    return fused.training_pass(problem.p, problem.X, problem.Y, problem.eps, problem.smoothing)


def kernel(problem: Problem, lookup: bool | None = None) -> Gradients:
    """The same pass as it is compiled for the CPU, in either precision: the parameters' gradients."""
    return kernel_pass(problem, lookup)[1]


def kernel_pass(problem: Problem, lookup: bool | None = None) -> tuple[float, Gradients]:
    """The compiled pass: loss and gradients; `lookup` is `Kernel`'s.

    Raises ParameterError for a problem that is not on the CPU.
    """
    from makemore_cli.backprop.kernel import Kernel

    p, X, Y = problem.p, problem.X, problem.Y
    if p.flat.device.type != "cpu":
        raise ParameterError("train.device", "must be cpu for the source kernel")
    dtype = p.flat.numpy().dtype
    compiled = Kernel(p.sizes, len(X), dtype, problem.eps, smoothing=problem.smoothing, lookup=lookup)
    compiled.prepare(lambda: None)
    compiled.load(p.arrays())
    loss = compiled.train(X[None].numpy(), Y[None].numpy(), [Factors(0.0)])
    return float(loss[0]), {
        name: torch.from_numpy(view.copy()) for name, view in compiled.named(compiled.gradients).items()
    }


# The ways that the kernel's first layer can go, and `Kernel`'s `lookup` for each.
KERNEL_PATHS = {"first layer looked up": True, "first layer as a product": False}


def kernel_losses(problem: Problem) -> dict[str, float]:
    """The losses that the compiled pass computes, on either path."""
    return {
        f"the training pass, compiled, {path},": kernel_pass(problem, lookup)[0]
        for path, lookup in KERNEL_PATHS.items()
    }


def fused_losses(problem: Problem) -> dict[str, float]:
    return {"the training pass": float(_fused(problem).loss)}


def autograd(problem: Problem) -> Gradients:
    """Autograd through the chain's forward lines: all 26 gradients."""
    values = _with_leaves(problem)
    tensors = {k: v for k, v in values.items() if isinstance(v, Tensor) and v.requires_grad and k != "loss"}
    return dict(zip(tensors, torch.autograd.grad(values["loss"], tuple(tensors.values())), strict=True))


def finite_autograd(problem: Problem) -> Gradients:
    """Autograd through the chain; where its probabilities underflow, from the logits down by way of log_softmax.

    The logarithm of a probability that is zero in floating point has no gradient, though the loss has.
    """
    gradients = autograd(problem)
    if all(gradient.isfinite().all() for gradient in gradients.values()):
        return gradients
    values = _with_leaves(problem)
    names = [name for name in gradients if name in up_to_the_logits(problem.p)]
    loss = F.cross_entropy(values["logits"], problem.Y, label_smoothing=problem.smoothing)
    below = torch.autograd.grad(loss, [values[name] for name in names])
    return gradients | dict(zip(names, below, strict=True))


def up_to_the_logits(p: Parameters) -> set[str]:
    """The parameters, and the tensors of the chain as far as the logits."""
    return {*p.views, *(step.name for step in steps.up_to("logits", p.sizes.first_bias))}


def truth(problem: Problem) -> Gradients:
    """The same, computed once for each problem."""
    return problem.truth


def float64(problem: Problem) -> Gradients:
    """Autograd through the chain in float64, which is as good as the truth for float32: all 26 gradients."""
    return problem.in_float64.truth


def functions(problem: Problem) -> Gradients:
    """Autograd through the network in PyTorch's own functions: the parameters' gradients."""
    leaves = _leaves(problem.p)
    loss, _, _ = reference.forward(leaves, problem.X, problem.Y, problem.eps, problem.smoothing)
    return dict(zip(leaves, torch.autograd.grad(loss, tuple(leaves.values())), strict=True))


def _with_leaves(problem: Problem) -> steps.Values:
    """The forward pass from parameters that autograd follows."""
    given = {"X": problem.X, "Y": problem.Y, "n": len(problem.X), "eps": problem.eps, "smoothing": problem.smoothing}
    values: steps.Values = {**_leaves(problem.p), **given}
    for step in problem.table:
        values[step.name] = steps.run(step.forward, values)
    return values


def _leaves(p: Parameters) -> dict[str, Tensor]:
    """The parameters as tensors that autograd follows, in the same memory.

    The same memory matters: at another alignment a matrix product may add in another order.
    """
    return {name: view.detach().requires_grad_() for name, view in p.views.items()}


GradientFunction = Callable[["Problem"], Gradients]
Losses = Callable[["Problem"], dict[str, float]]


@dataclass(frozen=True)
class Source:
    """A source of gradients, and what it can do."""

    name: str
    about: str
    gradients: GradientFunction
    accuracy: float = 0.0  # largest error of its own over the gradient's scale, where that is more than rounding
    partial: bool = False  # only some entries of each gradient, drawn at random; the others are NaN
    by_lines: bool = False  # of the table, each of which can be checked alone
    double: bool = False  # in float64 whatever the parameters' precision, so that it is the truth for float32
    witness: str = "functions"  # what it is held against while a run trains with it
    losses: Losses | None = None  # what it computes besides, by name
    paths: Mapping[str, GradientFunction] = field(default_factory=dict)  # ways that it can go, each to be checked

    def each_path(self) -> list[Source]:
        """The source itself, or one source for each of its paths."""
        return [
            replace(self, name=f"{self.name}, {path},", gradients=gradients, paths={})
            for path, gradients in self.paths.items()
        ] or [self]


SOURCES = {
    source.name: source
    for source in (
        Source("atomic", "the chain by hand, line by line", atomic, by_lines=True),
        Source("fused", "the training pass by hand", training_pass, losses=fused_losses),
        Source(
            "kernel",
            "the training pass by hand, compiled",
            kernel,
            losses=kernel_losses,
            paths={path: partial(kernel, lookup=lookup) for path, lookup in KERNEL_PATHS.items()},
        ),
        Source("autograd", "autograd through the chain", truth),
        Source("functions", "autograd through PyTorch's own functions", functions, witness="atomic"),
        Source("float64", "autograd in float64", float64, double=True),
        Source("finite", "central differences in float64", numeric.finite, accuracy=1e-7, partial=True),
        Source("complex", "complex-step differentiation", numeric.complex_step, partial=True),
    )
}
