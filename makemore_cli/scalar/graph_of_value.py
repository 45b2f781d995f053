"""The graph of a scalar value."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from makemore_cli.graph.graph import Graph, Node, State, number, state_of, steps_done
from makemore_cli.scalar.engine import Value, topological_order


def graph_of_value(end: Value, title: str, step: int | None = None) -> Graph:
    """The graph of all that a value came from, after the whole backward pass or `step` steps of it.

    In a step, one operation passes its gradient on. All gradients are set to zero first. Raises ParameterError if
    `step` is out of range, and DomainError if an operation has no derivative.
    """
    order = topological_order(end)
    backward = [value for value in reversed(order) if value._children]
    done = steps_done(step, len(backward))
    for value in order:
        value.grad = 0.0
    end.grad = 1.0
    passed = dict.fromkeys(order, 0)
    for value in backward[:done]:
        value._backward()
        for child in value._children:
            passed[child] += 1
    uses = dict.fromkeys(order, 0)
    for value in order:
        for child in value._children:
            uses[child] += 1
    last = backward[done - 1] if done and step is not None else None
    nodes = _nodes(order, lambda value: state_of(uses[value], passed[value], value is last))
    return Graph(title, nodes, len(backward), done)


def graph_as_it_is(order: Sequence[Value]) -> Graph:
    """The graph of values in topological order, with the gradients that they have now."""
    return Graph("", _nodes(order, lambda _: State.COMPLETE), 0, 0)


def _nodes(order: Sequence[Value], state: Callable[[Value], State]) -> tuple[Node, ...]:
    places = {value: place for place, value in enumerate(order)}
    return tuple(
        Node(
            str(value.label),
            number(value.data),
            number(value.grad),
            state(value),
            value._op,
            tuple(places[child] for child in value._children),
        )
        for value in order
    )
