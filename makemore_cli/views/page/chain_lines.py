"""The lines of a chain for the page: as text and as code, with mistakes that backward lines can have."""

from __future__ import annotations

import ast
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from makemore_cli.backprop.chain import Chain, Stage
from makemore_cli.backprop.inputs import ChainError, dimensions
from makemore_cli.backprop.line_text import expression, line_text
from makemore_cli.backprop.step import Line, Step, Values, arguments, run
from makemore_cli.checks.broken_chain import Place, broken
from makemore_cli.checks.mutations import Mutation, mutations_of, negated
from makemore_cli.views.page.expression_code import Code, UnsupportedError, code_of

# Mistakes that nobody makes: a function of another tensor in place of this one.
FAR_FETCHED = re.compile(r"\.(softmax|log_softmax|sigmoid|tanh|exp|abs)\(")
MOST_MISTAKES = 8  # for each line, besides leaving it out
RIGHT = 1e-9  # an expression that replaces several lines differs by at most this fraction of its largest number
VISIBLE = 1e-3  # a mistake changes a result at least by this fraction of its largest number
LARGEST_TRIED = 1 << 18  # numbers of a result; the lines of larger ones have no mistakes to try
LARGEST_READ = 1 << 16  # numbers of a tensor; if there are larger ones, mistakes use no tensor that is not the line's
SEED = 0


class ChainLines:
    """The lines of a chain as text and, if the page can run all of them (`are_known`), as code."""

    def __init__(self, chain: Chain, values: Values) -> None:
        """`values` are those of all tensors, in float64."""
        self.chain, self.values = chain, values
        self.mistakes: dict[Place, list[Mutation]] = {}  # by step and gradient
        every = [line for s in chain.steps for line in (s.forward, *s.backward.values())]
        plain = all(map(_is_plain, values.values()))
        self.are_known = plain and all(_code(expression(line)) is not None for line in every)

    def shape(self, name: str) -> list[str] | None:
        """The dimensions of a tensor in symbols; None if they are not declared."""
        shape = self.chain.shapes.get(name)
        return None if shape is None else dimensions(shape)

    def step(self, step: Step) -> dict[str, Any]:
        """A step's lines, its rule, and mistakes that fit its backward lines."""
        backward = []
        for target, line in step.backward.items():
            self.mistakes[step.name, target] = found = self._mistakes(step, target, line)
            backward.append({"target": target, **self._line(line), "mistakes": list(map(self._mistake, found))})
        return {
            "name": step.name,
            "shape": self.shape(step.name),
            "rule": step.rule,
            "why": step.why,
            "forward": self._line(step.forward),
            "backward": backward,
        }

    def layer(
        self, name: str, gradients: Mapping[str, Tensor], derivations: Sequence[Sequence[Stage]]
    ) -> dict[str, Any]:
        """A layer: its steps, and the lines that replace theirs if it is differentiated as a whole, or None."""
        steps = [self.chain.by_name[step] for step in self.chain.layers[name]]
        *inner, last = steps
        inside = {step.name for step in inner}
        fused: dict[str, dict[str, Any]] = {}
        for step in reversed(inner):
            for target in step.backward:
                if target[1:] in inside or target in fused:
                    continue
                stage = self._stage(target, inside, gradients)
                if stage is None:
                    return {"name": name, "steps": [step.name for step in steps], "fused": None}
                way = next((stages for stages in derivations if stage in stages), ())
                fused[target] = {
                    "target": target,
                    "says": stage.says,
                    **self._line(stage.line),
                    "mistakes": list(map(self._mistake, self._mistakes(last, target, stage.line))),
                    "derivation": [{"says": one.says, "text": f"{one.name} = {line_text(one.line)}"} for one in way],
                }
        return {"name": name, "steps": [step.name for step in steps], "fused": list(fused.values()) or None}

    def _stage(self, target: str, inside: Container[str], gradients: Mapping[str, Tensor]) -> Stage | None:
        """The simplest expression of a gradient that needs no gradient from inside its layer, and is right here."""
        names = {**self.values, **{f"d{name}": gradient for name, gradient in gradients.items()}}
        for stage in self.chain.stages if self.are_known and target in names else ():
            read = arguments(stage.line)
            if stage.name != target or not all(name in names for name in read) or _code(expression(stage.line)) is None:
                continue
            if any(name[:1] == "d" and name[1:] in inside for name in read):
                continue
            if not differ(run(stage.line, names), names[target], RIGHT):
                return stage
        return None

    def _line(self, line: Line) -> dict[str, Any]:
        text = {"text": line_text(line), "reads": list(arguments(line))}
        return text | {"code": code_of(expression(line))} if self.are_known else text

    def _mistake(self, mutation: Mutation) -> dict[str, Any]:
        text = {"words": mutation.words, "text": ast.unparse(mutation.tree)}
        return text | {"code": code_of(mutation.tree)} if self.are_known else text

    def _mistakes(self, step: Step, target: str, line: Line) -> list[Mutation]:
        return list(islice(self._tried(step, target, line), MOST_MISTAKES))

    def _tried(self, step: Step, target: str, line: Line) -> Iterator[Mutation]:
        """Mistakes that change the line's result visibly, each in another way, at a random upstream gradient."""
        names = {**self.values, f"d{step.name}": _random_like(self.values[step.name])}
        if max(value.numel() for value in names.values() if isinstance(value, Tensor)) > LARGEST_READ:
            names = {name: names[name] for name in (*arguments(line), step.name)}
        right = run(line, names)
        if right.numel() > LARGEST_TRIED:
            return
        results, told = [right], set[str]()
        for mutation in (negated(line), *mutations_of(line, names, self.chain.by_name)):
            if mutation.words in told or FAR_FETCHED.search(mutation.words):
                continue
            if (self.are_known and _code(mutation.tree) is None) or not self._is_accepted(step, target, mutation):
                continue
            result = mutation.value(names)
            if result is None or not result.is_floating_point() or not result.isfinite().all():
                continue
            if all(differ(result, other, VISIBLE) for other in results):
                results.append(result)
                told.add(mutation.words)
                yield mutation

    def _is_accepted(self, step: Step, target: str, mutation: Mutation) -> bool:
        """Whether the chain accepts the line: it may read a gradient that no line of its step may read."""
        try:
            broken(self.chain, {(step.name, target): mutation})
        except ChainError:
            return False
        return True


def differ(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """Whether two tensors differ in shape, or by more than a fraction of the larger one's largest number."""
    if a.shape != b.shape:
        return True
    scale = max(float(a.abs().max()), float(b.abs().max())) if a.numel() else 0.0
    return a.numel() > 0 and float((a - b).abs().max()) > tolerance * scale


def _code(tree: ast.expr) -> Code | None:
    try:
        return code_of(tree)
    except UnsupportedError:
        return None


def _is_plain(value: Any) -> bool:
    """Whether the page can compute with a value: a number, or a tensor of real numbers or whole numbers below 2⁵³."""
    if not isinstance(value, Tensor):
        return isinstance(value, int | float)
    return value.dtype == torch.float64 or (value.dtype == torch.int64 and not bool((value.abs() >= 2**53).any()))


def _random_like(value: Tensor) -> Tensor:
    return torch.randn(value.shape, generator=torch.Generator().manual_seed(SEED), dtype=torch.float64)
