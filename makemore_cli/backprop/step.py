"""One step of a chain: a forward line and its backward lines.

A line's arguments are the names of the tensors that it reads, as in the lecture's first exercise, with the prefix `d`
for a gradient. So a step can be run and checked by itself.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import Tensor

Line = Callable[..., Tensor]
# The errors of a line that is wrong, or whose arguments don't fit.
LINE_ERRORS = (
    *(RuntimeError, TypeError, ValueError, LookupError, ArithmeticError, AttributeError, NameError),
    AssertionError,
)
Values = dict[str, Any]  # tensors by name, and plain numbers such as n and eps


@dataclass(frozen=True)
class Step:
    """A forward line and its backward lines."""

    name: str  # the tensor that it computes
    forward: Line
    backward: Mapping[str, Line]  # by the name of the gradient that the line adds to
    shape: str | None = None  # in symbols
    rule: str = ""
    why: str = ""


def step(
    name: str, forward: Line, *, shape: str | None = None, rule: str = "", why: str = "", **backward: Line
) -> Step:
    """Declare a step. `dlogits=lambda …` is the backward line that adds to dlogits."""
    return Step(name, forward, backward, shape, rule, why)


@dataclass(frozen=True, eq=False)
class MadeLine:
    """A line made by the program: the names that it reads, its function, and the expression that is shown for it."""

    names: tuple[str, ...]
    function: Callable[..., Any]
    expression: ast.expr
    own: Any = None  # the code of the user's function that it stands for, if that can be evaluated

    def __call__(self, *given: Any) -> Any:
        return self.function(*given)

    @property
    def __signature__(self) -> inspect.Signature:
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        return inspect.Signature([inspect.Parameter(name, kind) for name in self.names])


@cache
def arguments(line: Line) -> tuple[str, ...]:
    """The names of the tensors that a line reads: its arguments without a default."""
    parameters = inspect.signature(line).parameters.values()
    return tuple(p.name for p in parameters if p.default is p.empty)


def run(line: Line, values: Mapping[str, Any]) -> Tensor:
    """Call a line with the values that it reads."""
    return line(*(values[name] for name in arguments(line)))


def failure(what: str, line: Line, values: Mapping[str, Any], error: Exception) -> str:
    """A line's error in a sentence, with the shapes of what it reads."""
    shapes = ", ".join(f"{name} is {_shown(values[name])}" for name in arguments(line))
    return f"{what} can't be run: {' '.join(str(error).split())}{'; ' if shapes else ''}{shapes}"


def _shown(value: object) -> str:
    if isinstance(value, Tensor):
        return str(tuple(value.shape))
    return str(value) if isinstance(value, int | float | str | None) else f"a {type(value).__name__}"
