"""A pair of functions `forward` and `backward` in a user's file."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from makemore_cli.backprop.chain import Chain
from makemore_cli.backprop.inputs import ChainError, as_input
from makemore_cli.backprop.step import Step, arguments
from makemore_cli.checks.declared_inputs import INPUTS, declared_inputs, declared_sizes
from makemore_cli.checks.following import differentiable
from makemore_cli.checks.forward_code import ForwardCode, without_containers
from makemore_cli.checks.user import Names, UserPass
from makemore_cli.checks.user_code import Cell
from makemore_cli.errors import MakemoreError

FORWARD, BACKWARD = "forward", "backward"  # the functions' names


@dataclass(frozen=True)
class FunctionPair:
    """A forward pass as a chain without backward lines, and its backward pass."""

    chain: Chain
    backward: UserPass
    reads_above: bool  # whether backward reads the output's gradient; otherwise that is 1


def function_pair(path: Path, cells: Sequence[Cell], module: ModuleType) -> FunctionPair:
    """The functions of a file that has been run. Raises MakemoreError if they don't make a network."""
    definitions = {
        statement.name: statement
        for cell in cells
        for statement in cell.statements
        if isinstance(statement, ast.FunctionDef)
    }
    forward, backward = definitions.get(FORWARD), definitions.get(BACKWARD)
    if forward is None or backward is None:
        raise MakemoreError(f"{path}: `forward` and `backward` must be functions that the file defines with def")
    if forward.args.vararg is not None or forward.args.kwarg is not None:
        raise MakemoreError(f"{path}: `forward` takes *args or **kwargs; name its inputs")
    names = [a.arg for a in (*forward.args.posonlyargs, *forward.args.args, *forward.args.kwonlyargs)]
    declared = declared_inputs(module.forward, names, vars(module), vars(module).get(INPUTS))
    missing = [name for name in names if name not in declared]
    if missing:
        example = f'{missing[0]}: "n D"'
        raise MakemoreError(
            f"{path}: the shape of {' and '.join(missing)} is not declared: write def forward({example}, …), or "
            f"{INPUTS} = {{…}} with a shape for each"
        )
    try:
        return _as_pair(path, module, forward, backward, declared)
    except ChainError as error:
        raise MakemoreError(f"{path}: {error}") from None


def _as_pair(
    path: Path, module: ModuleType, forward: ast.FunctionDef, backward: ast.FunctionDef, declared: Mapping[str, Any]
) -> FunctionPair:
    known = {name: as_input(one) for name, one in declared.items()}
    sizes = [size for one in known.values() for size in one.sizes]
    code = ForwardCode(forward, vars(module), [*known, *(size for size in sizes if size not in known)])
    if not code.returned:
        raise ChainError("`forward` returns nothing")
    asked = [a.arg for a in (*backward.args.posonlyargs, *backward.args.args, *backward.args.kwonlyargs)]
    ends = tuple(name for name in code.returned if f"d{name}" in asked) or (code.returned[0],)
    steps = _needed(code.steps, {*code.returned, *(name for name in asked)})
    bounds = {name: bound for name, bound in declared_sizes(module).items() if name in sizes}
    chain = Chain(path.stem, known, steps, bounds, ends=ends)
    values = chain.forward(chain.draw()[0])
    chain = replace(chain, steps=_needed(without_containers(steps, values), {*code.returned, *asked}))
    # Other names that backward asks for stand for what forward returns besides its outputs, in order.
    rest = [name for name in code.returned if name not in ends]
    there = {*chain.inputs, *chain.sizes, *chain.by_name, *(f"d{name}" for name in ends)}
    strange = [name for name in asked if name not in there]
    aliases = dict(zip(strange, rest, strict=False))
    if len(ends) == 1 and len(strange) > len(rest) and f"d{ends[0]}" not in asked:
        aliases[strange[0]] = f"d{ends[0]}"  # backward(grad_output, …)
        aliases |= dict(zip(strange[1:], rest, strict=False))
    tensors = frozenset({*chain.inputs, *chain.by_name} - code.hidden)
    above = frozenset(f"d{name}" for name in ends)
    numbers = frozenset({*chain.sizes, *above})
    real = tuple(name for name in known if differentiable(values.get(name)))
    names = Names(tensors, numbers, (real, tuple(known)), aliases=aliases, by_position=True)
    reads_above = bool(above & {*asked, *aliases.values()})
    return FunctionPair(chain, UserPass(path, names, follow_locals=True), reads_above)


def _needed(steps: Sequence[Step], wanted: set[str]) -> tuple[Step, ...]:
    """The steps on which the wanted tensors depend."""
    kept: list[Step] = []
    for s in reversed(steps):
        if s.name in wanted:
            kept.insert(0, s)
            wanted |= set(arguments(s.forward))
    return tuple(kept)
