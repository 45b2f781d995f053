"""The operations on numbers: each one's forward line beside its local derivatives.

A local derivative is that of the result with respect to one argument. The chain rule multiplies it by the gradient of
the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from makemore_cli.errors import MakemoreError


class DomainError(MakemoreError, ArithmeticError):
    """An operation has no real result for its arguments, or none that a floating-point number can hold.

    Each subclass is also a subclass of the error that Python would raise.
    """


class DividesByZeroError(DomainError, ZeroDivisionError):
    """A division by zero."""


class TooLargeError(DomainError, OverflowError):
    """A result that no floating-point number can hold."""


class NotRealError(DomainError, ValueError):
    """The operation has no real result: the logarithm of a negative number, for example."""


class Operation(NamedTuple):
    """The forward line takes the arguments; the local derivatives take the result and the arguments.

    `text` is how it is written, with the arguments in place of {}.
    """

    name: str
    forward: Callable[..., float]
    derivatives: Callable[..., tuple[float, ...]]
    text: str


def _sigmoid(a: float) -> float:
    return 1 / (1 + math.exp(-a)) if a >= 0 else math.exp(a) / (1 + math.exp(a))  # neither overflows


def _by_exponent(out: float, a: float, b: float) -> float:
    """The derivative of a power with respect to its exponent; NaN for a negative base, as in PyTorch."""
    if a > 0:
        return out * math.log(a)
    return 0.0 if a == 0 and b >= 0 else math.nan


ADD = Operation("+", lambda a, b: a + b, lambda out, a, b: (1.0, 1.0), "{} + {}")
MULTIPLY = Operation("*", lambda a, b: a * b, lambda out, a, b: (b, a), "{} * {}")
POWER = Operation("**", lambda a, b: a**b, lambda out, a, b: (b * a ** (b - 1), _by_exponent(out, a, b)), "({})**({})")
EXP = Operation("exp", math.exp, lambda out, a: (out,), "exp({})")
LOG = Operation("log", math.log, lambda out, a: (1 / a,), "log({})")
TANH = Operation("tanh", math.tanh, lambda out, a: (1 - out * out,), "tanh({})")
SIGMOID = Operation("sigmoid", _sigmoid, lambda out, a: (out * (1 - out),), "sigmoid({})")
RELU = Operation("ReLU", lambda a: max(a, 0.0), lambda out, a: (float(out > 0),), "relu({})")
SIN = Operation("sin", math.sin, lambda out, a: (math.cos(a),), "sin({})")
COPY = Operation("copy", lambda a: a, lambda out, a: (1.0,), "{}")  # the same number under another name
COS = Operation("cos", math.cos, lambda out, a: (-math.sin(a),), "cos({})")


def power(exponent: float) -> Operation:
    """A power with a constant exponent k. As in the lecture, its derivative is k · a**(k − 1)."""
    return Operation(
        f"**{exponent:.12g}",
        lambda a: a**exponent,
        lambda out, a: (exponent * a ** (exponent - 1) if exponent else 0.0,),
        f"({{}})**{exponent:.12g}",
    )


def undefined(operation: Operation, arguments: Sequence[float], error: Exception | None, of: str = "") -> DomainError:
    """The error for an operation without a real result. `of` comes first in the message: "the derivative of "."""
    told = f"{of}{operation.text.format(*(f'{argument:g}' for argument in arguments))}"
    if isinstance(error, ZeroDivisionError):
        return DividesByZeroError(f"{told} divides by zero")
    if isinstance(error, OverflowError):
        return TooLargeError(f"{told} is too large for a floating-point number")
    return NotRealError(f"{told} is not a real number")
