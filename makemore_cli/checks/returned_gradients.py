"""The gradients that a user's function returned, in any form, by the tensor's name."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from makemore_cli.checks.user_code import Cell
from makemore_cli.errors import MakemoreError

if TYPE_CHECKING:
    from makemore_cli.checks.user import Names


def by_name(
    returned: Any,
    function: Callable[..., Any],
    cells: Iterable[Cell],
    given: Mapping[str, Any],
    names: Sequence[str],
    known: Names,
    path: Path,
) -> dict[str, Any]:
    """The gradients that `function` returned; one that is None is left out.

    A dictionary or an object holds them by name: `dlogits`. Those in a tuple or list are named by the variables in the
    return statement, if these are gradients' names, or else by an order that is `known`, or that of `names`.
    Raises MakemoreError for anything else.
    """
    if inspect.iscoroutine(returned):
        returned.close()
    if hasattr(returned, "_asdict"):
        returned = returned._asdict()
    elif not isinstance(returned, dict | list | tuple | Tensor) and hasattr(returned, "__dict__"):
        returned = vars(returned)
    if isinstance(returned, dict):
        return _of_a_dictionary(returned, given, names, path)
    written = [list(_names(node)) for node in _returned_by(_definition(function, cells))]
    if isinstance(returned, list | tuple):
        orders = [[name for name in order if name in given] for order in known.orders]
        by_variables = [
            order
            for order in written
            if not known.by_position or (set(order) <= known.tensors and len({*order}) == len(order))
        ]
        choices = (*orders, *by_variables) if known.by_position else (*by_variables, *orders, names)
        for order in choices:
            if order and len(order) == len(returned):
                return {name: g for name, g in zip(order, returned, strict=True) if g is not None}
        raise MakemoreError(
            f"{path}: `backward` returned {len(returned)} values; return the gradients of {', '.join(orders[0])} in "
            "this order, or a dictionary, such as locals()"
        )
    if isinstance(returned, Tensor) and len(written) == 1 and len(written[0]) == 1:
        return {written[0][0]: returned}
    alone = [order for order in known.orders if len(order) == 1]
    if isinstance(returned, Tensor) and alone:
        return {alone[0][0]: returned}
    name = "logits" if "logits" in names else names[0] if names else "x"
    raise MakemoreError(
        f"{path}: `backward` returned {type(returned).__name__}, not a dictionary; "
        f'write return {{"d{name}": d{name}, …}} or return locals()'
    )


def _of_a_dictionary(
    returned: dict[Any, Any], given: Mapping[str, Any], names: Sequence[str], path: Path
) -> dict[str, Any]:
    there = {k: v for k, v in returned.items() if isinstance(k, str) and v is not None}
    named = {k[1:]: v for k, v in there.items() if k[:1] == "d" and k not in given}
    if not any(name in names for name in named):  # {"logits": …} is clear too
        named |= {k: v for k, v in there.items() if k in names and v is not given.get(k)}
    if there and not any(name in names for name in named) and not set(there) & set(given):
        raise MakemoreError(
            f"{path}: `backward` returned {', '.join(there)}; prefix the tensor's name with d: dlogits, dW2, …"
        )
    return named


def _definition(function: Callable[..., Any], cells: Iterable[Cell]) -> ast.AST | None:
    """The function's own definition in the file."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    for cell in cells:
        for statement in cell.statements:
            for node in ast.walk(statement):
                if isinstance(node, ast.FunctionDef) and code is not None and node.name == code.co_name:
                    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                    if code.co_filename == cell.where and first == code.co_firstlineno:
                        return node
    return None


def _returned_by(definition: ast.AST | None) -> Iterator[ast.expr]:
    """The expressions that a function returns; a variable is replaced by the list assigned to it."""
    own = list(_own_nodes(definition)) if definition is not None else []
    lists = {
        target.id: node.value
        for node in own
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple | ast.List)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in own:
        if isinstance(node, ast.Return) and node.value is not None:
            value = node.value
            yield lists.get(value.id, value) if isinstance(value, ast.Name) else value


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below `node`, without those of inner functions."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield child
            yield from _own_nodes(child)


def _names(value: ast.expr) -> Iterator[str]:
    """The tensors whose gradients an expression lists; none if it holds anything else."""
    parts = value.elts if isinstance(value, ast.Tuple | ast.List) else [value]
    ids = [part.id if isinstance(part, ast.Name) else "" for part in parts]
    if all(re.match(r"d\w", name) for name in ids):
        yield from (name[1:] for name in ids)
