"""The graph of a scalar value."""

from __future__ import annotations

from makemore_cli.scalar.engine import Value, topological_order
from makemore_cli.views.graph.graph import Graph, Node, state_of, steps_done


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
    places = {value: place for place, value in enumerate(order)}
    last = backward[done - 1] if done and step is not None else None
    nodes = (
        Node(
            value.label,
            number(value.data),
            number(value.grad),
            state_of(uses[value], passed[value], value is last),
            value._op,
            tuple(places[child] for child in value._children),
        )
        for value in order
    )
    return Graph(title, tuple(nodes), len(backward), done)


def number(value: float) -> str:
    """A number with four decimals, as in the lecture's graphs, or in scientific notation."""
    return f"{value + 0.0:.4f}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.3e}"  # −0 is 0
