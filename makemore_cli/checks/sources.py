"""Sources of gradients of any chain, by name.

A source is a function `problem → gradients by the tensor's name`. It gives as many of the chain's gradients as it has.
Those that only the network has are in `network.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from makemore_cli.backprop.step import Values
from makemore_cli.checks import numeric
from makemore_cli.errors import ParameterError

if TYPE_CHECKING:
    from makemore_cli.checks.problem import Problem

Gradients = dict[str, Tensor]


def atomic(problem: Problem) -> Gradients:
    """The hand-written chain, line by line."""
    return problem.chain.backward(problem.values, problem.above)


def autograd(problem: Problem) -> Gradients:
    """Autograd through the chain's forward lines: all gradients but those of the outputs."""
    values = with_leaves(problem)
    names = [k for k, v in values.items() if isinstance(v, Tensor) and v.requires_grad and k not in problem.above]
    return downwards(values, problem.above, names)


def downwards(values: Values, above: Mapping[str, Tensor], names: list[str]) -> Gradients:
    """Autograd's gradients of the tensors `names`, given the gradients `above`; 0 if a tensor does not affect those."""
    ends = {name: gradient for name, gradient in above.items() if values[name].requires_grad}
    tensors = [values[name] for name in names]
    found = torch.autograd.grad(
        [values[name] for name in ends], tensors, list(ends.values()), allow_unused=True, retain_graph=True
    )
    return {
        name: torch.zeros_like(values[name]) if gradient is None else gradient
        for name, gradient in zip(names, found, strict=True)
    }


def truth(problem: Problem) -> Gradients:
    """Autograd's gradients, computed once for each problem."""
    return problem.truth


def float64(problem: Problem) -> Gradients:
    """Autograd through the chain in float64, precise enough to be the truth for float32."""
    return problem.in_float64.truth


def scalar(problem: Problem) -> Gradients:
    """The scalar engine's gradients, on the chain's forward lines, in float64."""
    return problem.in_float64.by_scalars


def with_leaves(problem: Problem) -> Values:
    """The forward pass from inputs that autograd follows."""
    chain = problem.chain
    return chain.forward({n: value if n in chain.constants else _leaf(value) for n, value in problem.inputs.items()})


def _leaf(value: Any) -> Any:
    """A tensor that autograd follows, in the same memory.

    The memory matters: at another alignment a matrix product may add in another order.
    """
    return value.detach().requires_grad_() if isinstance(value, Tensor) and value.is_floating_point() else value


GradientFunction = Callable[[Any], Gradients]  # of a problem, perhaps of one kind only


@dataclass(frozen=True)
class Source:
    """A source of gradients, and what it can do."""

    name: str
    about: str
    gradients: GradientFunction
    accuracy: float = 0.0  # its own largest error over the gradient's scale, if more than rounding
    partial: bool = False  # only some entries of each gradient, drawn at random; the others are NaN
    by_lines: bool = False  # whether each line can be checked alone
    double: bool = False  # in float64 whatever the parameters' precision, and so the truth for float32
    witness: str = "functions"  # what checks it while a run trains with it
    losses: Callable[[Any], dict[str, float]] | None = None  # the losses that it computes, by name
    unfit: Callable[[Any], str | None] = lambda _: None  # why it can't be a witness of a problem


@dataclass(frozen=True)
class Pair:
    """A source and its witness, and what is known before they are compared."""

    of: Source
    against: Source
    all_of_witness: bool = False  # whether a gradient that only the witness has is a mistake, or not compared
    wrong_lines: Mapping[str, str | None] | None = None  # diagnoses by tensor, if each line was checked alone

    @property
    def accuracy(self) -> float:
        """The larger of the two sources' own errors, over the gradient's scale."""
        return max(self.of.accuracy, self.against.accuracy)

    @property
    def is_partial(self) -> bool:
        """Whether NaN stands for entries that one of them did not compute."""
        return self.of.partial or self.against.partial


def find_source(name: str, parameter: str, sources: Mapping[str, Source]) -> Source:
    """A source by its name. Raises ParameterError if there is none."""
    if name not in sources:
        raise ParameterError(parameter, f"must be one of {', '.join(sources)}, got {name}")
    return sources[name]


def check_different(of: Source, against: Source) -> None:
    """Make sure that a source is not its own witness. Raises ParameterError."""
    if of.name == against.name:
        raise ParameterError("against", f"must differ from the source that is checked, {of.name}")


ATOMIC = Source("atomic", "the hand-written chain, line by line", atomic, by_lines=True)
AUTOGRAD = Source("autograd", "autograd through the chain", truth)
FLOAT64 = Source("float64", "autograd in float64", float64, double=True)
FINITE = Source("finite", "central differences in float64", numeric.finite, accuracy=1e-7, partial=True)
COMPLEX = Source(
    "complex", "complex-step differentiation", numeric.complex_step, partial=True, unfit=numeric.not_analytic
)
SCALAR = Source("scalar", "the chain on scalar values, one number at a time", scalar, double=True)
CHAIN_SOURCES = {source.name: source for source in (ATOMIC, AUTOGRAD, FLOAT64, FINITE, COMPLEX, SCALAR)}
# What a chain is compared with besides autograd.
CHAIN_PAIRS = (
    Pair(replace(ATOMIC, name="central differences", about="some entries of each gradient, in float64"), FINITE),
    Pair(replace(ATOMIC, name="complex step", about="some entries of each gradient, in float64"), COMPLEX),
)
