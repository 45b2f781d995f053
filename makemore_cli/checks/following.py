"""Tell a gradient's own error from an inherited one: compare it with what follows from the gradients above it.

If only the results of a pass are known, each gradient is compared with what follows, step by step, from the *same
pass's* gradients of later tensors. Gradients that a pass leaves out are filled in, so a fused expression is compared
with all the steps that it stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import wraps
from itertools import product
from typing import Any, TypeVar

import torch
from torch import Tensor

from makemore_cli.backprop.chain import Chain
from makemore_cli.backprop.step import Step, Values, arguments, run

Parts = dict[str, Tensor]  # of one gradient, by the step that each comes through


Function = TypeVar("Function", bound=Callable[..., Any])


def with_gradients(function: Function) -> Function:
    """A decorator: autograd, the witness, works inside, also if the caller has switched it off."""

    @wraps(function)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        with torch.inference_mode(False), torch.enable_grad():
            return function(*arguments, **named)

    return wrapped  # type: ignore[return-value]


@dataclass
class Following:
    """The gradients of one backward pass, and what follows from each of them."""

    values: Values
    chain: Chain
    above: Mapping[str, Tensor]  # the gradients of the outputs, which are given
    given: dict[str, Tensor]  # the pass's own, by the tensor's name
    by_lines: bool = False  # whether to follow the chain's backward lines, not autograd
    current: dict[str, Tensor] = field(default_factory=dict)  # the given ones, and what follows where none is given
    parts: dict[str, Parts] = field(default_factory=dict)  # what follows for each gradient through each step

    def expected(self, name: str) -> Tensor:
        """The gradient that follows from the pass's own gradients of the steps after it."""
        return torch.stack(list(self.parts[name].values())).sum(0)

    def alternatives(self, name: str) -> Iterator[Tensor]:
        """The gradients that follow if gradients above were right when they were read, and changed later."""
        wrong = [step for step in self.parts[name] if step in self.given and step in self.parts]
        for replaced in product((False, True), repeat=len(wrong)):
            parts = dict(self.parts[name])
            for step in (s for s, yes in zip(wrong, replaced, strict=True) if yes):
                parts[step] = self.back(self.chain.by_name[step], self.expected(step))[name]
            if any(replaced):
                yield torch.stack(list(parts.values())).sum(0)

    def partial(self, name: str) -> Iterator[tuple[str, str, Tensor]]:
        """The gradients that follow if a gradient above lacks one branch, as (step above, branch, gradient)."""
        for step in self.parts[name]:
            branches = self.parts.get(step, {})
            if step in self.given and len(branches) > 1:
                for branch in branches:
                    rest = torch.stack([part for s, part in branches.items() if s != branch]).sum(0)
                    part = self.back(self.chain.by_name[step], rest)[name]
                    yield step, branch, self.expected(name) - self.parts[name][step] + part

    def lines_back(self, step: Step, values: Values, above: Tensor) -> Parts:
        """Like `back`, but always by the backward lines if the step has any; autograd can follow the result."""
        if not step.backward:
            return vjp(step, values, above)
        names = {**values, f"d{step.name}": above}
        return {target[1:]: run(line, names) for target, line in step.backward.items()}

    def back(self, step: Step, above: Tensor) -> Parts:
        """The contribution of a step to the gradients of its inputs, given the gradient of its output."""
        if not self.by_lines or not step.backward:
            return vjp(step, self.values, above)
        names = {**self.values, f"d{step.name}": above}
        return {
            target[1:]: run(line, names).expand(self.values[target[1:]].shape) for target, line in step.backward.items()
        }


def follow(
    values: Values,
    gradients: Mapping[str, Tensor],
    chain: Chain,
    above: Mapping[str, Tensor],
    *,
    by_lines: bool = False,
) -> Following:
    """Take gradients back through the chain, each from those that are given above it.

    A given gradient of a smaller shape is broadcast to its tensor's shape; one that can't be is ignored. `above` are
    the outputs' gradients.
    """
    result = Following(values, chain, above, {}, by_lines)
    for step in reversed(chain.steps):
        if not differentiable(values[step.name]):
            continue
        shape = values[step.name].shape
        own = gradients.get(step.name)
        if step.name in above:
            result.current[step.name] = above[step.name]
        elif own is not None and spreads(own, shape):
            result.given[step.name] = result.current[step.name] = own.to(values[step.name]).expand(shape)
        elif step.name in result.parts:
            result.current[step.name] = result.expected(step.name)
        else:  # no gradient flows back to it
            result.current[step.name] = torch.zeros_like(values[step.name])
        for name, part in result.back(step, result.current[step.name]).items():
            result.parts.setdefault(name, {})[step.name] = part
    for name in result.parts:
        if name not in result.current:  # an input
            own = gradients.get(name)
            usable = own is not None and own.shape == values[name].shape
            result.current[name] = own.to(values[name]) if usable and own is not None else result.expected(name)
            if usable and own is not None:
                result.given[name] = result.current[name]
    return result


def vjp(step: Step, values: Values, above: Tensor) -> Parts:
    """Autograd's gradients of a step's inputs, given the gradient of its output."""
    inputs = [name for name in arguments(step.forward) if differentiable(values[name])]
    leaves = {name: values[name].detach().requires_grad_() for name in inputs}
    with torch.enable_grad():
        output = run(step.forward, {**values, **leaves})
    if not output.requires_grad:
        return {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    parts = torch.autograd.grad(
        output, tuple(leaves.values()), above, allow_unused=True, create_graph=above.requires_grad
    )
    return {
        name: torch.zeros_like(values[name]) if part is None else part for name, part in zip(inputs, parts, strict=True)
    }


def differentiable(value: object) -> bool:
    """Whether a value of a chain can have a gradient: indices and plain numbers can't."""
    return isinstance(value, Tensor) and value.is_floating_point()


def spreads(gradient: Tensor, shape: torch.Size) -> bool:
    """Whether a tensor can be broadcast to a shape."""
    try:
        return bool(torch.broadcast_to(gradient, shape).shape == shape)
    except RuntimeError:
        return False
