"""A chain of one step from a `torch.autograd.Function`: its forward and its backward, as somebody wrote them.

The function itself hides its forward pass from autograd. Called with a context of ours, it is ordinary code, which
autograd can follow; so autograd is the witness here too.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from makemore_cli.backprop.chain import Chain, Line, Step, chain
from makemore_cli.backprop.inputs import Bounds, ChainError, Given, Index, as_input

OUTPUT = "output"


class Context:
    """What a function is given to remember things by, as far as it needs one here."""

    def __init__(self, needed: int) -> None:
        self.saved_tensors: tuple[Any, ...] = ()
        self.needs_input_grad = (True,) * needed

    def save_for_backward(self, *tensors: Any) -> None:
        self.saved_tensors = tensors

    save_for_forward = save_for_backward

    def mark_dirty(self, *tensors: Tensor) -> None:
        """It works on copies, so what it changes is nobody's."""

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Such an output is integer, or no gradient comes to it."""

    def set_materialize_grads(self, value: bool) -> None:
        """Gradients are always there."""


def function_chain(
    function: type[torch.autograd.Function], inputs: Mapping[str, Any], sizes: Mapping[str, Bounds]
) -> Chain:
    """The chain of one step that a function is, or of a step for each of its outputs.

    `inputs` are those of `chain`, by the names of forward's parameters. Raises ChainError if one is not declared.
    """
    names = parameters(function)
    missing = [name for name in names if name not in inputs]
    if missing:
        declared = ", ".join(f'"{name}": "n D"' for name in missing)
        raise ChainError(
            f"{function.__name__}: the shape of {' and '.join(missing)} is not declared: write, say, "
            f"inputs = {{{declared}}} in the file"
        )
    # What comes out of a first call says how many outputs there are.
    one_step = chain(
        function.__name__,
        {name: inputs[name] for name in names},
        Step(OUTPUT, _line(names, lambda *given: _forward(function, given)[0]), {}),
        sizes=sizes,
    )
    drawn, _ = one_step.draw()
    first = one_step.forward(drawn)[OUTPUT]
    outputs = len(first) if isinstance(first, tuple) else None
    real = [name for name in names if _is_real(inputs[name])]
    return chain(
        function.__name__,
        {name: inputs[name] for name in names},
        *(_step(function, names, real, at, outputs) for at in range(outputs or 1)),
        sizes=sizes,
    )


def parameters(function: type[torch.autograd.Function]) -> list[str]:
    """The names of a function's inputs."""
    names = list(inspect.signature(function.forward).parameters)
    return names if _is_apart(function) else names[1:]  # the context is first


def _is_apart(function: type[torch.autograd.Function]) -> bool:
    """Whether forward has no context, and `setup_context` fills it."""
    return function.setup_context is not torch.autograd.Function.setup_context


def _is_real(given: object) -> bool:
    one = as_input(given)
    if isinstance(one, Given):
        return isinstance(one.value, Tensor) and one.value.is_floating_point()
    return not isinstance(one, Index)


def _step(
    function: type[torch.autograd.Function], names: list[str], real: list[str], at: int, outputs: int | None
) -> Step:
    name = OUTPUT if outputs is None else f"{OUTPUT}_{at + 1}"

    def forward(*given: Any) -> Any:
        result, _ = _forward(function, given)
        return result if outputs is None else result[at]

    def backward(of: str) -> Line:
        def line(*given: Any) -> Any:
            *inputs, above = given
            with torch.no_grad():
                result, context = _forward(function, inputs)
                results = result if isinstance(result, tuple) else (result,)
                gradients = [above if number == at else torch.zeros_like(one) for number, one in enumerate(results)]
                found = function.backward(context, *gradients)
            found = found if isinstance(found, tuple) else (found,)
            return found[names.index(of)] if len(found) > names.index(of) else None

        return _line([*names, f"d{name}"], line)

    return Step(name, _line(names, forward), {f"d{one}": backward(one) for one in real}, why=function.__doc__ or "")


def _forward(function: type[torch.autograd.Function], given: Any) -> tuple[Any, Context]:
    """The forward pass on copies of its inputs, and what it remembers."""
    copies = tuple(value.clone() if isinstance(value, Tensor) else value for value in given)
    context = Context(len(copies))
    if _is_apart(function):
        result = function.forward(*copies)
        function.setup_context(context, copies, result)
    else:
        result = function.forward(context, *copies)
    return result, context


def _line(names: list[str], function: Callable[..., Any]) -> Line:
    """A function as a line that reads some names."""

    def line(*given: Any) -> Any:
        return function(*given)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    line.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])  # type: ignore[attr-defined]
    return line
