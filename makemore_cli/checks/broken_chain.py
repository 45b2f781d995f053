"""A chain with mistakes in its backward lines, for exercises and pages."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from makemore_cli.backprop.chain import Chain
from makemore_cli.backprop.step import Line, MadeLine, Step, arguments
from makemore_cli.checks.expression_trees import compiled
from makemore_cli.checks.mutations import Mutation

Place = tuple[str, str]  # a step, and the gradient that one of its backward lines adds to


def broken(chain: Chain, mistakes: Mapping[Place, Mutation | None]) -> Chain:
    """The chain with other backward lines at some places; None leaves the line out.

    Raises ChainError if a mutation reads a gradient that no line of its step may read.
    """

    def changed(step: Step) -> Step:
        backward: dict[str, Line] = {}
        for target, line in step.backward.items():
            mutation = mistakes.get((step.name, target))
            if mutation is not None:
                backward[target] = mutated(line, mutation)
            elif (step.name, target) not in mistakes:
                backward[target] = line
        return replace(step, backward=backward)

    return replace(chain, steps=tuple(map(changed, chain.steps)))


def mutated(line: Line, mutation: Mutation) -> MadeLine:
    """A mutated line, which reads what its expression names."""
    code, around = compiled(mutation.tree), mutation.scope
    names = {node.id for node in ast.walk(mutation.tree) if isinstance(node, ast.Name)}
    read = tuple(dict.fromkeys([*arguments(line), *sorted(names - around.keys() - {"torch", "F"})]))

    def function(*given: Any) -> Any:
        return eval(code, {"torch": torch, "F": torch.nn.functional, **around, **dict(zip(read, given, strict=True))})

    return MadeLine(read, function, mutation.tree)
