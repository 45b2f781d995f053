"""Mistakes that can be made in a line: the same line with one factor, term, constant, axis, sign or tensor changed.

A line of the table is an expression. Each mutation is that expression with one change, and the words for it. They are
made from the line's syntax tree, so they need to know nothing of the network.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import CodeType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from makemore_cli.backprop.line_text import expression
from makemore_cli.backprop.steps import Line, Step, arguments

EPSILONS = (0.0, 1e-3, 1e-5, 1e-6, 1e-8, 1e-10, 1e-12)
# Derivatives of common functions, by their input x and their output y.
DERIVATIVES = {
    "tanh": "1 - y**2",
    "the sigmoid": "y * (1 - y)",
    "relu": "(x > 0)",
    "exp": "y",
    "log": "1 / x",
    "the square": "2 * x",
    "the square root": "0.5 / y",
    "1/x": "-1 / x**2",
    "x": "1",
}
# Functions that are applied to the wrong tensor, or along the wrong dimension.
FUNCTIONS = ("x.softmax(0)", "x.softmax(1)", "x.log_softmax(1)", "x.sigmoid()", "x.tanh()", "x.exp()", "x**2")


@dataclass(frozen=True)
class Mutation:
    """A line with one mistake in it."""

    words: str
    tree: ast.expr

    @property
    def code(self) -> str:
        """The wrong line, to read."""
        return ast.unparse(self.tree)

    def value(self, names: Mapping[str, Any]) -> Tensor | None:
        """Its value, or None if it has none: a mutation may not fit the shapes."""
        return _value(self._compiled, names)

    @cached_property
    def _compiled(self) -> CodeType:
        return _compile(self.tree)


def plain(line_expression: ast.expr) -> ast.expr:
    """An expression with fused calls written out: `torch.addcmul(a, b, b, value=-1)` as `a - b**2`."""
    return _Plain().visit(_copy(line_expression))  # type: ignore[no-any-return]


def evaluate(tree: ast.expr, names: Mapping[str, Any]) -> Tensor | None:
    """The value of an expression, or None if it has none."""
    return _value(_compile(tree), names)


def mutations_of(line: Line, names: Mapping[str, Any], steps: Mapping[str, Step]) -> list[Mutation]:
    """The mutations of a line, made once for all values of the same shapes."""
    shapes = ((k, (v.dtype, v.shape) if isinstance(v, Tensor) else type(v)) for k, v in names.items())
    key = (line, tuple(shapes), tuple((name, step.forward) for name, step in steps.items()))
    if key not in _made:
        if len(_made) >= KEPT:
            _made.clear()
        _made[key] = list(mutations(expression(line), names, steps))
    return _made[key]


KEPT = 512
_made: dict[Any, list[Mutation]] = {}


def mutations(tree: ast.expr, names: Mapping[str, Any], steps: Mapping[str, Step]) -> Iterator[Mutation]:
    """Every expression with one mistake, the most usual mistakes first.

    `names` are what an expression may read; a tensor is mistaken for another one of its shape. `steps` are those that
    compute the tensors, by name.
    """
    tree = plain(tree)
    nodes = list(_operands(tree))
    for node in nodes:
        for words, new in _dropped(node):
            yield Mutation(words, _with(tree, node, new))
    for rule in (_regrouped, _aggregated, _scattered, _one_hot, _operators, _constants):
        for node in nodes:
            for words, new in rule(node):
                yield Mutation(words, _with(tree, node, new))
    yield from _other_derivatives(tree, names, steps)
    yield from _other_names(tree, names, steps)
    for node in nodes:
        for words, new in _repeated(node):
            yield Mutation(words, _with(tree, node, new))


# Rules: from a node to what may stand there by mistake.

_Changes = Iterator[tuple[str, ast.expr]]


def _dropped(node: ast.expr) -> _Changes:
    """A factor, a term or a power that is left out."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "a minus sign is missing", node.operand
    if not isinstance(node, ast.BinOp):
        return
    left, right = node.left, node.right
    if isinstance(node.op, ast.Mult):
        yield f"the factor {_text(left)} is missing", right
        yield f"the factor {_text(right)} is missing", left
    elif isinstance(node.op, ast.Div):
        yield f"the division by {_text(right)} is missing", left
        if not _is_number(left):
            yield f"the factor {_text(left)} is missing", ast.BinOp(ast.Constant(1.0), ast.Div(), right)
    elif isinstance(node.op, ast.Add | ast.Sub):
        if _is_number(right):
            yield f"{_text(left)} stands where {_text(node)} belongs", left
        else:
            yield f"the term {_text(right)} is missing", left
        if not _is_number(left):
            yield f"the term {_text(left)} is missing", _negative(right) if isinstance(node.op, ast.Sub) else right
    elif isinstance(node.op, ast.Pow):
        yield f"{_text(left)} stands where {_text(node)} belongs", left


def _regrouped(node: ast.expr) -> _Changes:
    """(a − b) · c without its parentheses."""
    if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div)):
        return
    words = "a pair of parentheses is missing"
    sides = [(node.left, node.right)]
    if isinstance(node.op, ast.Mult):
        sides.append((node.right, node.left))
    for bracket, other in sides:
        if isinstance(bracket, ast.BinOp) and isinstance(bracket.op, ast.Add | ast.Sub):
            a, b = bracket.left, bracket.right
            yield words, ast.BinOp(a, bracket.op, ast.BinOp(b, node.op, other))
            yield words, ast.BinOp(ast.BinOp(a, node.op, other), bracket.op, b)
    if isinstance(node.op, ast.Mult) and isinstance(node.left, ast.BinOp) and isinstance(node.left.op, ast.Div):
        a, b = node.left.left, node.left.right
        yield words, ast.BinOp(a, ast.Div(), ast.BinOp(b, ast.Mult(), node.right))


def _aggregated(node: ast.expr) -> _Changes:
    """Sums over another dimension, over all, means, maxima, or none; what is not transposed."""
    if isinstance(node, ast.Attribute) and node.attr == "T":
        yield f"{_text(node.value)} is not transposed", node.value
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return
    value, method, kept = node.func.value, node.func.attr, node.keywords
    if method == "max":
        yield "the smallest stands where the largest belongs", _call(value, "min", node.args, kept)
    if method not in ("sum", "mean") or not node.args or not isinstance(node.args[0], ast.Constant):
        return
    dim = str(node.args[0].value)
    other = "mean" if method == "sum" else "sum"
    yield f"a {other} over dimension {dim} stands where the {method} belongs", _call(value, other, node.args, kept)
    for wrong in (0, 1, 2):
        if str(wrong) != dim:
            words = f"it is summed over dimension {wrong}, not over dimension {dim}"
            yield words, _call(value, method, [ast.Constant(wrong)], kept)
            keepdim = [ast.keyword("keepdim", ast.Constant(True))]
            yield words, _call(value, method, [ast.Constant(wrong)], keepdim)
    yield f"it is summed over all dimensions, not only over dimension {dim}", _call(value, "sum", [], [])
    yield f"the maximum over dimension {dim} stands where the {method} belongs", _call(value, "amax", node.args, kept)
    yield f"the {method} over dimension {dim} is missing", value
    yield (
        f"the sum over dimension {dim} runs along the rows one by one (cumsum)",
        _call(value, "cumsum", node.args, []),
    )


def _scattered(node: ast.expr) -> _Changes:
    """What is put somewhere, put elsewhere."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and len(node.args) == 3):
        return
    start, (dim, index, source) = node.func.value, node.args
    if node.func.attr in ("index_add_", "index_add"):
        words = (
            "what comes more than once to the same row is overwritten, not added; indexing with = or += keeps one of "
            "them: use index_add_, or a loop with +="
        )
        yield words, _call(start, "index_copy_", node.args, [])
        flat = index.func.value if isinstance(index, ast.Call) and isinstance(index.func, ast.Attribute) else None
        if flat is not None and isinstance(source, ast.Call) and isinstance(source.func, ast.Attribute):
            turned = _call(ast.Attribute(flat, "T", ast.Load()), "flatten", [], [])
            across = _call(source.func.value, "transpose", [ast.Constant(0), ast.Constant(1)], [])
            in_turn = _call(across, "flatten", source.args, [])
            yield words, _call(start, "index_copy_", [dim, turned, in_turn], [])
            yield (
                f"what is added does not lie in the order of {_text(flat)}: one of the two is transposed",
                _call(start, node.func.attr, [dim, turned, source], []),
            )
            everywhere = ast.Slice(None, None, None)
            for column, which in ((0, "first"), (-1, "last")):
                at = ast.Tuple([everywhere, ast.Constant(column)], ast.Load())
                yield (
                    f"only the {which} column of {_text(flat)} is added",
                    _call(
                        start,
                        node.func.attr,
                        [dim, ast.Subscript(flat, at, ast.Load()), ast.Subscript(source.func.value, at, ast.Load())],
                        [],
                    ),
                )
                first_only = ast.Tuple(
                    [everywhere, ast.Slice(ast.Constant(column), ast.Constant(column + 1 or None))], ast.Load()
                )
                for wrong, about in ((flat, "index"), (source.func.value, "source")):
                    again = _call(ast.Subscript(wrong, first_only, ast.Load()), "expand_as", [wrong], [])
                    rows = _call(again, "flatten", source.args if about == "source" else [], [])
                    args = [dim, rows, source] if about == "index" else [dim, index, rows]
                    words = f"the {which} column of {_text(wrong)} stands where each column belongs"
                    yield words, _call(start, node.func.attr, args, [])
            for rest, which in ((ast.Slice(ast.Constant(1)), "first"), (ast.Slice(None, ast.Constant(-1)), "last")):
                for where, what in ((ast.Tuple([everywhere, rest], ast.Load()), "column"), (rest, "row")):
                    part = _call(ast.Subscript(flat, where, ast.Load()), "flatten", [], [])
                    taken = _call(ast.Subscript(source.func.value, where, ast.Load()), "flatten", source.args, [])
                    words = f"the {which} {what} of {_text(flat)} is left out"
                    yield words, _call(start, node.func.attr, [dim, part, taken], [])
    if node.func.attr in ("scatter", "scatter_", "scatter_add"):
        words = "it goes to every entry of a row, not to the chosen one"
        yield words, ast.BinOp(start, ast.Add(), source)
        columns = _call(start, "index_fill", [dim, _call(index, "flatten", [], []), ast.Constant(1)], [])
        yield (
            "every chosen column is filled in all rows: rows and columns must be indexed in pairs",
            ast.BinOp(columns, ast.Mult(), source),
        )
        for by in (1, -1):
            shifted = _call(index, "roll", [ast.Constant(by)], [])
            yield "the indices belong to other rows", _call(start, node.func.attr, [dim, shifted, source], [])


def _one_hot(node: ast.expr) -> _Changes:
    """A one-hot matrix in whose place whole columns are chosen."""
    if isinstance(node, ast.Call) and _text(node.func) == "F.one_hot":
        words = "every chosen column is changed in all rows: rows and columns must be indexed in pairs"
        yield words, _call(node, "amax", [ast.Constant(0)], [])
        yield words, _call(node, "sum", [ast.Constant(0)], [])
        yield "the indices belong to other rows", _call(node, "roll", [ast.Constant(1), ast.Constant(0)], [])


def _operators(node: ast.expr) -> _Changes:
    """One operation in place of another."""
    if not isinstance(node, ast.BinOp):
        return
    left, right = node.left, node.right
    swaps: dict[type, list[tuple[type, str]]] = {
        ast.Add: [(ast.Sub, "minus stands where plus belongs"), (ast.Mult, "a product stands where a sum belongs")],
        ast.Sub: [(ast.Add, "plus stands where minus belongs")],
        ast.Mult: [
            (ast.Div, f"it is divided by {_text(right)}, not multiplied"),
            (ast.Add, "a sum stands where a product belongs"),
        ],
        ast.Div: [(ast.Mult, f"it is multiplied by {_text(right)}, not divided")],
    }
    for operator, words in swaps.get(type(node.op), []):
        yield words, ast.BinOp(left, operator(), right)
    if isinstance(node.op, ast.Mult) and not _is_number(left):
        yield f"it is divided by {_text(left)}, not multiplied", ast.BinOp(right, ast.Div(), left)
    if isinstance(node.op, ast.Sub):
        yield "the two sides of a difference are swapped", ast.BinOp(right, ast.Sub(), left)
    if isinstance(node.op, ast.Div):
        yield "the quotient is upside down", ast.BinOp(right, ast.Div(), left)
    if isinstance(node.op, ast.MatMult):
        yield "the two factors of the matrix product are swapped", ast.BinOp(right, node.op, left)
        yield (
            "a product entry by entry stands where a matrix product belongs",
            ast.BinOp(left, ast.Mult(), right),
        )


def _constants(node: ast.expr) -> _Changes:
    """Another number, or another batch size."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        c = node.value
        for wrong in dict.fromkeys((2 * c, c / 2, -c, c + 1, c - 1, 1, 2, 3, 0.5, 1.5)):
            if wrong != c:
                yield f"{wrong:g} stands where {c:g} belongs", ast.Constant(wrong)
    if isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant) and _is_number(node.operand):
        c = -float(ast.unparse(node.operand))
        for wrong in dict.fromkeys((2 * c, c / 2, c + 1, c - 1, 1, -1, -2)):
            if wrong not in (c, -c):
                yield f"{wrong:g} stands where {c:g} belongs", ast.Constant(wrong)


def _repeated(node: ast.expr) -> _Changes:
    """A factor that stands twice."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div):
        for factor in (node.left, node.right):
            if not _is_number(factor) and not (isinstance(node.op, ast.Div) and factor is node.left):
                words = "divided by" if isinstance(node.op, ast.Div) else "multiplied by"
                yield f"it is {words} {_text(factor)} twice", ast.BinOp(node, node.op, factor)


def _other_derivatives(tree: ast.expr, names: Mapping[str, Any], steps: Mapping[str, Step]) -> Iterator[Mutation]:
    """Another function's derivative, for a step that is a function of one tensor, entry by entry."""
    read = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in names]
    for above in dict.fromkeys(name for name in read if name[:1] == "d" and name[1:] in steps):
        step = steps[above[1:]]
        inputs = [a for a in arguments(step.forward) if isinstance(names.get(a), Tensor)]
        if len(inputs) != 1 or names[inputs[0]].shape != names[step.name].shape:
            continue
        for function, text in DERIVATIVES.items():
            derivative = ast.parse(text, mode="eval").body
            for wrong, about in ((step.name, "its output"), (inputs[0], "its input")):
                new = _renamed(derivative, {"x": ast.Name(inputs[0], ast.Load()), "y": ast.Name(wrong, ast.Load())})
                words = f"the derivative is that of {function}, taken at {about} {wrong}"
                if wrong == step.name and "y" not in text:
                    words = f"the derivative is that of {function}"
                yield Mutation(words, ast.BinOp(new, ast.Mult(), ast.Name(above, ast.Load())))


def _other_names(tree: ast.expr, names: Mapping[str, Any], steps: Mapping[str, Step]) -> Iterator[Mutation]:
    """Another tensor of the same shape, another number, a tensor that is too far on or has lost precision."""
    read = dict.fromkeys(node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in names)
    for name in read:
        value = names[name]
        if not isinstance(value, Tensor):
            for wrong in (f"({name} - 1)", f"({name} + 1)") if isinstance(value, int) else map(str, EPSILONS):
                new = ast.parse(wrong, mode="eval").body
                words = f"{ast.unparse(new)} stands where {name} belongs"
                if isinstance(value, float) and wrong == "0.0":
                    words = f"{name} is forgotten"
                yield Mutation(words, _renamed(tree, {name: new}))
            continue
        if not value.is_floating_point():
            continue
        for wrong, other in names.items():
            if wrong not in read and isinstance(other, Tensor) and other.is_floating_point():
                if other.shape == value.shape:
                    new = ast.Name(wrong, ast.Load())
                    yield Mutation(f"{wrong} stands where {name} belongs", _renamed(tree, {name: new}))
                elif other.dim() == 2 and other.shape == value.shape[::-1]:
                    new = ast.Attribute(ast.Name(wrong, ast.Load()), "T", ast.Load())
                    yield Mutation(f"{wrong}.T stands where {name} belongs", _renamed(tree, {name: new}))
        if name in steps and (inputs := arguments(steps[name].forward)) and len(inputs) == 1:
            again = _renamed(expression(steps[name].forward), {inputs[0]: ast.Name(name, ast.Load())})
            words = f"{ast.unparse(again)} stands where {name} belongs, which is that already"
            yield Mutation(words, _renamed(tree, {name: again}))
        for text in FUNCTIONS:
            for other, like in names.items():
                if other in steps and like.is_floating_point() and like.shape == value.shape:
                    new = _renamed(ast.parse(text, mode="eval").body, {"x": ast.Name(other, ast.Load())})
                    yield Mutation(f"{_text(new)} stands where {name} belongs", _renamed(tree, {name: new}))
        for precision in ("float16", "bfloat16"):
            there = _call(ast.Name(name, ast.Load()), "to", [ast.parse(f"torch.{precision}", mode="eval").body], [])
            back = _call(there, "to", [ast.Name(name, ast.Load())], [])
            yield Mutation(f"{name} has been rounded to {precision}", _renamed(tree, {name: back}))


# Trees.


def _compile(tree: ast.expr) -> CodeType:
    return compile(ast.fix_missing_locations(ast.Expression(_copy(tree))), "<mutation>", "eval")


def _value(code: CodeType, names: Mapping[str, Any]) -> Tensor | None:
    try:
        value = eval(code, {"torch": torch, "F": F, **names})
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError, ZeroDivisionError):
        return None
    return value if isinstance(value, Tensor) else None


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


def _operands(node: ast.AST) -> Iterator[ast.expr]:
    """The nodes of an expression that are its values: not a call's numbers, such as a dimension."""
    if isinstance(node, ast.expr):
        yield node
    if isinstance(node, ast.BinOp):
        yield from _operands(node.left)
        yield from _operands(node.right)
    elif isinstance(node, ast.UnaryOp):
        yield from _operands(node.operand)
    elif isinstance(node, ast.Attribute):
        yield from _operands(node.value)
    elif isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute):
            yield from _operands(node.func.value)
        for argument in node.args:
            if not isinstance(argument, ast.Constant):
                yield from _operands(argument)


def _with(tree: Any, target: ast.AST, new: ast.expr) -> Any:
    """The tree with another node in one place. Shares the others."""
    if tree is target:
        return new
    if isinstance(tree, list):
        return [_with(item, target, new) for item in tree]
    if isinstance(tree, ast.AST):
        return type(tree)(**{field: _with(value, target, new) for field, value in ast.iter_fields(tree)})
    return tree


def _renamed(tree: Any, new: Mapping[str, ast.expr]) -> Any:
    """The tree with other expressions in the place of names."""
    if isinstance(tree, ast.Name) and tree.id in new:
        return new[tree.id]
    if isinstance(tree, list):
        return [_renamed(item, new) for item in tree]
    if isinstance(tree, ast.AST):
        return type(tree)(**{field: _renamed(value, new) for field, value in ast.iter_fields(tree)})
    return tree


def _copy(tree: Any) -> Any:
    return _renamed(tree, {})


def _call(value: ast.expr, method: str, args: list[ast.expr], keywords: list[ast.keyword]) -> ast.expr:
    return ast.Call(ast.Attribute(value, method, ast.Load()), args, keywords)


def _negative(node: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.USub(), node)


def _is_number(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float)


def _text(node: ast.expr) -> str:
    return ast.unparse(node)
