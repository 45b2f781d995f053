"""A line's expression as nested lists, which the page evaluates (`expression.js`).

    ["name", "h"] · ["number", 2] · ["+", a, b] · ["negative", a] · ["call", "sum", [x, …], {"keepdim": …}] · …

A function of `torch` and the method of the same name are the same call, with the tensor as its first argument.
"""

from __future__ import annotations

import ast
from typing import Any

Code = list[Any]

# The functions that the page knows. `to` is left out of the code: all numbers there are float64.
FUNCTIONS = frozenset(
    {
        "abs",
        "addcmul",
        "amax",
        "arange",
        "bincount",
        "clamp",
        "cos",
        "cumsum",
        "exp",
        "expand",
        "expand_as",
        "flatten",
        "index_add",
        "index_add_",
        "index_copy_",
        "log",
        "log_softmax",
        "max",
        "mean",
        "numel",
        "one_hot",
        "ones_like",
        "permute",
        "relu",
        "reshape",
        "scatter",
        "select",
        "sigmoid",
        "sin",
        "softmax",
        "sqrt",
        "square",
        "squeeze",
        "sum",
        "t",
        "tanh",
        "tensor",
        "transpose",
        "unsqueeze",
        "view",
        "where",
        "zeros",
        "zeros_like",
    }
)
OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Pow: "**",
    ast.MatMult: "@",
    ast.Gt: ">",
    ast.Lt: "<",
    ast.GtE: ">=",
    ast.LtE: "<=",
    ast.Eq: "==",
}
ATTRIBUTES = frozenset({"T", "mT", "shape"})
MODULES = frozenset({"torch", "F", "torch.nn.functional"})
PLACEMENTS = frozenset({"device", "dtype"})  # arguments that don't change a value here: all numbers are float64


class UnsupportedError(Exception):
    """The page can't evaluate the expression."""


def code_of(tree: ast.expr) -> Code:
    """The expression as lists. Raises UnsupportedError for anything that the page does not know."""
    match tree:
        case ast.Name(id=name):
            return ["name", name]
        case ast.Constant(value=bool() | int() | float() as value):
            return ["number", value]
        case ast.Constant(value=None):
            return ["none"]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return [OPERATORS[type(op)], code_of(left), code_of(right)]
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in OPERATORS:
            return [OPERATORS[type(op)], code_of(left), code_of(right)]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return ["negative", code_of(operand)]
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            return ["list", *map(code_of, elements)]
        case ast.Attribute(value=ast.Call(func=ast.Attribute(attr="max")) as call, attr="values" | "indices" as part):
            return ["part", part, code_of(call)]
        case ast.Attribute(value=value, attr=name) if name in ATTRIBUTES:
            return ["attribute", name, code_of(value)]
        case ast.Subscript(value=value, slice=index):
            items = index.elts if isinstance(index, ast.Tuple) else [index]
            return ["index", code_of(value), *map(_item, items)]
        case ast.Call():
            return _call(tree)
    raise UnsupportedError(ast.unparse(tree))


def _item(tree: ast.expr) -> Code:
    """One part of an index."""
    if not isinstance(tree, ast.Slice):
        return code_of(tree)
    if tree.step is not None:
        raise UnsupportedError(ast.unparse(tree))
    start, stop = (["none"] if bound is None else code_of(bound) for bound in (tree.lower, tree.upper))
    return ["slice", start, stop]


def _call(tree: ast.Call) -> Code:
    if not isinstance(tree.func, ast.Attribute):
        raise UnsupportedError(ast.unparse(tree))
    of, name = tree.func.value, tree.func.attr
    if name == "to" and len(tree.args) == 1 and isinstance(tree.args[0], ast.Name):  # another tensor's type
        return code_of(of)
    named = {keyword.arg: keyword.value for keyword in tree.keywords if keyword.arg not in PLACEMENTS}
    if name not in FUNCTIONS or None in named:
        raise UnsupportedError(ast.unparse(tree))
    arguments = tree.args if ast.unparse(of) in MODULES else [of, *tree.args]
    return ["call", name, [code_of(one) for one in arguments], {str(k): code_of(v) for k, v in named.items()}]
