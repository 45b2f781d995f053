"""A chain for the page: its lines as text and as code, its numbers, and mistakes that its backward lines can have.

The page computes values and gradients itself, and compares them with the fingerprints of PyTorch's (`live`). If a line
uses a function that the page does not know, all numbers are PyTorch's, and so is the effect of each mistake.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from makemore_cli.backprop.chain import Chain, Stage
from makemore_cli.backprop.inputs import ChainError, dimensions
from makemore_cli.backprop.line_text import expression, line_text
from makemore_cli.backprop.step import LINE_ERRORS, Line, Step, Values, arguments, run
from makemore_cli.checks.broken_chain import broken
from makemore_cli.checks.expression_trees import plain
from makemore_cli.checks.mutations import Mutation, mutations_of, scope
from makemore_cli.checks.problem import Problem
from makemore_cli.views.page.expression_code import Code, UnsupportedError, code_of
from makemore_cli.views.page.page import encoded

MOST_MISTAKES = 8  # for each line, besides leaving it out
RIGHT = 1e-9  # the same for an expression that replaces several lines: at most
VISIBLE = 1e-3  # a mistake changes a result at least by this fraction of its largest entry
LARGEST_TRIED = 1 << 16  # numbers of a tensor in whose lines mistakes are looked for
LARGEST_EMBEDDED = 1 << 18  # numbers: gradients under mistakes, if the page can't compute them
SEED = 0


def chain_data(
    chain: Chain,
    inputs: Mapping[str, Any],
    above: Mapping[str, Tensor] | None = None,
    *,
    title: str = "",
    about: str = "",
    labels: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """The chain at some inputs, for `data.chain`.

    `above` holds the outputs' gradients; the default is 1 for each. `labels` names the places along a size, such as the
    characters for V. Raises ChainError if a line can't be run.
    """
    values = chain.forward({name: _in_float64(value) for name, value in inputs.items()})
    if above is None:
        above = {name: torch.ones_like(values[name]) for name in chain.outputs}
    above = {name: _in_float64(gradient) for name, gradient in above.items()}
    lines = _Lines(chain, values)
    problem = Problem(chain, {name: value for name, value in values.items() if name not in chain.by_name}, {}, above)
    gradients = {**above, **problem.autograd}
    data = {
        "name": chain.name,
        "title": title or chain.name,
        "about": about,
        "start": {},  # the state in which the page opens, where its address says nothing else
        "labels": {name: list(texts) for name, texts in (labels or {}).items()},
        "inputs": [_input(chain, name, values[name]) for name in [*chain.inputs, *chain.sizes_read]],
        "steps": [lines.step(one) for one in chain.steps],
        "layers": [_layer(chain, layer, lines, values, gradients) for layer in chain.layers],
        "outputs": list(chain.outputs),
        "above": {name: encoded(gradient.numpy()) for name, gradient in above.items()},
        "fingerprints": {
            name: fingerprint(tensor)
            for name, tensor in [*values.items(), *((f"d{name}", gradient) for name, gradient in gradients.items())]
            if isinstance(tensor, Tensor)
        },
        "live": lines.known,
    }
    return data if lines.known else data | _computed(chain, values, above, lines)


def fingerprint(tensor: Tensor) -> list[float | None]:
    """A weighted sum of a tensor's numbers, with a different weight for each, and their largest magnitude.

    Tensors that differ have different ones, as good as surely. None stands for what is not finite.
    """
    numbers = tensor.detach().double().flatten().numpy()
    found = float(numbers @ np.cos(np.arange(len(numbers)))), float(np.abs(numbers).max(initial=0))
    return [number if math.isfinite(number) else None for number in found]


class _Lines:
    """The lines of a chain as text and as code."""

    def __init__(self, chain: Chain, values: Values) -> None:
        self.chain, self.values = chain, values
        self.mistakes: dict[tuple[str, str], list[Mutation]] = {}
        every = [line for s in chain.steps for line in (s.forward, *s.backward.values())]
        self.known = all(_code(line) is not None for line in every)

    def step(self, step: Step) -> dict[str, Any]:
        """A step's lines, its rule, and the mistakes that fit its backward lines."""
        return {
            "name": step.name,
            "shape": _shape(self.chain, step.name),
            "rule": step.rule,
            "why": step.why,
            "forward": self.line(step.forward),
            "backward": [
                {"target": target, **self.line(line), "mistakes": self._mistakes(step, target, line)}
                for target, line in step.backward.items()
            ],
        }

    def line(self, line: Line) -> dict[str, Any]:
        text = {"text": line_text(line), "reads": list(arguments(line))}
        return text | {"code": _code(line)} if self.known else text

    def _mistakes(self, step: Step, target: str, line: Line) -> list[dict[str, Any]]:
        found = list(islice(self._tried(step, target, line), MOST_MISTAKES))
        self.mistakes[step.name, target] = found
        return [
            {"words": mutation.words, "text": ast.unparse(mutation.tree)}
            | ({"code": code_of(mutation.tree)} if self.known else {})
            for mutation in found
        ]

    def _tried(self, step: Step, target: str, line: Line) -> Iterator[Mutation]:
        """Mistakes that change the line's result visibly, each in another way, at a random upstream gradient."""
        own = self.values[step.name]
        names = {**self.values, f"d{step.name}": _random_like(own)}
        if max(value.numel() for value in names.values() if isinstance(value, Tensor)) > LARGEST_TRIED:
            names = {name: names[name] for name in (*arguments(line), step.name)}
        right = run(line, names)
        results = [right]
        negative = Mutation("the sign is wrong", ast.UnaryOp(ast.USub(), plain(expression(line))), scope(line))
        for mutation in [negative, *mutations_of(line, names, self.chain.by_name)]:
            if self.known and not _is_known(mutation.tree):
                continue
            result = mutation.value(names)
            if result is None or not result.is_floating_point() or not result.isfinite().all():
                continue
            if all(_differ(result, other) for other in results) and self._runs(step, target, mutation):
                results.append(result)
                yield mutation

    def _runs(self, step: Step, target: str, mutation: Mutation) -> bool:
        """Whether the chain accepts the line: it may read a gradient that no line of its step may read."""
        try:
            broken(self.chain, {(step.name, target): mutation})
        except ChainError:
            return False
        return True


def _computed(chain: Chain, values: Values, above: Mapping[str, Tensor], lines: _Lines) -> dict[str, Any]:
    """All numbers, for a page that can't compute them: values, gradients and their parts, and each mistake's effect."""
    right = {**above, **chain.backward(values, above)}
    parts: dict[str, list[Any]] = {}
    for step in reversed(chain.steps):
        for target, line in step.backward.items():
            names = {**values, f"d{step.name}": right.get(step.name, torch.zeros_like(values[step.name]))}
            parts.setdefault(target[1:], []).append(encoded(run(line, names).numpy()))
    budget, effects = LARGEST_EMBEDDED, {}
    for (step_name, target), mistakes in lines.mistakes.items():
        for number, mistake in enumerate([*mistakes, None]):
            effect = _effect(broken(chain, {(step_name, target): mistake}), values, above, right)
            budget -= sum(gradient.numel() for gradient in effect.values() if gradient is not None)
            if budget >= 0:
                named = {name: None if one is None else encoded(one.numpy()) for name, one in effect.items()}
                effects[f"{step_name} {target} {number if mistake else 'none'}"] = named
    return {
        "values": {name: _number_or_tensor(values[name]) for name in chain.by_name},
        "gradients": {name: encoded(gradient.numpy()) for name, gradient in right.items()},
        "parts": parts,
        "effects": effects,
    }


def _effect(
    chain: Chain, values: Values, above: Mapping[str, Tensor], right: Mapping[str, Tensor]
) -> dict[str, Tensor | None]:
    """The gradients that a broken chain computes otherwise; None for those that it no longer computes."""
    gradients: dict[str, Tensor] = {}
    for steps in range(1, 1 + sum(1 for step in chain.steps if step.backward)):
        try:
            gradients = {**above, **chain.backward(values, above, steps=steps)}
        except LINE_ERRORS:  # the lines after one with a wrong shape can't run
            break
    found: dict[str, Tensor | None] = {name: gradients.get(name) for name in right}
    return {name: one for name, one in found.items() if one is None or _differ(one, right[name], 0)}


def _layer(chain: Chain, name: str, lines: _Lines, values: Values, gradients: Mapping[str, Tensor]) -> dict[str, Any]:
    """A layer: its steps, and the backward lines that replace theirs if it is differentiated as a whole, or None."""
    steps = [chain.by_name[step] for step in chain.layers[name]]
    inside = {step.name for step in steps}
    fused: dict[str, Any] = {}
    for step in reversed(steps[:-1]):
        for target in step.backward:
            if target[1:] not in inside and target not in fused:
                found = _stage(chain, target, inside - {steps[-1].name}, values, gradients)
                if found is None:
                    return {"name": name, "steps": [step.name for step in steps], "fused": None}
                fused[target] = {"target": target, "says": found.says, **lines.line(found.line)}
    fusable = list(fused.values()) if fused else None
    return {"name": name, "steps": [step.name for step in steps], "fused": fusable}


def _stage(
    chain: Chain, target: str, inside: Container[str], values: Values, gradients: Mapping[str, Tensor]
) -> Stage | None:
    """The simplest expression of a gradient that needs no gradient from inside its layer, and is right here."""
    for stage in chain.stages:
        read = [name for name in arguments(stage.line) if name[:1] == "d" and name[1:] in chain.by_name]
        if stage.name != target or any(name[1:] in inside for name in read) or target[1:] not in gradients:
            continue
        names = {**values, **{f"d{name}": gradient for name, gradient in gradients.items()}}
        if all(name in names for name in arguments(stage.line)):
            found = run(stage.line, names)
            if found.shape == gradients[target[1:]].shape and not _differ(found, gradients[target[1:]], RIGHT):
                return stage
    return None


def _code(line: Line) -> Code | None:
    try:
        return code_of(expression(line))
    except UnsupportedError:
        return None


def _is_known(tree: ast.expr) -> bool:
    try:
        code_of(tree)
    except UnsupportedError:
        return False
    return True


def _input(chain: Chain, name: str, value: Any) -> dict[str, Any]:
    """An input or a size: its value, and whether it is real, so that a reader may change it."""
    real = isinstance(value, Tensor) and value.is_floating_point() and name not in chain.constants
    return {"name": name, "shape": _shape(chain, name), "real": real, "value": _number_or_tensor(value)}


def _shape(chain: Chain, name: str) -> list[str] | None:
    """The dimensions in symbols; None if they are not declared."""
    shape = chain.shapes.get(name)
    return None if shape is None else dimensions(shape)


def _number_or_tensor(value: Any) -> Any:
    return encoded(value.numpy()) if isinstance(value, Tensor) else value


def _in_float64(value: Any) -> Any:
    """A value on the CPU, with real numbers in float64."""
    if not isinstance(value, Tensor):
        return value
    return value.detach().cpu().double() if value.is_floating_point() else value.detach().cpu()


def _random_like(value: Tensor) -> Tensor:
    return torch.randn(value.shape, generator=torch.Generator().manual_seed(SEED), dtype=torch.float64)


def _differ(a: Tensor, b: Tensor, tolerance: float = VISIBLE) -> bool:
    """Whether two tensors differ in shape, or by more than a fraction of the larger one's largest number."""
    if a.shape != b.shape:
        return True
    scale = max(float(a.abs().max()), float(b.abs().max())) if a.numel() else 0.0
    return a.numel() > 0 and float((a - b).abs().max()) > tolerance * scale
