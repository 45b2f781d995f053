"""One step of a chain: a forward line, and the lines that take its gradient back.

A line's arguments are the names of the tensors that it reads, as in the lecture's first exercise, `d` in front for a
gradient. So a step can be run and checked by itself.
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
# What a line may raise if it is wrong, or does not fit.
LINE_ERRORS = (RuntimeError, TypeError, ValueError, IndexError, ArithmeticError, AttributeError, NameError)
Values = dict[str, Any]  # tensors by name, and plain numbers such as n and eps


@dataclass(frozen=True)
class Step:
    """One line of the forward pass and the lines that take its gradient back."""

    name: str  # the tensor that it computes
    forward: Line
    backward: Mapping[str, Line]  # by the name of the gradient that the line adds to
    shape: str | None = None  # in symbols
    rule: str = ""
    why: str = ""


def step(
    name: str, forward: Line, *, shape: str | None = None, rule: str = "", why: str = "", **backward: Line
) -> Step:
    """Write a step as it reads in the chain: `dlogits=lambda …` is the line that adds to dlogits."""
    return Step(name, forward, backward, shape, rule, why)


@dataclass(frozen=True, eq=False)
class MadeLine:
    """A line that is made, not written in a file: what it reads, what it does, and the expression that shows it."""

    names: tuple[str, ...]
    function: Callable[..., Any]
    expression: ast.expr
    own: Any = None  # the code of somebody's function that it stands for, if that can be evaluated

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
    """Call a line with what it reads, by name."""
    return line(*(values[name] for name in arguments(line)))


def failure(what: str, line: Line, values: Mapping[str, Any], error: Exception) -> str:
    """A line's error in a sentence, with the shapes of what it reads."""
    shapes = ", ".join(f"{name} is {_shown(values[name])}" for name in arguments(line))
    return f"{what} can't be run: {' '.join(str(error).split())}{'; ' if shapes else ''}{shapes}"


def _shown(value: object) -> str:
    if isinstance(value, Tensor):
        return str(tuple(value.shape))
    return str(value) if isinstance(value, int | float | str | None) else f"a {type(value).__name__}"
