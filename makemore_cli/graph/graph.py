"""A graph to draw: nodes for numbers or tensors, and the operations between them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from makemore_cli.errors import ParameterError


class State(Enum):
    """The state of a gradient during the backward pass."""

    WAITING = "no gradient yet"
    PARTIAL = "incomplete: some uses have not passed their part back yet"
    COMPLETE = "complete"
    PASSING = "complete, and passed on in this step"
    NONE = "has no gradient"


@dataclass(frozen=True)
class Node:
    """A number or a tensor, with the operation that computes it, if any."""

    label: str
    data: str
    grad: str
    state: State
    operation: str = ""  # an operator or a function's name; or a whole line, if `is_line`
    inputs: tuple[int, ...] = ()  # places of the nodes that the operation reads; one may occur twice
    is_line: bool = False
    shape: str = ""
    backward: str = ""  # its backward lines


@dataclass(frozen=True)
class Graph:
    """Nodes, each after those that it reads; the last is the result, or one of several."""

    title: str
    nodes: tuple[Node, ...]
    steps: int  # of the whole backward pass
    step: int  # backward steps done
    downwards: bool = False  # drawn from top to bottom, not from left to right

    @property
    def results(self) -> list[int]:
        """The places of the nodes that no other node reads."""
        read = {place for node in self.nodes for place in node.inputs}
        return [place for place in range(len(self.nodes)) if place not in read]


def steps_done(step: int | None, steps: int) -> int:
    """How many backward steps are done: `step`, or all if it is None. Raises ParameterError if it is out of range."""
    if step is None:
        return steps
    if not 0 <= step <= steps:
        raise ParameterError("step", f"must be from 0 to {steps}, the number of backward steps, got {step}")
    return step


def state_of(uses: int, passed: int, passing: bool) -> State:
    """The state of a gradient when `passed` of `uses` uses have passed their part back."""
    if passed < uses:
        return State.PARTIAL if passed else State.WAITING
    return State.PASSING if passing else State.COMPLETE


def number(value: float) -> str:
    """A number with four decimals, as in the lecture's graphs, or in scientific notation."""
    return f"{value + 0.0:.4f}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.3e}"  # −0 is 0
