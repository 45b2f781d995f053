"""A mutator of backward lines that knows nothing of gradcheck's own: in the source, any operator, name or number."""

from __future__ import annotations

import ast
import copy
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from makemore_cli.backprop.chain import Chain
from makemore_cli.backprop.inputs import Given, Index
from makemore_cli.backprop.line_text import line_text
from makemore_cli.backprop.step import arguments


@dataclass(frozen=True)
class Mutant:
    """A file with one wrong line: the step and the gradient that it belongs to, how it is wrong, and the text."""

    step: str
    target: str
    how: str
    line: str
    text: str


def mutants_of_chain(path: Path, chain: Chain, draw: random.Random) -> list[Mutant]:
    """Every declaration with one backward line changed in one place, in random order."""
    source = path.read_text()
    lines = source.splitlines(keepends=True)
    forward = {*chain.inputs, *chain.by_name}
    known = {*forward, *chain.sizes}

    def offset(row: int, column: int) -> int:
        return sum(map(len, lines[: row - 1])) + len(lines[row - 1].encode()[:column].decode())

    found = []
    for step, target, line in _backward_lines(source):
        own = {*arguments(chain.by_name[step].forward), step, f"d{step}"}
        others = [*sorted(own), *draw.sample(sorted(forward - own), min(6, len(forward - own)))]
        for how, tree in changed(line.body, [a.arg for a in line.args.args], others):
            text = ast.unparse(ast.fix_missing_locations(ast.Expression(tree)))
            names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
            new = f"lambda {', '.join(sorted(names & (known | {f'd{step}'})))}: {text}"
            start = offset(line.lineno, line.col_offset)
            end = offset(line.end_lineno or 0, line.end_col_offset or 0)
            found.append(Mutant(step, target, how, text, source[:start] + new + source[end:]))
    return _shuffled(found, draw)


def mutants_of_pair(chain: Chain, draw: random.Random) -> list[Mutant]:
    """Every pair of functions with one line of backward changed in one place, in random order."""
    text, body = as_pair(chain)
    lines = text.split("\n")
    start = next(number for number, line in enumerate(lines) if line.startswith("def backward"))
    asked = re.match(r"def backward\((.*)\):", lines[start])[1].split(", ")
    found = []
    for number, (step, target, line) in enumerate(body):
        expression = ast.parse(line.split(" = ", 1)[1], mode="eval").body
        own = {n.id for n in ast.walk(expression) if isinstance(n, ast.Name)} - {"torch"} | {f"d{step}"}
        others = [*sorted(own), *[n for n in (*chain.inputs, *chain.by_name) if n in asked][:4]]
        for how, tree in changed(expression, sorted(own), others):
            new = ast.unparse(ast.fix_missing_locations(ast.Expression(tree)))
            wrong = [*lines]
            wrong[start + 1 + number] = f"    {target} = {new}"
            found.append(Mutant(step, target, how, new, "\n".join(wrong)))
    return _shuffled(found, draw)


def as_pair(chain: Chain) -> tuple[str, list[tuple[str, str, str]]]:
    """The same network as functions forward and backward; and of each line of backward its step, target and text."""
    given = [f"{name}={one.value!r}" for name, one in chain.inputs.items() if isinstance(one, Given)]
    shaped = [
        f"{name}: index({one.shape!r}, {one.below!r})" if isinstance(one, Index) else f"{name}: {one.shape!r}"
        for name, one in chain.inputs.items()
        if not isinstance(one, Given)
    ]
    out = ["import torch", "from makemore_cli import index", "", f"sizes = {dict(chain.bounds)!r}", "", ""]
    out += [f"def forward({', '.join([*shaped, *given])}):"]
    out += [f"    {step.name} = {line_text(step.forward)}" for step in chain.steps]
    out += [f"    return {', '.join(chain.outputs)}", "", ""]
    body, read = [], set()
    for step in reversed(chain.steps):
        for target, line in step.backward.items():
            before = f"{target} + " if any(target == other for _, other, _ in body) else ""
            body.append((step.name, target, f"    {target} = {before}{line_text(line)}"))
            read |= set(arguments(line))
    asked = [*(f"d{name}" for name in chain.outputs)]
    asked += [name for name in (*chain.inputs, *chain.by_name, *chain.sizes) if name in read]
    out += [f"def backward({', '.join(asked)}):", *(line for _, _, line in body)]
    targets = {target for _, target, _ in body}
    returned = [f"d{name}" for name in chain.inputs if f"d{name}" in targets]
    return "\n".join([*out, f"    return {', '.join(returned)}", ""]), body


def changed(tree: ast.expr, read: list[str], others: list[str]) -> Iterator[tuple[str, ast.expr]]:
    """An expression with one change: sign, factor, sum, axis, transpose, operator, order, name, number."""
    yield "sign", ast.UnaryOp(ast.USub(), tree)
    yield "twice", ast.BinOp(ast.Constant(2), ast.Mult(), tree)
    yield "sum", ast.parse(f"({ast.unparse(tree)}).sum(0)", mode="eval").body
    for node in ast.walk(tree):
        for how, new in _changes(node, read, others):
            yield how, _with(tree, node, new)


def _changes(node: ast.AST, read: list[str], others: list[str]) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.BinOp):
        yield "dropped", node.left
        yield "dropped", node.right
        for kind in (ast.Add, ast.Sub, ast.Mult, ast.Div):
            if not isinstance(node.op, kind | ast.Pow):
                yield "operator", ast.BinOp(node.left, kind(), node.right)
        if isinstance(node.op, ast.MatMult | ast.Sub | ast.Div):
            yield "swapped", ast.BinOp(node.right, node.op, node.left)
    elif isinstance(node, ast.Attribute) and node.attr in ("T", "mT"):
        yield "transpose", node.value
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("sum", "mean"):
        yield "no sum", node.func.value
        other = ast.Attribute(node.func.value, "mean" if node.func.attr == "sum" else "sum", ast.Load())
        yield "mean", ast.Call(other, node.args, node.keywords)
        if node.keywords:
            yield "keepdim", ast.Call(node.func, node.args, [])
        if node.args and isinstance(node.args[0], ast.Constant):
            yield "axis", ast.Call(node.func, [ast.Constant(int(node.args[0].value == 0))], node.keywords)
    elif isinstance(node, ast.Name) and node.id in read:
        yield "transpose", ast.Attribute(node, "mT", ast.Load())
        yield from (("name", ast.Name(name, ast.Load())) for name in others if name != node.id)
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield from (("number", ast.Constant(wrong)) for wrong in (node.value + 1, -node.value, 2 * node.value))
    elif isinstance(node, ast.Compare):
        yield "comparison", ast.Compare(node.left, [ast.Lt()], node.comparators)
    elif isinstance(node, ast.UnaryOp):
        yield "sign", node.operand


def _with(tree: ast.expr, node: ast.AST, new: ast.expr) -> ast.expr:
    place = list(ast.walk(tree)).index(node)
    tree = copy.deepcopy(tree)
    target = list(ast.walk(tree))[place]

    class Replace(ast.NodeTransformer):
        def visit(self, at: ast.AST) -> ast.AST:
            return copy.deepcopy(new) if at is target else self.generic_visit(at)

    return Replace().visit(tree)


def _backward_lines(source: str) -> Iterator[tuple[str, str, ast.Lambda]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "step":
            for keyword in node.keywords:
                if isinstance(keyword.value, ast.Lambda):
                    yield node.args[0].value, keyword.arg, keyword.value


def _shuffled(found: list[Mutant], draw: random.Random) -> list[Mutant]:
    found = list({mutant.text: mutant for mutant in found}.values())
    draw.shuffle(found)
    return found
