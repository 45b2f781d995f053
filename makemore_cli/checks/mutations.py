"""Mistakes that can be made in a line: the same line with one factor, term, constant, axis, sign or tensor changed.

A line of a chain is an expression. Each mutation is that expression with one change, and a description of it. Mutations
are made from the line's syntax tree, so they need no knowledge of the network.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import CodeType
from typing import Any

from torch import Tensor

from makemore_cli.backprop.line_text import expression
from makemore_cli.backprop.step import Line, Step
from makemore_cli.checks import operator_mistakes, tensor_mistakes
from makemore_cli.checks.expression_trees import compiled, operands, plain, value_of, with_node

KEPT = 512  # lines whose mutations are cached


@dataclass(frozen=True)
class Mutation:
    """A line with one mistake in it."""

    words: str
    tree: ast.expr
    scope: Mapping[str, Any] = field(default_factory=dict)  # what the line reads besides its arguments

    def assigned_to(self, target: str) -> str:
        """The wrong line as text."""
        return f"{target} = {ast.unparse(self.tree)}"

    def value(self, names: Mapping[str, Any]) -> Tensor | None:
        """Its value, or None if it can't be evaluated: a mutation may not fit the shapes."""
        return value_of(self._compiled, {**self.scope, **names})

    @cached_property
    def _compiled(self) -> CodeType:
        return compiled(self.tree)


def scope(line: Line) -> dict[str, Any]:
    """What a line reads besides its arguments: names of its file, and of enclosing functions."""
    line = inspect.unwrap(line)
    code = getattr(line, "__code__", None)
    if code is None:
        return {}
    around = {name: line.__globals__[name] for name in code.co_names if name in line.__globals__}
    cells = zip(code.co_freevars, line.__closure__ or (), strict=True)
    return around | {name: cell.cell_contents for name, cell in cells}


def mutations_of(line: Line, names: Mapping[str, Any], steps: Mapping[str, Step]) -> list[Mutation]:
    """The mutations of a line, cached for all values of the same shapes."""
    shapes = ((k, (v.dtype, v.shape) if isinstance(v, Tensor) else type(v)) for k, v in names.items())
    key = (line, tuple(shapes), tuple((name, step.forward) for name, step in steps.items()))
    if key not in _made:
        if len(_made) >= KEPT:
            _made.clear()
        around = scope(line)
        _made[key] = [replace(one, scope=around) for one in mutations(expression(line), names, steps)]
    return _made[key]


_made: dict[Any, list[Mutation]] = {}


def forward_mutations(step: Step, values: Mapping[str, Any]) -> Iterator[Mutation]:
    """A step's forward line with another number or without a part: with another divisor, say, or no epsilon."""
    tree = plain(expression(step.forward))
    for node in operands(tree):
        for rule in (operator_mistakes.dropped, operator_mistakes.root_first):
            for words, new in rule(node):
                yield Mutation(words, with_node(tree, node, new))
    for words, new in tensor_mistakes.other_numbers(tree, values, {}):
        yield Mutation(words, new)


def negated(line: Line) -> Mutation:
    """The line with the other sign."""
    tree = plain(expression(line))
    inner = tree.operand if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub) else None
    return Mutation("the sign is wrong", inner or ast.UnaryOp(ast.USub(), tree), scope(line))


def mutations(tree: ast.expr, names: Mapping[str, Any], steps: Mapping[str, Step]) -> Iterator[Mutation]:
    """Every expression with one mistake, the most usual mistakes first.

    `names` are what an expression may read: a tensor is replaced by another one that fits. `steps` are the steps that
    compute the tensors, by name.
    """
    tree = plain(tree)
    nodes = list(operands(tree))

    def at_nodes(*rules: operator_mistakes.Rule) -> Iterator[Mutation]:
        for rule in rules:
            for node in nodes:
                for words, new in rule(node):
                    yield Mutation(words, with_node(tree, node, new))

    yield from at_nodes(*operator_mistakes.USUAL)
    for words, new in operator_mistakes.of_the_whole(tree):
        yield Mutation(words, new)
    for rule in tensor_mistakes.RULES:
        for words, new in rule(tree, names, steps):
            yield Mutation(words, new)
    yield from at_nodes(*operator_mistakes.RARE)
    for words, new in operator_mistakes.two_missing(tree):
        yield Mutation(words, new)
