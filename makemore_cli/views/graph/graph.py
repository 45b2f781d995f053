"""A graph to be drawn: boxes with what is known of a number or a tensor, and operations between them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from makemore_cli.errors import ParameterError


class State(Enum):
    """How far the backward pass has come with a gradient."""

    WAITING = "nothing has come back yet"
    PARTIAL = "some uses have not passed back yet"
    COMPLETE = "complete"
    PASSING = "complete, and passed back in this step"
    NONE = "no gradient"


@dataclass(frozen=True)
class Node:
    """A number or a tensor, with the operation that it comes from, if it comes from one."""

    label: str
    data: str
    grad: str
    state: State
    operation: str = ""  # a sign or a function's name; or a whole line, if `is_line`
    inputs: tuple[int, ...] = ()  # the nodes that the operation reads, by their places; one may stand twice
    is_line: bool = False
    shape: str = ""
    backward: str = ""  # the lines that take its gradient back


@dataclass(frozen=True)
class Graph:
    """Nodes, each after those that it reads; the last is the result, or one of several."""

    title: str
    nodes: tuple[Node, ...]
    steps: int  # of the backward pass as a whole
    step: int  # that are done
    downwards: bool = False  # drawn from the top down, not from left to right

    @property
    def results(self) -> list[int]:
        """The places of the nodes that no other reads."""
        read = {place for node in self.nodes for place in node.inputs}
        return [place for place in range(len(self.nodes)) if place not in read]


def steps_done(step: int | None, steps: int) -> int:
    """How many backward steps are done: all, or `step`. Raises ParameterError if there are not as many."""
    if step is None:
        return steps
    if not 0 <= step <= steps:
        raise ParameterError("step", f"must be from 0 to {steps}, the number of backward steps, got {step}")
    return step


def state_of(uses: int, passed: int, passing: bool) -> State:
    """The state of a gradient of which `passed` of `uses` uses have passed something back."""
    if passed < uses:
        return State.PARTIAL if passed else State.WAITING
    return State.PASSING if passing else State.COMPLETE
