"""Rules that replace one node of an expression by what people write there by mistake, each with a description."""

from __future__ import annotations

import ast
import re
from ast import unparse
from collections.abc import Callable, Iterator

from makemore_cli.checks.expression_trees import call, is_number, negative, operands, parsed, with_node

SMALL = (1e-3, 1e-5, 1e-6, 1e-8)  # numbers that people add to a divisor
Changes = Iterator[tuple[str, ast.expr]]
Rule = Callable[[ast.expr], Changes]


def dropped(node: ast.expr) -> Changes:
    """Leave out a factor, a term, a power or a sign, or use a tensor that should only give its shape."""
    if isinstance(node, ast.Call) and unparse(node.func) == "torch.ones_like":
        yield f"{unparse(node.args[0])} is used instead of ones of its shape", node.args[0]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "a minus sign is missing", node.operand
    if not isinstance(node, ast.BinOp):
        return
    left, right = node.left, node.right
    if isinstance(node.op, ast.Mult):
        yield f"the factor {unparse(left)} is missing", right
        yield f"the factor {unparse(right)} is missing", left
    elif isinstance(node.op, ast.Div):
        yield f"the division by {unparse(right)} is missing", left
        if not is_number(left):
            yield f"the factor {unparse(left)} is missing", ast.BinOp(ast.Constant(1.0), ast.Div(), right)
    elif isinstance(node.op, ast.Add | ast.Sub):
        if is_number(right):
            yield f"{unparse(left)} is used instead of {unparse(node)}", left
        else:
            yield f"the term {unparse(right)} is missing", left
        if not is_number(left):
            yield f"the term {unparse(left)} is missing", negative(right) if isinstance(node.op, ast.Sub) else right
    elif isinstance(node.op, ast.Pow):
        if isinstance(right, ast.UnaryOp) and isinstance(right.op, ast.USub):
            yield "a minus sign is missing in the exponent", ast.BinOp(left, ast.Pow(), right.operand)
        yield f"{unparse(left)} is used instead of {unparse(node)}", left


def over_all(node: ast.expr) -> Changes:
    """Apply a power to too much of the expression."""
    if isinstance(node, ast.BinOp) and isinstance(node.right, ast.BinOp) and isinstance(node.right.op, ast.Pow):
        inner = ast.BinOp(node.left, node.op, node.right.left)
        yield f"the power is applied to all of {unparse(inner)}", ast.BinOp(inner, ast.Pow(), node.right.right)


def root_first(node: ast.expr) -> Changes:
    """Take a power or a root before something is added, not after: √x + ε for √(x + ε)."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow) and isinstance(node.left, ast.BinOp):
        inner, power = node.left, node.right
        if isinstance(inner.op, ast.Add):
            words = f"{unparse(inner.right)} is added after the power is taken, not before"
            yield words, ast.BinOp(ast.BinOp(inner.left, ast.Pow(), power), ast.Add(), inner.right)
            if isinstance(power, ast.UnaryOp) and isinstance(power.op, ast.USub):
                root = ast.BinOp(ast.BinOp(inner.left, ast.Pow(), power.operand), ast.Add(), inner.right)
                yield words, ast.BinOp(ast.Constant(1.0), ast.Div(), root)


def aggregated(node: ast.expr) -> Changes:
    """Reduce over another dimension or over all, use another reduction or none; leave out a transpose."""
    if isinstance(node, ast.Attribute) and node.attr == "T":
        yield f"{unparse(node.value)} is not transposed", node.value
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return
    value, method, kept = node.func.value, node.func.attr, node.keywords
    if method == "max":
        yield "the minimum is used instead of the maximum", call(value, "min", node.args, kept)
    if method not in ("sum", "mean") or not node.args or not isinstance(node.args[0], ast.Constant):
        return
    dim = str(node.args[0].value)
    other = "mean" if method == "sum" else "sum"
    yield f"the {other} over dimension {dim} is used instead of the {method}", call(value, other, node.args, kept)
    for wrong in (0, 1, 2):
        if str(wrong) != dim:
            words = f"the {method} is over dimension {wrong}, not over dimension {dim}"
            yield words, call(value, method, [ast.Constant(wrong)], kept)
            keepdim = [ast.keyword("keepdim", ast.Constant(True))]
            yield words, call(value, method, [ast.Constant(wrong)], keepdim)
    yield f"the {method} is over all dimensions, not only over dimension {dim}", call(value, method, [], [])
    yield f"the maximum over dimension {dim} is used instead of the {method}", call(value, "amax", node.args, kept)
    yield f"the {method} over dimension {dim} is missing", value
    for at, which in ((0, "first"), (-1, "last")):
        taken = call(value, "select", [ast.Constant(int(dim)), ast.Constant(at)], [])
        words = f"only the {which} entry along dimension {dim} is used, not the {method}"
        yield words, call(taken, "unsqueeze", [ast.Constant(int(dim))], []) if kept else taken
    yield (
        f"a running sum over dimension {dim} (cumsum) is used instead of the {method}",
        call(value, "cumsum", node.args, []),
    )


def scattered(node: ast.expr) -> Changes:
    """Scatter to the wrong places, or the wrong values."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and len(node.args) == 3):
        return
    start, (dim, index, source) = node.func.value, node.args
    if node.func.attr in ("index_add_", "index_add"):
        times = parsed(f"torch.bincount({unparse(index)}, minlength=len({unparse(start)}))[:, None].clamp(min=1)")
        yield (
            "contributions to the same row are averaged, not added",
            ast.BinOp(node, ast.Div(), times),
        )
        words = (
            "contributions to the same row are overwritten, not added; indexing with = or += keeps only one of them: "
            "use index_add_, or a loop with +="
        )
        yield words, call(start, "index_copy_", node.args, [])
        flat = index.func.value if isinstance(index, ast.Call) and isinstance(index.func, ast.Attribute) else None
        if flat is not None and isinstance(source, ast.Call) and isinstance(source.func, ast.Attribute):
            turned = call(ast.Attribute(flat, "T", ast.Load()), "flatten", [], [])
            across = call(source.func.value, "transpose", [ast.Constant(0), ast.Constant(1)], [])
            in_turn = call(across, "flatten", source.args, [])
            yield words, call(start, "index_copy_", [dim, turned, in_turn], [])
            yield (
                f"the values added are not in the order of {unparse(flat)}: one of the two is transposed",
                call(start, node.func.attr, [dim, turned, source], []),
            )
            everywhere = ast.Slice(None, None, None)
            for column, which in ((0, "first"), (-1, "last")):
                at = ast.Tuple([everywhere, ast.Constant(column)], ast.Load())
                yield (
                    f"only the {which} column of {unparse(flat)} is added",
                    call(
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
                    again = call(ast.Subscript(wrong, first_only, ast.Load()), "expand_as", [wrong], [])
                    rows = call(again, "flatten", source.args if about == "source" else [], [])
                    args = [dim, rows, source] if about == "index" else [dim, index, rows]
                    words = f"the {which} column of {unparse(wrong)} is used for every column"
                    yield words, call(start, node.func.attr, args, [])
            for rest, which in ((ast.Slice(ast.Constant(1)), "first"), (ast.Slice(None, ast.Constant(-1)), "last")):
                for where, what in ((ast.Tuple([everywhere, rest], ast.Load()), "column"), (rest, "row")):
                    part = call(ast.Subscript(flat, where, ast.Load()), "flatten", [], [])
                    taken = call(ast.Subscript(source.func.value, where, ast.Load()), "flatten", source.args, [])
                    words = f"the {which} {what} of {unparse(flat)} is left out"
                    yield words, call(start, node.func.attr, [dim, part, taken], [])
    if node.func.attr in ("scatter", "scatter_", "scatter_add"):
        words = "every entry of a row is changed, not only the chosen one"
        yield words, ast.BinOp(start, ast.Add(), source)
        columns = call(start, "index_fill", [dim, call(index, "flatten", [], []), ast.Constant(1)], [])
        yield (
            "every chosen column is filled in all rows: rows and columns must be indexed in pairs",
            ast.BinOp(columns, ast.Mult(), source),
        )
        for by in (1, -1):
            shifted = call(index, "roll", [ast.Constant(by)], [])
            yield "the indices belong to other rows", call(start, node.func.attr, [dim, shifted, source], [])


def one_hot(node: ast.expr) -> Changes:
    """Choose whole columns or other rows with a one-hot matrix."""
    if isinstance(node, ast.Call) and unparse(node.func) == "F.one_hot":
        words = "every chosen column is changed in all rows: rows and columns must be indexed in pairs"
        yield words, call(node, "amax", [ast.Constant(0)], [])
        yield words, call(node, "sum", [ast.Constant(0)], [])
        yield "the indices belong to other rows", call(node, "roll", [ast.Constant(1), ast.Constant(0)], [])


def operators(node: ast.expr) -> Changes:
    """Replace one operation by another."""
    if not isinstance(node, ast.BinOp):
        return
    left, right = node.left, node.right
    if isinstance(node.op, ast.Sub) and (chosen := _hot(right)) is not None:
        for value in (1.0, -1.0):
            yield (
                f"the chosen entries are set to {value:g}: = is used instead of -=",
                call(left, "scatter", [ast.Constant(1), chosen, ast.Constant(value)], []),
            )
    swaps: dict[type, list[tuple[type, str]]] = {
        ast.Add: [(ast.Sub, "there is a minus instead of a plus"), (ast.Mult, "there is a product instead of a sum")],
        ast.Sub: [(ast.Add, "there is a plus instead of a minus")],
        ast.Mult: [
            (ast.Div, f"it is divided by {unparse(right)}, not multiplied"),
            (ast.Add, "there is a sum instead of a product"),
        ],
        ast.Div: [(ast.Mult, f"it is multiplied by {unparse(right)}, not divided")],
    }
    for operator, words in swaps.get(type(node.op), []):
        yield words, ast.BinOp(left, operator(), right)
    if isinstance(node.op, ast.Mult) and is_number(left):
        wrong = ast.BinOp(right, ast.Pow(), left)
        yield f"{unparse(wrong)} is used instead of {unparse(node)}", wrong
    if isinstance(node.op, ast.Mult) and not is_number(left):
        yield f"it is divided by {unparse(left)}, not multiplied", ast.BinOp(right, ast.Div(), left)
    if isinstance(node.op, ast.Sub):
        yield "the two sides of a difference are swapped", ast.BinOp(right, ast.Sub(), left)
    if isinstance(node.op, ast.Div):
        yield "numerator and denominator are swapped", ast.BinOp(right, ast.Div(), left)
        for small in SMALL if not is_number(right) else ():
            added = ast.BinOp(right, ast.Add(), ast.Constant(small))
            yield f"{small:g} has been added to {unparse(right)}", ast.BinOp(left, ast.Div(), added)
    if isinstance(node.op, ast.Pow):
        wrong = ast.BinOp(left, ast.Mult(), right)
        yield f"{unparse(wrong)} is used instead of {unparse(node)}", wrong
    if isinstance(node.op, ast.MatMult):
        keepdim = [ast.keyword("keepdim", ast.Constant(True))]
        yield (
            f"{unparse(right)} is missing: {unparse(left)} is summed and broadcast to all columns instead",
            call(call(left, "sum", [ast.Constant(1)], keepdim), "expand_as", [node], []),
        )
        yield "the two factors of the matrix product are swapped", ast.BinOp(right, node.op, left)
        yield (
            "an elementwise product is used instead of a matrix product",
            ast.BinOp(left, ast.Mult(), right),
        )


def exponents(node: ast.expr) -> Changes:
    """Use another exponent."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        for wrong, right in _other_numbers(node.right):
            yield f"the exponent is {wrong:g}, not {right:g}", ast.BinOp(node.left, node.op, ast.Constant(wrong))


def constants(node: ast.expr) -> Changes:
    """Use another number."""
    for wrong, right in _other_numbers(node):
        yield f"{wrong:g} is used instead of {right:g}", ast.Constant(wrong)


def _other_numbers(node: ast.expr) -> Iterator[tuple[float, float]]:
    """Other numbers for a number, each with the right one; none for another node."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        c = node.value
        for wrong in dict.fromkeys((2 * c, c / 2, -c, c + 1, c - 1, 1, 2, 3, 0.5, 1.5)):
            if wrong != c:
                yield wrong, c
    if isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant) and is_number(node.operand):
        c = -float(ast.unparse(node.operand))
        for wrong in dict.fromkeys((2 * c, c / 2, c + 1, c - 1, 1, -1, -2)):
            if wrong not in (c, -c):  # the other sign is told as such
                yield wrong, c


def repeated(node: ast.expr) -> Changes:
    """Use a factor twice."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div):
        for factor in (node.left, node.right):
            if not is_number(factor) and not (isinstance(node.op, ast.Div) and factor is node.left):
                words = "divided by" if isinstance(node.op, ast.Div) else "multiplied by"
                yield f"it is {words} {unparse(factor)} twice", ast.BinOp(node, node.op, factor)


def of_the_whole(tree: ast.expr) -> Changes:
    """Leave out a pair of parentheses, or change all sums to means or to sums over all dimensions."""
    for text in map(unparse, (tree, *_commuted(tree))):
        for start, end in _brackets(text):
            try:
                new = parsed(f"{text[:start]}{text[start + 1 : end]}{text[end + 1 :]}")
            except SyntaxError:  # nobody writes 2.exp() for (x**2).exp()
                continue
            if ast.dump(new) != ast.dump(parsed(text)):
                yield f"the parentheses around {text[start + 1 : end]} are missing", new
    text = unparse(tree)
    if text.count(".sum(0") > 1:
        yield "means over dimension 0 are used instead of sums", parsed(text.replace(".sum(0", ".mean(0"))
        whole = re.sub(r"\.sum\(0[^)]*\)", ".sum()", text)
        yield "the sums are over all dimensions, not only over dimension 0", parsed(whole)


def two_missing(tree: ast.expr) -> Changes:
    """Leave out two factors or divisions of a product."""
    for first, once in _without_one(tree):
        for second, twice in _without_one(once):
            yield f"{first} and {second} are missing", twice


def _without_one(tree: ast.expr) -> Changes:
    """The expression without one of its factors or divisions, each with the name of what is missing."""
    for node in operands(tree):
        for words, new in dropped(node):
            if words.startswith(("the factor", "the division")):
                yield words.removesuffix(" is missing"), with_node(tree, node, new)


def _commuted(tree: ast.expr) -> Iterator[ast.expr]:
    """The expression with c · (a − b) for (a − b) · c."""
    for node in operands(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult) and isinstance(node.left, ast.BinOp):
            yield with_node(tree, node, ast.BinOp(node.right, node.op, node.left))


def _brackets(text: str) -> Iterator[tuple[int, int]]:
    """The positions of pairs of parentheses that only group."""
    opened: list[int] = []
    for at, sign in enumerate(text):
        if sign == "(":
            opened.append(at)
        elif sign == ")":
            start = opened.pop()
            if not (start and (text[start - 1].isalnum() or text[start - 1] in "_])")):
                yield start, at


def _hot(node: ast.expr) -> ast.expr | None:
    """The columns that a one-hot matrix chooses, as the index of a scatter: `Y[:, None]` of `F.one_hot(Y, V)`."""
    if isinstance(node, ast.Call) and unparse(node.func) == "F.one_hot":
        column = ast.Tuple([ast.Slice(None, None, None), ast.Constant(None)], ast.Load())
        return ast.Subscript(node.args[0], column, ast.Load())
    return None


USUAL: tuple[Rule, ...] = (dropped, over_all, aggregated, scattered, one_hot, operators, exponents, constants)
RARE: tuple[Rule, ...] = (repeated,)
