"""Changes that could make a wrong line right: another factor, term, constant, axis, sign, operator or tensor.

Where the right line is known, its mutations explain wrong numbers (`mutations.py`). In a user's own chain it is not
known, so the wrong line itself is changed in one place. The change that gives the right numbers says what was wrong.
"""

from __future__ import annotations

import ast
import warnings
from ast import unparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from torch import Tensor

from makemore_cli.checks.compare import largest
from makemore_cli.checks.expression_trees import call, is_number, negative, parsed, with_node
from makemore_cli.checks.mutations import Mutation

# Largest error of a repaired line, relative to the scale and to the wrong line's error.
REPAIRED, CLEARLY = 1e-9, 1e-3
MOST_REPAIRS = 20_000  # largest number of changes that are tried

Names = Mapping[str, Any]
Trial = tuple[Names, Tensor]  # what a line may read, and what it should give
Changes = Iterator[tuple[str, ast.expr]]

# Parts of local derivatives; {} is a tensor.
FORMS = (
    "{}",
    "{}**2",
    "(1 - {}**2)",
    "{} * (1 - {})",
    "(1 - {})",
    "{}**-1",
    "{}**-2",
    "({} > 0)",
    "{}.exp()",
    "torch.sigmoid({})",
    "torch.sigmoid({}) * (1 - torch.sigmoid({}))",
    "(1 - torch.tanh({})**2)",
    "{}.cos()",
    "-{}.sin()",
    "{}.sign()",
    "{}.sqrt()",
    "0.5 * {}**-0.5",
    "(1 + {}**2)**-1",
)
COUNTS = ("{}.numel()", "{}.shape[0]", "{}.shape[-1]")
NUMBERS = (-3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4)
FUNCTIONS = ("exp", "log", "tanh", "sigmoid", "relu", "sin", "cos", "sqrt", "abs", "sign", "reciprocal", "square")
REDUCTIONS = ("sum", "mean", "amax", "prod")
OPERATORS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.MatMult: "@"}
COMPARISONS: dict[type[ast.cmpop], str] = {ast.Gt: ">", ast.GtE: ">=", ast.Lt: "<", ast.LtE: "<=", ast.Eq: "=="}
MOST_DIMENSIONS = 4


def repaired(tree: ast.expr, read: Names, target: str, trials: Sequence[Trial], error: float) -> str | None:
    """The change that makes a line right in all trials, in words.

    `read` is everything that the line may read; `error` is its largest difference over the scale.
    """
    near = min(REPAIRED, CLEARLY * error)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from changes that make no sense but are tried
        for change in islice(repairs(tree, read, target), MOST_REPAIRS):
            if all(_is(change.value(names), truth, near) for names, truth in trials):
                return f"{change.words} (right: {change.assigned_to(f'd{target}')})"
    return None


def _is(value: Tensor | None, truth: Tensor, near: float) -> bool:
    if value is None or value.shape != truth.shape or not value.is_floating_point():
        return False
    return largest((value - truth).abs()) <= near * largest(truth.abs()) and bool(value.isfinite().all())


def repairs(tree: ast.expr, names: Names, target: str) -> Iterator[Mutation]:
    """Every expression with one change, the most usual first, and what is wrong if that expression is right.

    `names` are what the line may read; `target` is the tensor whose gradient it gives.
    """
    nodes = list(_nodes(tree))
    tensors = [name for name, value in names.items() if isinstance(value, Tensor) and value.is_floating_point()]
    indices = [name for name, value in names.items() if isinstance(value, Tensor) and not value.is_floating_point()]
    numbers = [name for name, value in names.items() if isinstance(value, int | float) and not isinstance(value, bool)]
    gradients = [name for name in tensors if name[:1] == "d" and name[1:] in names]

    def at_nodes(*rules: Callable[[ast.expr], Changes]) -> Iterator[Mutation]:
        for rule in rules:
            for node in nodes:
                for words, new in rule(node):
                    yield Mutation(words, with_node(tree, node, new))

    yield Mutation("the sign is wrong", negative(tree))
    for words, new in _spread(tree, target):
        yield Mutation(words, new)
    yield from at_nodes(
        _reduced, _signs, _transposed, _matrices, _operators, _dropped, _comparisons, _numbers, _functions
    )
    yield from at_nodes(lambda node: _names(node, tensors, indices, numbers), _powers, _slices)
    yield from at_nodes(lambda node: _summed(node))
    yield from at_nodes(lambda node: _factors(node, numbers, ("{}", "({} - 1)", "{}**0.5")))
    yield from at_nodes(lambda node: _factors(node, tensors, FORMS[:5], divide=node is tree))
    yield from at_nodes(lambda node: _terms(node, [*gradients, *tensors, *numbers]))
    yield from at_nodes(lambda node: _products(node, tensors))
    yield from at_nodes(lambda node: _factors(node, tensors, COUNTS))
    for gradient in gradients:  # the local derivative as a whole
        for name in tensors:
            for form in FORMS if name != gradient else ():
                new = parsed(f"{form.replace('{}', name)} * {gradient}")
                yield Mutation(f"the local derivative should be {form.replace('{}', name)}", new)
    for words, new in _factors(tree, tensors, FORMS[5:]):
        yield Mutation(words, new)
    for words, new in _anywhere(tree, list(names)):
        yield Mutation(words, new)


def _nodes(node: ast.AST) -> Iterator[ast.expr]:
    """The nodes of an expression that are values: not a call's dimensions, nor a module or method by itself."""
    if not isinstance(node, ast.expr):
        return
    if not (isinstance(node, ast.Name) and node.id in MODULES):
        yield node
    below: list[ast.AST] = []
    if isinstance(node, ast.Call):
        method = node.func
        below = [method.value] if isinstance(method, ast.Attribute) else []
        below += [a for a in node.args if not isinstance(a, ast.Constant)]
        below += [k.value for k in node.keywords if not isinstance(k.value, ast.Constant)]
    elif isinstance(node, ast.Attribute | ast.Subscript):
        below = [node.value]
    elif not isinstance(node, ast.Lambda | ast.GeneratorExp | ast.ListComp):
        below = list(ast.iter_child_nodes(node))
    for child in below:
        yield from _nodes(child)


MODULES = ("torch", "F", "np", "numpy", "math")


def _spread(tree: ast.expr, target: str) -> Changes:
    """The whole line in another shape."""
    shaped = ast.Name(target, ast.Load())
    yield f"it is not expanded to the shape of {target}", call(tree, "expand_as", [shaped], [])
    yield f"it is not reshaped to the shape of {target}", call(tree, "reshape_as", [shaped], [])
    yield (
        f"it is not summed to the shape of {target}",
        call(tree, "sum_to_size", [ast.Attribute(shaped, "shape", ast.Load())], []),
    )


def _signs(node: ast.expr) -> Changes:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield f"the minus sign in front of {unparse(node.operand)} is wrong", node.operand
    elif not is_number(node):
        yield f"a minus sign is missing in front of {unparse(node)}", negative(node)


def _transposed(node: ast.expr) -> Changes:
    if isinstance(node, ast.Attribute) and node.attr in ("T", "mT"):
        yield f"{unparse(node.value)} should not be transposed", node.value
        yield (
            f"{unparse(node)} transposes the wrong dimensions",
            ast.Attribute(node.value, "mT" if node.attr == "T" else "T", ast.Load()),
        )
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in TURNS:
        yield f"{unparse(node.func.value)} should not be transposed", node.func.value
    elif not is_number(node):
        for new in (ast.Attribute(node, "mT", ast.Load()), call(node, "transpose", _numbered(0, 1), [])):
            yield f"{unparse(node)} should be transposed", new


TURNS = ("transpose", "swapaxes", "t", "permute")


def _reduced(node: ast.expr) -> Changes:
    """A sum, mean or maximum over another dimension, or none."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in REDUCTIONS):
        return
    value, method = node.func.value, node.func.attr
    keepdim = any(k.arg == "keepdim" for k in node.keywords)
    for other in REDUCTIONS:
        if other != method:
            yield f"{method} is used instead of {other}", call(value, other, node.args, node.keywords)
    given = unparse(node.args[0]) if node.args else "all"
    for dim in (*range(MOST_DIMENSIONS), -1, None):
        for keep in (keepdim, not keepdim):
            args = [] if dim is None else _numbered(dim)
            keywords = [ast.keyword("keepdim", ast.Constant(True))] if keep and dim is not None else []
            over = "all dimensions" if dim is None else f"dimension {dim}"
            words = f"the {method} of {unparse(value)} should be over {over}"
            if str(dim) == given:
                words = f"keepdim={not keep} is wrong: a dimension of size 1 {'is lost' if keep else 'is left over'}"
            yield words, call(value, method, args, keywords)
    yield f"the {method} should not be taken", value


def _operators(node: ast.expr) -> Changes:
    if not isinstance(node, ast.BinOp):
        return
    for kind, sign in OPERATORS.items():
        if not isinstance(node.op, kind):
            there = OPERATORS.get(type(node.op), "**")
            yield f"{there} in {unparse(node)} should be {sign}", ast.BinOp(node.left, kind(), node.right)
            if kind in (ast.MatMult, ast.Sub, ast.Div):
                words = f"{there} in {unparse(node)} should be {sign}, with the two sides swapped"
                yield words, ast.BinOp(node.right, kind(), node.left)
    if not isinstance(node.op, ast.Add | ast.Mult):
        yield f"the two sides of {unparse(node)} are swapped", ast.BinOp(node.right, node.op, node.left)


def _dropped(node: ast.expr) -> Changes:
    if isinstance(node, ast.BinOp):
        what = "term" if isinstance(node.op, ast.Add | ast.Sub) else "factor"
        yield f"the {what} {unparse(node.right)} does not belong there", node.left
        yield f"the {what} {unparse(node.left)} does not belong there", node.right
        if isinstance(node.op, ast.Sub):
            yield f"the term {unparse(node.left)} does not belong there", negative(node.right)


def _matrices(node: ast.expr) -> Changes:
    """A matrix product with its factors in another order, transposed, or both."""
    if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult)):
        return
    for left, right in ((node.left, node.right), (node.right, node.left)):
        for first in (left, _turned(left)):
            for second in (right, _turned(right)):
                new = ast.BinOp(first, ast.MatMult(), second)
                yield f"{unparse(node)} should be {unparse(new)}", new


def _turned(node: ast.expr) -> ast.expr:
    if isinstance(node, ast.Attribute) and node.attr in ("T", "mT"):
        return node.value
    return ast.Attribute(node, "mT", ast.Load())


def _comparisons(node: ast.expr) -> Changes:
    if not (isinstance(node, ast.Compare) and len(node.ops) == 1):
        return
    for kind, sign in COMPARISONS.items():
        if not isinstance(node.ops[0], kind):
            yield f"{unparse(node)} should use {sign}", ast.Compare(node.left, [kind()], node.comparators)


def _numbers(node: ast.expr) -> Changes:
    number = node.operand if isinstance(node, ast.UnaryOp) else node
    if is_number(number):
        for other in NUMBERS:
            if str(other) != unparse(node):
                yield f"{unparse(node)} should be {other:g}", parsed(str(other))


def _functions(node: ast.expr) -> Changes:
    """Another function of the same value, or none."""
    if not isinstance(node, ast.Call):
        return
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    if name not in FUNCTIONS or not isinstance(node.func, ast.Attribute):
        return
    of_torch = isinstance(node.func.value, ast.Name) and node.func.value.id in ("torch", "F")
    value = node.args[0] if of_torch and node.args else node.func.value
    yield f"{name} should not be applied to {unparse(value)}", value
    for other in FUNCTIONS:
        if other != name:
            yield f"{name} of {unparse(value)} should be {other}", call(value, other, [], [])


def _names(node: ast.expr, tensors: Sequence[str], indices: Sequence[str], numbers: Sequence[str]) -> Changes:
    if not isinstance(node, ast.Name):
        return
    for kind in (tensors, indices, numbers):
        if node.id in kind:
            for other in kind:
                if other != node.id:
                    yield f"{node.id} is used instead of {other}", ast.Name(other, ast.Load())
    for other in (*numbers, *tensors):
        if node.id in (*tensors, *numbers) and (node.id in tensors) != (other in tensors):
            yield f"{node.id} is used instead of {other}", ast.Name(other, ast.Load())


def _powers(node: ast.expr) -> Changes:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        yield f"{unparse(node)} should be a product", ast.BinOp(node.left, ast.Mult(), node.right)
    elif isinstance(node, ast.Name | ast.Call):
        for power in (2, 3, -1, -2, 0.5, -0.5, -1.5):
            yield f"{unparse(node)} should have the exponent {power:g}", ast.BinOp(node, ast.Pow(), parsed(str(power)))


def _slices(node: ast.expr) -> Changes:
    """Another number in a slice or index."""
    if not isinstance(node, ast.Subscript):
        return
    for inner in ast.walk(node.slice):
        if isinstance(inner, ast.Constant) and type(inner.value) is int:
            for other in (inner.value - 1, inner.value + 1):
                new = ast.Subscript(node.value, with_node(node.slice, inner, parsed(str(other))), ast.Load())
                yield f"{unparse(node)} should be {unparse(new)}", new


def _summed(node: ast.expr) -> Changes:
    if is_number(node):
        return
    keepdim = [ast.keyword("keepdim", ast.Constant(True))]
    for dim in (*range(MOST_DIMENSIONS), -1):
        words = f"the sum over dimension {dim} of {unparse(node)} is missing"
        yield words, call(node, "sum", _numbered(dim), [])
        yield words, call(node, "sum", _numbered(dim), keepdim)
    for dims in ((0, 1), (0, 2), (1, 2)):
        yield (
            f"the sum over dimensions {dims[0]} and {dims[1]} of {unparse(node)} is missing",
            call(node, "sum", [parsed(str(dims))], []),
        )
    yield f"the sum of {unparse(node)} is missing", call(node, "sum", [], [])


def _factors(node: ast.expr, names: Sequence[str], forms: Sequence[str], *, divide: bool = True) -> Changes:
    for name in names:
        for form in forms:
            factor = parsed(form.replace("{}", name))
            yield f"the factor {unparse(factor)} is missing", ast.BinOp(node, ast.Mult(), factor)
            if divide and (form == "{}" or form in COUNTS):
                yield f"it is not divided by {unparse(factor)}", ast.BinOp(node, ast.Div(), factor)


def _products(node: ast.expr, names: Sequence[str]) -> Changes:
    if is_number(node):
        return
    for name in names:
        factor = ast.Name(name, ast.Load())
        for one in (factor, ast.Attribute(factor, "mT", ast.Load())):
            yield f"the matrix product with {unparse(one)} is missing", ast.BinOp(one, ast.MatMult(), node)
            yield f"the matrix product with {unparse(one)} is missing", ast.BinOp(node, ast.MatMult(), one)


def _terms(node: ast.expr, names: Sequence[str]) -> Changes:
    for name in names:
        term = ast.Name(name, ast.Load())
        yield f"the term {name} is missing", ast.BinOp(node, ast.Add(), term)
        yield f"the term -{name} is missing", ast.BinOp(node, ast.Sub(), term)
        yield f"{unparse(node)} should be subtracted from {name}", ast.BinOp(term, ast.Sub(), node)


def _anywhere(tree: ast.expr, names: Sequence[str]) -> Changes:
    """Another name or whole number wherever one stands, in an index or a call's dimensions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in names:
            for other in names:
                if other != node.id:
                    yield f"{node.id} is used instead of {other}", with_node(tree, node, ast.Name(other, ast.Load()))
        elif isinstance(node, ast.Constant) and type(node.value) is int:
            for value in (*range(MOST_DIMENSIONS), -1):
                if value != node.value:
                    yield f"{node.value} should be {value}", with_node(tree, node, ast.Constant(value))


def _numbered(*numbers: int) -> list[ast.expr]:
    return [parsed(str(number)) for number in numbers]
