"""A number that knows how it was computed, and can pass its gradient back to every number that it came from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from makemore_cli.errors import MakemoreError
from makemore_cli.scalar import operations
from makemore_cli.scalar.operations import DomainError, Operation, power, undefined

LARGEST_DRAWN_VALUES = 300  # in a notebook; Graphviz takes seconds for more


class Value:
    """A number with its gradient.

    `data` is the number. `grad` is the derivative of the result with respect to it, after the result's `backward()`.
    `_prev` are the values that it was computed from, and `_op` is the operation. `label` is for graphs.

    >>> a, b = mm.Value(2.0), mm.Value(-3.0)
    >>> loss = a * b + 10.0
    >>> loss.backward()
    >>> loss.data, a.grad, b.grad
    (4.0, -3.0, 2.0)
    """

    _operation: Operation | None = None

    def __init__(self, data: float, _children: Iterable[Value] = (), _op: str = "", label: str = "") -> None:
        self.data = float(data)
        self.grad = 0.0
        self.label = label
        self._children = tuple(_children)  # in order; twice if a value is used twice
        self._op = _op

    @property
    def _prev(self) -> set[Value]:
        return set(self._children)

    @_prev.setter
    def _prev(self, children: Iterable[Value]) -> None:
        self._children = tuple(children)

    def _backward(self) -> None:
        """Pass the gradient on: add it, times the local derivative, to the gradient of each child."""
        if self._operation is not None:
            try:
                self._pass_on(self._operation.derivatives)
            except (ArithmeticError, ValueError) as error:
                raise _undefined(self._operation, self._children, error, of="the derivative of ") from None

    def _pass_on(self, derivatives: Callable[..., tuple[float, ...]]) -> None:
        if len(self._children) == 2:  # written out for both cases, since a loop takes five times as long
            a, b = self._children
            by_a, by_b = derivatives(self.data, a.data, b.data)
            a.grad += by_a * self.grad
            b.grad += by_b * self.grad
        else:
            (a,) = self._children
            (by_a,) = derivatives(self.data, a.data)
            a.grad += by_a * self.grad

    def backward(self) -> None:
        """Compute the derivative of this value with respect to every value that it came from, and add it to its `grad`.

        As in micrograd, gradients accumulate: set them to zero before the next backward pass.
        Raises DomainError if an operation has no derivative there.
        """
        self.grad = 1.0
        for value in reversed(topological_order(self)):
            value._backward()

    def __repr__(self) -> str:
        return f"Value(data={self.data}, grad={self.grad})"

    def _repr_svg_(self) -> str | None:
        """The graph of all that it came from, for a notebook; None without Graphviz, or if the graph is too large."""
        from makemore_cli.graph import dot
        from makemore_cli.scalar.graph_of_value import graph_as_it_is

        order = topological_order(self)
        if len(order) > LARGEST_DRAWN_VALUES:
            return None
        try:
            return dot.to_svg(graph_as_it_is(order)).decode()
        except MakemoreError:
            return None

    def __add__(self, other: Value | float) -> Value:
        return _apply(operations.ADD, self, _value(other))

    def __mul__(self, other: Value | float) -> Value:
        return _apply(operations.MULTIPLY, self, _value(other))

    def __pow__(self, other: Value | float) -> Value:
        if isinstance(other, Value):  # the exponent has a gradient too
            return _apply(operations.POWER, self, other)
        return _apply(power(other), self)

    def exp(self) -> Value:
        return _apply(operations.EXP, self)

    def log(self) -> Value:
        return _apply(operations.LOG, self)

    def tanh(self) -> Value:
        return _apply(operations.TANH, self)

    def sigmoid(self) -> Value:
        return _apply(operations.SIGMOID, self)

    def relu(self) -> Value:
        return _apply(operations.RELU, self)

    def sin(self) -> Value:
        return _apply(operations.SIN, self)

    def cos(self) -> Value:
        return _apply(operations.COS, self)

    # The other operations are composed of these.

    def __neg__(self) -> Value:
        return self * -1

    def __sub__(self, other: Value | float) -> Value:
        return self + (-other)

    def __truediv__(self, other: Value | float) -> Value:
        return self * _value(other) ** -1

    def __radd__(self, other: float) -> Value:
        return _value(other) + self

    def __rsub__(self, other: float) -> Value:
        return _value(other) - self

    def __rmul__(self, other: float) -> Value:
        return _value(other) * self

    def __rtruediv__(self, other: float) -> Value:
        return _value(other) / self

    def __rpow__(self, other: float) -> Value:
        return _value(other) ** self


def copy_of(value: Value) -> Value:
    """A copy of a value, with a gradient of its own, which it passes on to the original."""
    return _apply(operations.COPY, value)


def _value(number: Value | float) -> Value:
    if isinstance(number, str):  # float() would accept it
        raise TypeError(f"{number!r} is a string, not a number")
    return number if isinstance(number, Value) else Value(number)


def _apply(operation: Operation, *children: Value) -> Value:
    try:
        if len(children) == 2:
            data = operation.forward(children[0].data, children[1].data)
        else:
            data = operation.forward(children[0].data)
    except (ArithmeticError, ValueError) as error:
        raise _undefined(operation, children, error) from None
    if isinstance(data, complex):  # such as Python's (-2)**0.5
        raise _undefined(operation, children, None)
    out = Value(data, children, operation.name)
    out._operation = operation
    return out


def _undefined(operation: Operation, children: Sequence[Value], error: Exception | None, of: str = "") -> DomainError:
    return undefined(operation, [child.data for child in children], error, of)


def topological_order(end: Value) -> list[Value]:
    """All values that a value came from, each after those that it was computed from; the value itself is last.

    It does not recurse, so a graph may be of any depth.
    """
    order: list[Value] = []
    seen: set[Value | None] = set()
    stack: list[Any] = [end]
    while stack:
        value = stack.pop()
        if value is None:  # the value below it comes after its children, which are in order now
            order.append(stack.pop())
        elif value not in seen:
            seen.add(value)
            stack += (value, None)
            stack += value._children[::-1]
    return order
