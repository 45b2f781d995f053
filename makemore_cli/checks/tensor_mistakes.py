"""Mistakes in what a line reads: another tensor, number, index or derivative; a tensor summed or rounded before.

Each rule takes an expression, the names that it may read, and the steps that compute the tensors; it gives the wrong
expressions, each with a description.
"""

from __future__ import annotations

import ast
from ast import unparse
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from makemore_cli.backprop.line_text import expression
from makemore_cli.backprop.step import Step, arguments
from makemore_cli.checks.expression_trees import operands, parsed, renamed, with_node
from makemore_cli.checks.operator_mistakes import dropped

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
FUNCTIONS = (
    "x.softmax(0)",
    "x.softmax(1)",
    "x.log_softmax(1)",
    "x.sigmoid()",
    "x.tanh()",
    "x.exp()",
    "x.abs()",
    "x**2",
)

Names = Mapping[str, Any]
Steps = Mapping[str, Step]
Changes = Iterator[tuple[str, ast.expr]]
Rule = Callable[[ast.expr, Names, Steps], Changes]


def other_derivatives(tree: ast.expr, names: Names, steps: Steps) -> Changes:
    """Use the derivative of another function, for a step that is a function of one tensor, entry by entry."""
    for above in _read(tree, names):
        if not (above[:1] == "d" and above[1:] in steps):
            continue
        step = steps[above[1:]]
        inputs = [a for a in arguments(step.forward) if isinstance(names.get(a), Tensor)]
        if len(inputs) != 1 or names[inputs[0]].shape != names[step.name].shape:
            continue
        for function, text in DERIVATIVES.items():
            for wrong, about in ((step.name, "its output"), (inputs[0], "its input")):
                new = renamed(parsed(text), {"x": parsed(inputs[0]), "y": parsed(wrong)})
                words = f"the derivative is that of {function}, taken at {about} {wrong}"
                if wrong == step.name and "y" not in text:
                    words = f"the derivative is that of {function}"
                yield words, ast.BinOp(new, ast.Mult(), parsed(above))


def other_numbers(tree: ast.expr, names: Names, steps: Steps) -> Changes:
    """Use another batch size, or another epsilon."""
    for name in _read(tree, names):
        value = names[name]
        if isinstance(value, int):
            for wrong in (f"({name} - 1)", f"({name} + 1)"):
                yield _instead(tree, name, wrong)
        elif isinstance(value, float):
            for wrong in map(str, EPSILONS):
                words, new = _instead(tree, name, wrong)
                yield f"{name} is forgotten" if wrong == "0.0" else words, new


def other_tensors(tree: ast.expr, names: Names, steps: Steps) -> Changes:
    """Use another tensor of the same or the transposed shape, or a function of one."""
    for name, value in _read_tensors(tree, names):
        for wrong, tensor in _others(name, names):
            if tensor.shape == value.shape:
                yield _instead(tree, name, wrong)
            elif tensor.dim() == 2 and tensor.shape == value.shape[::-1]:
                yield _instead(tree, name, f"{wrong}.T")
        if name in steps and (inputs := arguments(steps[name].forward)) and len(inputs) == 1:
            words, new = _instead(
                tree, name, unparse(renamed(expression(steps[name].forward), {inputs[0]: parsed(name)}))
            )
            yield f"{words}, so the step is applied twice", new
        if name in steps:  # computed again, with a mistake
            forward = expression(steps[name].forward)
            for operand in operands(forward):
                for _, new in dropped(operand):
                    yield _instead(tree, name, unparse(with_node(forward, operand, new)))
        for text in FUNCTIONS:
            for other, like in names.items():
                if other in steps and like.is_floating_point() and like.shape == value.shape:
                    yield _instead(tree, name, unparse(renamed(parsed(text), {"x": parsed(other)})))
    for (one, a), (two, b) in combinations(_read_tensors(tree, names), 2):
        if a.shape == b.shape:
            yield f"{one} and {two} are swapped", renamed(tree, {one: parsed(two), two: parsed(one)})


def other_indices(tree: ast.expr, names: Names, steps: Steps) -> Changes:
    """Index by another tensor: by the characters of the context instead of the next one, or the reverse."""
    indices = {name: v for name, v in names.items() if isinstance(v, Tensor) and v.dtype == torch.int64}
    for name in (n for n in _read(tree, names) if n in indices):
        for wrong, index in indices.items():
            if wrong == name or len(index) != len(indices[name]):
                continue
            if index.dim() == 2 and indices[name].dim() == 1:
                for column in sorted({0, index.shape[1] - 1}):
                    yield _instead(tree, name, f"{wrong}[:, {column}]")
            elif index.dim() == 1 and indices[name].dim() == 2:
                words, _ = _instead(tree, name, wrong)
                yield words, renamed(tree, {name: parsed(f"{wrong}[:, None].expand_as({name})")})


def summed_before(tree: ast.expr, names: Names, steps: Steps) -> Changes:
    """Sum an upstream gradient before it is used, or leave it out."""
    for name, value in _read_tensors(tree, names):
        if name[:1] != "d":
            continue
        for dim in range(value.dim() if value.dim() > 1 else 0):
            wrong = f"{name}.sum({dim}, keepdim=True)"
            yield f"{name} is summed over dimension {dim} before it is used", renamed(tree, {name: parsed(wrong)})
        yield f"{name} is summed over all dimensions before it is used", renamed(tree, {name: parsed(f"{name}.sum()")})
        yield f"{name} is missing: 1 is used instead", renamed(tree, {name: parsed(f"torch.ones_like({name})")})


def other_shapes(tree: ast.expr, names: Names, steps: Steps) -> Changes:
    """Use another tensor, of another shape that fits by broadcasting."""
    for name, value in _read_tensors(tree, names):
        for wrong, tensor in _others(name, names):
            if tensor.shape != value.shape and tensor.dim() == value.dim() and _broadcasts(tensor, value):
                yield _instead(tree, name, wrong)


def rounded(tree: ast.expr, names: Names, steps: Steps) -> Changes:
    """Use a tensor that has lost precision."""
    for name, _ in _read_tensors(tree, names):
        for precision in ("float16", "bfloat16"):
            wrong = parsed(f"{name}.to(torch.{precision}).to({name})")
            yield f"{name} has been rounded to {precision}", renamed(tree, {name: wrong})


RULES: tuple[Rule, ...] = (
    other_derivatives,
    other_numbers,
    other_tensors,
    other_indices,
    summed_before,
    other_shapes,
    rounded,
)


def _read(tree: ast.expr, names: Names) -> list[str]:
    found = (node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in names)
    return list(dict.fromkeys(found))


def _read_tensors(tree: ast.expr, names: Names) -> list[tuple[str, Tensor]]:
    return [(name, names[name]) for name in _read(tree, names) if _is_real(names[name])]


def _others(name: str, names: Names) -> list[tuple[str, Tensor]]:
    return [(other, value) for other, value in names.items() if other != name and _is_real(value)]


def _instead(tree: ast.expr, name: str, wrong: str) -> tuple[str, ast.expr]:
    return f"{wrong.strip('()') if wrong[0] == '(' else wrong} is used instead of {name}", renamed(
        tree, {name: parsed(wrong)}
    )


def _is_real(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _broadcasts(a: Tensor, b: Tensor) -> bool:
    return all(1 in sizes or sizes[0] == sizes[1] for sizes in zip(a.shape[::-1], b.shape[::-1], strict=False))
