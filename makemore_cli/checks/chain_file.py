"""Load what a user's file declares: a chain, an autograd.Function, or functions `forward` and `backward`."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from dataclasses import replace
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from makemore_cli.backprop import chain as chains
from makemore_cli.backprop import inputs
from makemore_cli.backprop.chain import Chain
from makemore_cli.backprop.inputs import ChainError
from makemore_cli.backprop.line_text import line_text
from makemore_cli.backprop.step import Line, step
from makemore_cli.checks.autograd_function import function_chain, parameters
from makemore_cli.checks.declared_inputs import INPUTS, declared_inputs, declared_sizes
from makemore_cli.checks.function_pair import BACKWARD, FORWARD, FunctionPair, function_pair
from makemore_cli.checks.in_float64 import in_precision
from makemore_cli.checks.user_code import Cell, read_cells
from makemore_cli.checks.user_file import at_home, blame, libraries
from makemore_cli.errors import MakemoreError

NAME = "chain"  # of the chain to check, if there are several


def load(path: Path) -> Chain | FunctionPair:
    """Run a file and return what it declares.

    Raises MakemoreError, with the user's line, if the file can't be run, or if what to check is missing or ambiguous.
    """
    cells = read_cells(path)
    module = ModuleType(path.stem)
    helpers = {"step": step, "Chain": Chain, **{name: getattr(inputs, name) for name in inputs.DOMAINS}}
    module.__dict__.update(libraries(), **helpers, __file__=str(path))
    module.__dict__[NAME] = chains.chain
    with at_home(path):
        _run(cells, module, path)
    found = {name: value for name, value in vars(module).items() if isinstance(value, Chain)}
    if found:
        return in_any_precision(_chosen(found, path))
    functions = {n: v for n, v in vars(module).items() if inspect.isfunction(v) and v.__module__ == module.__name__}
    own = {name: value for name, value in vars(module).items() if _is_own_function(value, module)}
    if FORWARD in functions and BACKWARD in functions:
        return function_pair(path, cells, module)
    if own:
        return in_any_precision(_function(own, module, path))
    raise MakemoreError(
        f"{path}: declares no chain, no torch.autograd.Function, and no functions `forward` and `backward`; start from "
        "the chain template",
        parameters=("chain_template",),
    )


def _run(cells: list[Cell], module: ModuleType, path: Path) -> None:
    for cell in cells:
        try:
            exec(compile(ast.Module(cell.statements, []), cell.where, "exec", dont_inherit=True), module.__dict__)
        except (Exception, SystemExit) as error:
            raise blame(path, {one.where for one in cells}, error) from None


def _chosen(found: Mapping[str, Chain], path: Path) -> Chain:
    if NAME in found:
        return found[NAME]
    different = list({id(one): one for one in found.values()}.values())
    if len(different) > 1:
        raise MakemoreError(
            f"{path}: declares several chains, {', '.join(found)}; name the one to check `{NAME}`, or keep only one"
        )
    return different[0]


def in_any_precision(chain: Chain) -> Chain:
    """The chain with lines that create float64 tensors if they read any, even where they ask for float32."""
    for s in chain.steps:
        for line in (s.forward, *s.backward.values()):
            line_text(line)  # cached while the file is still the one that was run
    steps = [
        replace(s, forward=_precise(s.forward), backward={name: _precise(line) for name, line in s.backward.items()})
        for s in chain.steps
    ]
    return replace(chain, steps=tuple(steps))


def _precise(line: Line) -> Line:
    @wraps(line)
    def precise(*given: Any) -> Any:
        if any(isinstance(one, Tensor) and one.dtype == torch.float64 for one in given):
            with in_precision(torch.float64):
                return line(*given)
        return line(*given)

    return precise


# A torch.autograd.Function.


def _is_own_function(value: object, module: ModuleType) -> bool:
    return (
        inspect.isclass(value)
        and issubclass(value, torch.autograd.Function)
        and value is not torch.autograd.Function
        and value.__module__ == module.__name__
    )


def _function(own: Mapping[str, type[torch.autograd.Function]], module: ModuleType, path: Path) -> Chain:
    if len(own) > 1:
        raise MakemoreError(f"{path}: declares several autograd functions, {', '.join(own)}; keep the one to check")
    (function,) = own.values()
    try:
        return function_chain(
            function,
            declared_inputs(function.forward, parameters(function), vars(module), vars(module).get(INPUTS)),
            declared_sizes(module),
        )
    except ChainError as error:
        raise MakemoreError(f"{path}: {error}") from None
