"""The declared inputs of functions in a user's file: their shapes and domains."""

from __future__ import annotations
import __future__

import ast
import builtins
import inspect
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from makemore_cli.backprop.inputs import Given, Input

INPUTS, SIZES = "inputs", "sizes"  # the names that declare them in a file


def declared_inputs(
    function: Any, names: Sequence[str], scope: Mapping[str, Any], by_hand: object = None
) -> dict[str, Any]:
    """The inputs of a function, by hand, from annotations such as x: "n D", or from default values.

    `scope` has the names that annotations may read.
    """
    declared: dict[str, Any] = {}
    code = getattr(inspect.unwrap(function), "__code__", None)
    as_text = code is not None and bool(code.co_flags & __future__.annotations.compiler_flag)
    for name, parameter in inspect.signature(function).parameters.items():
        if name not in names:
            continue
        if isinstance(by_hand, Mapping) and name in by_hand:
            declared[name] = by_hand[name]
        elif isinstance(one := _annotated(parameter.annotation, scope, as_text), str | Input):
            declared[name] = one
        elif parameter.default is not parameter.empty:
            declared[name] = Given("", parameter.default)
    return declared


def _annotated(annotation: Any, scope: Mapping[str, Any], as_text: bool) -> Any:
    """The shape or the input that an annotation declares; None for a type.

    `as_text` says whether all annotations are source text, because of `from __future__ import annotations`.
    """
    if not isinstance(annotation, str):
        return annotation
    try:
        tree = ast.parse(annotation, mode="eval").body
    except SyntaxError:
        return None if as_text else annotation
    names = {**vars(builtins), **scope}
    if isinstance(tree, ast.Call) or (isinstance(tree, ast.Constant) and isinstance(tree.value, str)):
        return eval(annotation, names)
    if as_text or isinstance(tree, ast.Attribute | ast.Subscript) or "|" in annotation:
        return None
    return None if isinstance(tree, ast.Name) and isinstance(names.get(tree.id), type) else annotation


def declared_sizes(module: ModuleType) -> Mapping[str, Any]:
    sizes = vars(module).get(SIZES, {})
    return sizes if isinstance(sizes, Mapping) else {}
