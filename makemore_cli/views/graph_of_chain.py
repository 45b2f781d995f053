"""The graph of a chain of steps, of any network."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from makemore_cli.backprop.chain import Chain
from makemore_cli.backprop.line_text import line_text
from makemore_cli.backprop.step import Values, arguments
from makemore_cli.graph.graph import Graph, Node, State, number, state_of, steps_done

FEW = 4  # numbers that are shown individually
LONGEST_LINE_CHARACTERS = 44  # longer forward lines are wrapped


def graph_of_chain(
    chain: Chain, title: str, values: Values, above: Mapping[str, Tensor], step: int | None = None
) -> Graph:
    """The graph of a chain's tensors at some forward values, after the whole backward pass or `step` steps of it.

    `above` holds the outputs' gradients; a missing one is 1. In a backward step, one step of the chain passes its
    gradient on. Raises ParameterError if `step` is out of range.
    """
    backward = [s for s in reversed(chain.steps) if s.backward]
    done = steps_done(step, len(backward))
    above = {name: torch.ones_like(values[name]) for name in chain.outputs} | dict(above)
    gradients = {**above, **chain.backward(values, above, steps=done)}
    uses = dict.fromkeys(values, 0)
    passed = dict(uses)
    for place, s in enumerate(backward):
        for target in s.backward:
            uses[target[1:]] += 1
            passed[target[1:]] += place < done
    last = backward[done - 1].name if done and step is not None else None
    read = {name for s in chain.steps for name in arguments(s.forward)}
    shown = [name for name in chain.inputs if name in read] + [s.name for s in chain.steps]
    shown = [name for name in shown if isinstance(values[name], Tensor)]
    places = {name: place for place, name in enumerate(shown)}
    nodes = []
    for name in shown:
        has_gradient = name in above or name in chain.gradient_names
        own = chain.by_name.get(name)
        nodes.append(
            Node(
                name,
                _summary(values[name]),
                _summary(gradients[name]) if name in gradients else "0" if has_gradient else "",
                state_of(uses[name], passed[name], name == last) if has_gradient else State.NONE,
                "\n".join(textwrap.wrap(line_text(own.forward), LONGEST_LINE_CHARACTERS)) if own else "",
                tuple(places[one] for one in arguments(own.forward) if one in places) if own else (),
                is_line=True,
                shape=_shape(values[name]),
                backward="\n".join(f"{target} = {line_text(line)}" for target, line in own.backward.items())
                if own
                else "",
            )
        )
    return Graph(title, tuple(nodes), len(backward), done, downwards=True)


def _shape(value: Tensor) -> str:
    return "×".join(map(str, value.shape)) or "number"


def _summary(value: Any) -> str:
    """The numbers of a small tensor, or the minimum and maximum of a larger one."""
    if not isinstance(value, Tensor):
        return str(value)
    flat = value.flatten().tolist()
    if not flat:
        return "empty"
    text = [
        f"{one}" if isinstance(one, int | bool) else number(one)
        for one in (flat if len(flat) <= FEW else (min(flat), max(flat)))
    ]
    return ", ".join(text) if len(flat) <= FEW else f"{text[0]} to {text[1]}"
