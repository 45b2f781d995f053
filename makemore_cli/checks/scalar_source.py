"""A chain on scalar values: its forward lines run on single numbers, and the scalar engine computes their gradients.

Tensors only add speed: the gradients must be the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from makemore_cli.backprop.inputs import ChainError
from makemore_cli.backprop.step import LINE_ERRORS, Step, Values, run
from makemore_cli.scalar.engine import Value, copy_of
from makemore_cli.scalar.tensor import NotScalarError, ScalarTensor, as_scalars

if TYPE_CHECKING:
    from makemore_cli.checks.problem import Problem

MOST_OPERATIONS = 5_000_000  # each takes about half a kilobyte and two microseconds


def scalar_gradients(problem: Problem) -> dict[str, Tensor]:
    """The gradients of all tensors of a chain, in float64.

    Raises ChainError for a chain that takes too many operations, or can't be run on scalars.
    """
    chain = problem.chain
    count = operations(problem)
    if count > MOST_OPERATIONS:
        raise ChainError(
            f"{chain.name}: takes about {count:,} operations on scalars, more than the limit of {MOST_OPERATIONS:,}: "
            "choose smaller sizes"
        )
    values = _forward(problem)
    total = Value(0.0)
    for name, above in problem.above.items():
        for entry, gradient in zip(values[name].entries.flat, above.flatten().tolist(), strict=True):
            total = total + entry * gradient
    total.backward()
    tensors = {name: values[name] for name in problem.order if isinstance(values[name], ScalarTensor)}
    return {name: _gradients(tensor).to(problem.device) for name, tensor in tensors.items()}


def _forward(problem: Problem) -> Values:
    """All values by name, real ones as tensors of scalars. No two of these share an entry or its gradient."""
    chain = problem.chain
    inputs = {name: value.cpu() if isinstance(value, Tensor) else value for name, value in problem.inputs.items()}
    values: Values = {
        name: _leaves(value) if name not in chain.constants and _is_real(value) else value
        for name, value in inputs.items()
    }
    known = {id(entry) for value in values.values() if isinstance(value, ScalarTensor) for entry in value.entries.flat}
    for step in chain.steps:
        result = _run(problem, step, values)
        if isinstance(result, ScalarTensor) or _is_real(result):
            result = ScalarTensor(_own(as_scalars(result), known))
            known.update(id(entry) for entry in result.entries.flat)
        values[step.name] = result
    return values


def _run(problem: Problem, step: Step, values: Mapping[str, Any]) -> Any:
    where = f"{problem.chain.name}: step {step.name}"
    try:
        return run(step.forward, values)
    except NotScalarError as error:
        raise ChainError(f"{where}: {error}") from None
    except LINE_ERRORS as error:
        raise ChainError(f"{where}: can't be run on scalars: {' '.join(str(error).split())}") from None


def _is_real(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _leaves(value: Tensor) -> ScalarTensor:
    return ScalarTensor.of(value, lambda number, _: Value(number))


def _own(result: ScalarTensor, known: set[int]) -> Any:
    """The entries as values that nothing else has: an entry of a view, or one that is used again, is copied."""
    entries = result.entries.copy()
    seen: set[int] = set()
    for at, entry in enumerate(entries.flat):
        if not isinstance(entry, Value):
            entries.flat[at] = Value(entry)
        elif id(entry) in known or id(entry) in seen:
            entries.flat[at] = copy_of(entry)
        seen.add(id(entry))
    return entries


def _gradients(tensor: ScalarTensor) -> Tensor:
    gradients = [entry.grad for entry in tensor.entries.flat]
    return torch.tensor(gradients, dtype=torch.float64).view(tensor.shape)


def operations(problem: Problem) -> int:
    """About how many operations on scalars the forward pass takes."""
    count = _Count()
    with count:
        problem.chain.forward(problem.inputs)
    return count.operations


class _Count(TorchFunctionMode):
    """Counts the scalar operations of PyTorch's functions: one for each number that goes in or comes out.

    A matrix product takes two for each row, column and inner index.
    """

    operations: int = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [one for one in (*args, result) if isinstance(one, Tensor)]
        sizes = [one.numel() for one in tensors]
        if getattr(func, "__name__", "").strip("_").removeprefix("r") in ("matmul", "mm", "bmm", "linear", "einsum"):
            inner = max(1, tensors[0].shape[-1] if tensors[0].dim() else 1)
            sizes.append(2 * inner * tensors[-1].numel())
        self.operations += max(sizes, default=0)
        return result
