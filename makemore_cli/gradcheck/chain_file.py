"""What there is to check in a user's file: a chain, an autograd.Function, or functions forward and backward."""

from __future__ import annotations

import ast
import builtins
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
from makemore_cli.backprop.step import Line, Step, arguments, step
from makemore_cli.errors import MakemoreError
from makemore_cli.gradcheck.autograd_function import function_chain, parameters
from makemore_cli.gradcheck.following import differentiable
from makemore_cli.gradcheck.forward_code import ForwardCode, without_containers
from makemore_cli.gradcheck.in_float64 import in_precision
from makemore_cli.gradcheck.user import Names, UserPass
from makemore_cli.gradcheck.user_code import Cell, read_cells
from makemore_cli.gradcheck.user_file import at_home, blame, libraries

NAME = "chain"  # of the one that counts, if there are several
FORWARD, BACKWARD = "forward", "backward"
INPUTS, SIZES = "inputs", "sizes"  # names that declare shapes and sizes for functions


@dataclass(frozen=True)
class FunctionPair:
    """A forward pass as a chain without backward lines, and the backward pass on it."""

    chain: Chain
    backward: UserPass
    definition: ast.FunctionDef  # of the function `backward`


def load(path: Path) -> Chain | FunctionPair:
    """What a file declares, by running the file.

    Raises MakemoreError, with the user's line, if the file can't be run, or has nothing to be checked, or several.
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
        return _in_any_precision(_chosen(found, path))
    functions = {n: v for n, v in vars(module).items() if inspect.isfunction(v) and v.__module__ == module.__name__}
    own = {name: value for name, value in vars(module).items() if _is_own_function(value, module)}
    if FORWARD in functions and BACKWARD in functions:
        return _pair(path, cells, module)
    if own:
        return _in_any_precision(_function(own, module, path))
    raise MakemoreError(
        f"{path}: declares no chain, no torch.autograd.Function, and no functions `forward` and `backward`; the "
        "template is a chain to start from",
        parameters=("chain_template",),
    )


def load_chain(name: str) -> Chain:
    """The chain that a file declares. Raises MakemoreError as `load` does, and for functions, which have no lines."""
    found = load(Path(name))
    if isinstance(found, FunctionPair):
        raise MakemoreError(f"{name}: has functions forward and backward, not a chain, whose lines could be explained")
    return found


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
            f"{path}: declares several chains, {', '.join(found)}; name the one to be checked `{NAME}`, or keep one"
        )
    return different[0]


def _in_any_precision(chain: Chain) -> Chain:
    """The chain with lines that make tensors in the precision of what they read, whatever they say."""
    for s in chain.steps:
        for line in (s.forward, *s.backward.values()):
            line_text(line)  # read while the file is as it was run
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
        raise MakemoreError(f"{path}: has several functions for autograd, {', '.join(own)}; keep the one to be checked")
    (function,) = own.values()
    try:
        return function_chain(function, _declared(function.forward, parameters(function), module), _sizes(module))
    except ChainError as error:
        raise MakemoreError(f"{path}: {error}") from None


# A pair of functions.


def _pair(path: Path, cells: list[Cell], module: ModuleType) -> FunctionPair:
    definitions = {
        statement.name: statement
        for cell in cells
        for statement in cell.statements
        if isinstance(statement, ast.FunctionDef)
    }
    forward, backward = definitions.get(FORWARD), definitions.get(BACKWARD)
    if forward is None or backward is None:
        raise MakemoreError(f"{path}: `forward` and `backward` must be functions that the file defines with def")
    names = [a.arg for a in (*forward.args.posonlyargs, *forward.args.args, *forward.args.kwonlyargs)]
    declared = _declared(module.forward, names, module)
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
    known = {name: inputs.as_input(one) for name, one in declared.items()}
    sizes = [size for one in known.values() for size in one.sizes]
    code = ForwardCode(forward, vars(module), [*known, *(size for size in sizes if size not in known)])
    if not code.returned:
        raise ChainError("`forward` returns nothing")
    asked = [a.arg for a in (*backward.args.posonlyargs, *backward.args.args, *backward.args.kwonlyargs)]
    ends = tuple(name for name in code.returned if f"d{name}" in asked) or (code.returned[0],)
    steps = _needed(code.steps, {*code.returned, *(name for name in asked)})
    read = {argument for s in steps for argument in arguments(s.forward)}
    used = {name: one for name, one in known.items() if name in read}
    chain = Chain(path.stem, used, steps, _sizes(module), ends=ends)
    values = chain.forward(chain.draw()[0])
    chain = replace(chain, steps=_needed(without_containers(steps, values), {*code.returned, *asked}))
    # What backward asks for under a name of its own is what forward returns besides its outputs.
    rest = [name for name in code.returned if name not in ends]
    there = {*chain.inputs, *chain.sizes, *chain.by_name, *(f"d{name}" for name in ends)}
    strange = [name for name in asked if name not in there]
    aliases = dict(zip(strange, rest, strict=False))
    if len(ends) == 1 and len(strange) > len(rest) and f"d{ends[0]}" not in asked:
        aliases[strange[0]] = f"d{ends[0]}"  # backward(grad_output, …)
        aliases |= dict(zip(strange[1:], rest, strict=False))
    tensors = frozenset({*chain.inputs, *chain.by_name} - code.hidden)
    numbers = frozenset({*chain.sizes, *(f"d{name}" for name in ends)})
    real = tuple(name for name in known if differentiable(values.get(name)))
    names = Names(tensors, numbers, (real, tuple(known)), aliases=aliases)
    return FunctionPair(chain, UserPass(path, names, follow_locals=True), backward)


def _needed(steps: Sequence[Step], wanted: set[str]) -> tuple[Step, ...]:
    """The steps that somebody reads in the end."""
    kept: list[Step] = []
    for s in reversed(steps):
        if s.name in wanted:
            kept.insert(0, s)
            wanted |= set(arguments(s.forward))
    return tuple(kept)


def _declared(function: Any, names: list[str], module: ModuleType) -> dict[str, Any]:
    """The inputs of a function: by the file's `inputs`, by annotations such as x: "n D", or by a default number."""
    declared: dict[str, Any] = {}
    by_hand = vars(module).get(INPUTS)
    for name, parameter in inspect.signature(function).parameters.items():
        if name not in names:
            continue
        if isinstance(by_hand, Mapping) and name in by_hand:
            declared[name] = by_hand[name]
        elif isinstance(one := _annotated(parameter.annotation, module), str | inputs.Input):
            declared[name] = one
        elif isinstance(parameter.default, int | float):
            declared[name] = parameter.default
    return declared


def _annotated(annotation: Any, module: ModuleType) -> Any:
    """An annotation; with `from __future__ import annotations` it is the text of one."""
    if isinstance(annotation, str):
        try:
            tree = ast.parse(annotation, mode="eval").body
        except SyntaxError:
            return annotation
        scope = {**vars(builtins), **vars(module)}
        if isinstance(tree, ast.Constant | ast.Call):
            return eval(annotation, scope)
        if isinstance(tree, ast.Attribute) or (isinstance(tree, ast.Name) and isinstance(scope.get(tree.id), type)):
            return None  # a type
    return annotation


def _sizes(module: ModuleType) -> Mapping[str, Any]:
    sizes = vars(module).get(SIZES, {})
    return sizes if isinstance(sizes, Mapping) else {}
