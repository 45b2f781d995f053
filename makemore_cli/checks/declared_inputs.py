"""The declared inputs of functions in a user's file: their shapes and domains."""

from __future__ import annotations

import ast
import builtins
import inspect
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from makemore_cli.backprop.inputs import Given, Input

INPUTS, SIZES = "inputs", "sizes"  # the names that declare them in a file


def declared_inputs(function: Any, names: Sequence[str], module: ModuleType) -> dict[str, Any]:
    """The inputs of a function, from the file's `inputs`, annotations such as x: "n D", or default values."""
    declared: dict[str, Any] = {}
    by_hand = vars(module).get(INPUTS)
    for name, parameter in inspect.signature(function).parameters.items():
        if name not in names:
            continue
        if isinstance(by_hand, Mapping) and name in by_hand:
            declared[name] = by_hand[name]
        elif isinstance(one := _annotated(parameter.annotation, module), str | Input):
            declared[name] = one
        elif parameter.default is not parameter.empty:
            declared[name] = Given("", parameter.default)
    return declared


def _annotated(annotation: Any, module: ModuleType) -> Any:
    """Resolve an annotation, which `from __future__ import annotations` turns into source text."""
    if isinstance(annotation, str):
        try:
            tree = ast.parse(annotation, mode="eval").body
        except SyntaxError:
            return annotation
        scope = {**vars(builtins), **vars(module)}
        if isinstance(tree, ast.Call) or (isinstance(tree, ast.Constant) and isinstance(tree.value, str)):
            return eval(annotation, scope)
        if isinstance(tree, ast.Attribute) or (isinstance(tree, ast.Name) and isinstance(scope.get(tree.id), type)):
            return None  # a type
    return annotation


def declared_sizes(module: ModuleType) -> Mapping[str, Any]:
    sizes = vars(module).get(SIZES, {})
    return sizes if isinstance(sizes, Mapping) else {}
