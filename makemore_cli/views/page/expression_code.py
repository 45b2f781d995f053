"""A line's expression as nested lists, which the page evaluates (`expression.js`).

    ["name", "h"] · ["number", 2] · ["+", a, b] · ["negative", a] · ["call", "sum", x, dim, keepdim] · …

A function of `torch` and the method of the same name are the same call, with the tensor as its first argument. All
arguments of a call are there, in the order of its signature.
"""

from __future__ import annotations

import ast
import inspect
import math
from typing import Any

Code = list[Any]

# The functions that the page knows, with those arguments that it knows. `*sizes` may also be one list.
SIGNATURES = """
    abs(x) cos(x) exp(x) log(x) relu(x) sigmoid(x) sin(x) sqrt(x) square(x) t(x) tanh(x) numel(x) ones_like(x)
    zeros_like(x) addcmul(x,tensor1,tensor2,value=1) amax(x,dim,keepdim=False) arange(end)
    bincount(x,weights=None,minlength=0) clamp(x,min=None,max=None) cumsum(x,dim) expand(x,*sizes) expand_as(x,other)
    flatten(x,start_dim=0,end_dim=-1) index_add(x,dim,index,source) index_add_(x,dim,index,source)
    index_copy_(x,dim,index,source) log_softmax(x,dim) max(x,dim=None,keepdim=False) mean(x,dim=None,keepdim=False)
    one_hot(x,num_classes) permute(x,*sizes) reshape(x,*sizes) scatter(x,dim,index,src) select(x,dim,index)
    softmax(x,dim) squeeze(x,dim) sum(x,dim=None,keepdim=False) tensor(x) transpose(x,dim0,dim1) unsqueeze(x,dim)
    view(x,*sizes) where(x,input,other) zeros(*sizes)
"""
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
INDICES = (ast.Name, ast.Call, ast.Subscript, ast.Attribute, ast.UnaryOp, ast.BinOp, ast.Constant)


class UnsupportedError(Exception):
    """The page can't evaluate the expression."""


def code_of(tree: ast.expr) -> Code:
    """The expression as lists. Raises UnsupportedError for anything that the page does not know."""
    match tree:
        case ast.Name(id=name):
            return ["name", name]
        case ast.Constant(value=bool() | int() | float() as value) if math.isfinite(value):
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
    if isinstance(tree, INDICES):
        return code_of(tree)
    if not isinstance(tree, ast.Slice) or tree.step is not None:
        raise UnsupportedError(ast.unparse(tree))
    start, stop = (["none"] if bound is None else code_of(bound) for bound in (tree.lower, tree.upper))
    return ["slice", start, stop]


def _call(tree: ast.Call) -> Code:
    if not isinstance(tree.func, ast.Attribute):
        raise UnsupportedError(ast.unparse(tree))
    of, name = tree.func.value, tree.func.attr
    if name == "to" and len(tree.args) == 1 and isinstance(tree.args[0], ast.Name) and not tree.keywords:
        return code_of(of)  # another tensor's type: all numbers are float64 in the page
    named = {str(keyword.arg): keyword.value for keyword in tree.keywords if keyword.arg != "device"}
    given = tree.args if ast.unparse(of) in MODULES else [of, *tree.args]
    try:
        bound = _SIGNATURES[name].bind(*given, **named)  # a keyword "None" stands for **kwargs, which no signature has
    except (KeyError, TypeError):
        raise UnsupportedError(ast.unparse(tree)) from None
    bound.apply_defaults()
    return ["call", name, *(one if isinstance(one, list) else code_of(one) for one in _in_order(bound))]


def _in_order(bound: inspect.BoundArguments) -> list[Any]:
    """A call's arguments in the order of the signature: defaults as code, sizes as one list."""
    found: list[Any] = []
    for name, value in bound.arguments.items():
        if name == "sizes":
            lists = len(value) == 1 and isinstance(value[0], ast.Tuple | ast.List | ast.Attribute)
            found.append(code_of(value[0]) if lists else ["list", *map(code_of, value)])
        else:
            found.append(value if isinstance(value, ast.expr) else ["none"] if value is None else ["number", value])
    return found


def _signature(text: str) -> tuple[str, inspect.Signature]:
    name, _, arguments = text.rstrip(")").partition("(")
    tree = ast.parse(f"lambda {arguments}: 0", mode="eval")
    return name, inspect.signature(eval(compile(tree, "<signature>", "eval")))


_SIGNATURES = dict(map(_signature, SIGNATURES.split()))
