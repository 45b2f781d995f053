"""A `torch.autograd.Function` as a chain of one step, with the user's forward and backward as its lines.

The function hides its forward pass from autograd. Called with our own context, forward is ordinary code that autograd
can follow, so autograd is the witness here too.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from makemore_cli.backprop.chain import Chain, chain
from makemore_cli.backprop.inputs import Bounds, ChainError, Given, Index, as_input
from makemore_cli.backprop.step import Line, MadeLine, Step, Values
from makemore_cli.checks.forward_code import whole_expression
from makemore_cli.checks.local_variables import LocalVariables

OUTPUT = "output"
UNDECLARED = "n D"  # the shape of an undeclared input


class Context:
    """The part of a function's context (`ctx`) that is needed here."""

    def __init__(self, needed: int) -> None:
        self.saved_tensors: tuple[Any, ...] = ()
        self.needs_input_grad = (True,) * needed
        self.constant: list[int] = []  # the identities of outputs that are marked as non-differentiable

    def save_for_backward(self, *tensors: Any) -> None:
        self.saved_tensors = tensors

    save_for_forward = save_for_backward

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Do nothing: forward works on copies of its inputs."""

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        self.constant += map(id, tensors)

    def set_materialize_grads(self, value: bool) -> None:
        """Do nothing: no gradient is ever None."""


def function_chain(
    function: type[torch.autograd.Function], inputs: Mapping[str, Any], sizes: Mapping[str, Bounds]
) -> Chain:
    """Return a function as a chain of one step, or of one step for each of its outputs.

    `inputs` are those of `chain`, by the names of forward's parameters. Undeclared inputs are matrices of the same
    shape. Raises ChainError if the function can't be run.
    """
    names = parameters(function)
    missing = [name for name in names if name not in inputs]
    inputs = {name: inputs.get(name, UNDECLARED) for name in names}
    # The result of a first call shows how many outputs there are.
    once = Step(OUTPUT, _line(names, lambda *given: _forward(function, given)[0]), {})
    alone = chain(function.__name__, inputs, once, sizes=sizes)
    drawn, _ = alone.draw()
    try:
        first = alone.forward(drawn)[OUTPUT]
    except ChainError as error:
        if not missing:
            raise
        declared = ", ".join(f'"{name}": "n D"' for name in missing)
        raise ChainError(
            f"{error}; declare the shapes of the inputs: write inputs = {{{declared}}} in the file"
        ) from None
    outputs = len(first) if isinstance(first, tuple) else None
    real = [name for name in names if _is_real(inputs[name])]
    result, context = _forward(function, [drawn[name] for name in names])
    results = result if isinstance(result, tuple) else (result,)
    followed = [at for at, one in enumerate(results) if id(one) not in context.constant]
    if not followed:
        raise ChainError(f"{function.__name__}: every output is marked as non-differentiable")
    steps = (_step(function, names, real, at, outputs) for at in followed)
    return chain(function.__name__, inputs, *steps, sizes=sizes)


def parameters(function: type[torch.autograd.Function]) -> list[str]:
    """The names of a function's inputs."""
    names = list(inspect.signature(function.forward).parameters)
    return names if _is_apart(function) else names[1:]  # the context is first


def _is_apart(function: type[torch.autograd.Function]) -> bool:
    """Whether forward takes no context, and `setup_context` fills it instead."""
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
            if isinstance(found, list):
                raise TypeError("backward returns a list; PyTorch accepts only a tensor or a tuple")
            found = found if isinstance(found, tuple) else (found,)
            if any(extra is not None for extra in found[len(names) :]):
                raise TypeError(f"backward returns {len(found)} gradients, but forward has {len(names)} inputs")
            return found[names.index(of)] if len(found) > names.index(of) else None

        own = OwnCode(function, names, names.index(of), at)
        return _line([*names, f"d{name}"], line, f"{function.__name__}.backward", own)

    called = _line(names, forward, f"{function.__name__}.forward")
    return Step(name, called, {f"d{one}": backward(one) for one in real}, why=function.__doc__ or "")


def _forward(function: type[torch.autograd.Function], given: Any) -> tuple[Any, Context]:
    """Run forward on copies of its inputs; return its result and the context."""
    copies = tuple(value.clone() if isinstance(value, Tensor) else value for value in given)
    context = Context(len(copies))
    if _is_apart(function):
        result = function.forward(*copies)
        function.setup_context(context, copies, result)
    else:
        result = function.forward(context, *copies)
    return result, context


def _line(names: list[str], function: Callable[..., Any], called: str = OUTPUT, own: OwnCode | None = None) -> Line:
    """A line that calls `function` with `names`, and is shown as a call of `called`."""
    return MadeLine(tuple(names), function, ast.parse(f"{called}({', '.join(names)})", mode="eval").body, own)


@dataclass(frozen=True)
class OwnCode:
    """The expression that a function's backward returns for one input, and the variables that it reads."""

    function: type[torch.autograd.Function]
    names: list[str]
    place: int  # the input's index
    output: int

    @property
    def tree(self) -> ast.expr | None:
        """The expression; None if it can't be read off, such as with several return statements."""
        try:
            definition = ast.parse(textwrap.dedent(inspect.getsource(self.function.backward))).body[0]
        except (OSError, SyntaxError, TypeError):
            return None
        returns = [node.value for node in ast.walk(definition) if isinstance(node, ast.Return)]
        if len(returns) != 1 or returns[0] is None:
            return None
        parts = returns[0].elts if isinstance(returns[0], ast.Tuple) else returns
        tree = parts[self.place] if self.place < len(parts) else None
        if isinstance(tree, ast.Name) and isinstance(definition, ast.FunctionDef):
            return whole_expression(definition, tree.id)
        return tree

    def variables(self, values: Values) -> dict[str, Any]:
        """Run backward on `values`; return its final local variables and its module's global names."""
        inputs = [values[name] for name in self.names]
        result, context = _forward(self.function, inputs)
        results = result if isinstance(result, tuple) else (result,)
        name = OUTPUT if not isinstance(result, tuple) else f"{OUTPUT}_{self.output + 1}"
        above = [values[f"d{name}"] if at == self.output else torch.zeros_like(one) for at, one in enumerate(results)]
        code = inspect.unwrap(self.function.backward).__code__
        with torch.no_grad(), LocalVariables(code) as local:
            self.function.backward(context, *above)
        return {**self.function.backward.__globals__, **local.final}
