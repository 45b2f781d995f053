"""Expressions as syntax trees: evaluated, copied, and changed in one place."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from types import CodeType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def plain(line_expression: ast.expr) -> ast.expr:
    """An expression with fused calls written out: `torch.addcmul(a, b, b, value=-1)` as `a - b**2`."""
    return _Plain().visit(copied(line_expression))  # type: ignore[no-any-return]


def compiled(tree: ast.expr) -> CodeType:
    return compile(ast.fix_missing_locations(ast.Expression(tree)), "<mutation>", "eval")


def value_of(code: CodeType, names: Mapping[str, Any]) -> Tensor | None:
    """The tensor that an expression's code gives; None if it raises, or gives something else."""
    try:
        value = eval(code, {"torch": torch, "F": F, **names})
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError, NameError, ArithmeticError):
        return None
    return value if isinstance(value, Tensor) else None


def parsed(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


class _Plain(ast.NodeTransformer):
    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if not (isinstance(node.func, ast.Attribute) and node.func.attr == "addcmul"):
            return node
        start, left, right = node.args
        if isinstance(start, ast.Call) and isinstance(start.func, ast.Attribute) and start.func.attr == "ones_like":
            start = ast.Constant(1)
        same = ast.dump(left) == ast.dump(right)
        square = ast.BinOp(left, ast.Pow(), ast.Constant(2)) if same else ast.BinOp(left, ast.Mult(), right)
        factor = next((k.value for k in node.keywords if k.arg == "value"), ast.Constant(1))
        if isinstance(factor, ast.UnaryOp) and ast.unparse(factor.operand) == "1":
            return ast.BinOp(start, ast.Sub(), square)
        return ast.BinOp(start, ast.Add(), ast.BinOp(factor, ast.Mult(), square))


def operands(node: ast.AST) -> Iterator[ast.expr]:
    """The nodes of an expression that are values: not a call's constant arguments, such as a dimension."""
    if isinstance(node, ast.expr):
        yield node
    if isinstance(node, ast.BinOp):
        yield from operands(node.left)
        yield from operands(node.right)
    elif isinstance(node, ast.UnaryOp):
        yield from operands(node.operand)
    elif isinstance(node, ast.Attribute):
        yield from operands(node.value)
    elif isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute):
            yield from operands(node.func.value)
        for argument in node.args:
            if not isinstance(argument, ast.Constant):
                yield from operands(argument)


def with_node(tree: Any, target: ast.AST, new: ast.expr) -> Any:
    """The tree with `target` replaced by `new`. The other nodes are shared."""
    if tree is target:
        return new
    if isinstance(tree, list):
        return [with_node(item, target, new) for item in tree]
    if isinstance(tree, ast.AST):
        return type(tree)(**{field: with_node(value, target, new) for field, value in ast.iter_fields(tree)})
    return tree


def renamed(tree: Any, new: Mapping[str, ast.expr]) -> Any:
    """The tree with names replaced by expressions."""
    if isinstance(tree, ast.Name) and tree.id in new:
        return new[tree.id]
    if isinstance(tree, list):
        return [renamed(item, new) for item in tree]
    if isinstance(tree, ast.AST):
        return type(tree)(**{field: renamed(value, new) for field, value in ast.iter_fields(tree)})
    return tree


def copied(tree: Any) -> Any:
    return renamed(tree, {})


def call(value: ast.expr, method: str, args: list[ast.expr], keywords: list[ast.keyword]) -> ast.expr:
    """`value.method(*args, **keywords)`."""
    return ast.Call(ast.Attribute(value, method, ast.Load()), args, keywords)


def negative(node: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.USub(), node)


def is_number(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float)
