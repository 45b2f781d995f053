"""A chain for the page: its lines, its numbers, and what its gradients are by PyTorch.

The page computes values and gradients itself, and compares them with the fingerprints of PyTorch's (`live`). If a line
uses a function that the page does not know, all numbers are PyTorch's, and so is the effect of each mistake.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from makemore_cli.backprop.chain import Chain, Stage
from makemore_cli.backprop.inputs import ChainError
from makemore_cli.backprop.step import LINE_ERRORS, Values, run
from makemore_cli.checks.broken_chain import broken
from makemore_cli.checks.following import differentiable
from makemore_cli.checks.problem import Problem, converted
from makemore_cli.views.page.chain_lines import ChainLines, differ
from makemore_cli.views.page.page import encoded

LARGEST_CHAIN = 1 << 23  # numbers in all tensors of a chain that the page computes
LARGEST_EMBEDDED_CHAIN = 1 << 20  # the same if the page can't compute them
LARGEST_EFFECTS = 1 << 18  # numbers of gradients under mistakes, if the page can't compute them


def chain_data(
    chain: Chain,
    inputs: Mapping[str, Any],
    above: Mapping[str, Tensor] | None = None,
    *,
    title: str = "",
    about: str = "",
    legend: str = "",
    labels: Mapping[str, Sequence[str]] | None = None,
    derivations: Iterable[Sequence[Stage]] = (),
) -> dict[str, Any]:
    """The chain at some inputs, for `data.chain`.

    `above` holds the outputs' gradients; the default is 1 for each. `legend` explains the sizes. `labels` names the
    indices of a size, for example the characters for V. `derivations` show how its single expressions follow.
    Raises ChainError if a line can't be run, or if there is too much for a page.
    """
    cpu = torch.device("cpu")
    values = chain.forward(converted(inputs, torch.float64, cpu))
    lines = ChainLines(chain, values)
    _check(chain, values, LARGEST_CHAIN if lines.are_known else LARGEST_EMBEDDED_CHAIN)
    if above is None:
        above = {name: torch.ones_like(values[name]) for name in chain.outputs}
    above = converted(above, torch.float64, cpu)
    problem = Problem(chain, {name: value for name, value in values.items() if name not in chain.by_name}, {}, above)
    try:
        gradients = {**above, **chain.backward(values, above)}
    except LINE_ERRORS as error:
        raise ChainError(f"{chain.name}: a backward line can't be run: {' '.join(str(error).split())}") from error
    named = {**values, **{f"d{name}": gradient for name, gradient in gradients.items()}}
    ways = tuple(derivations)
    data = {
        "name": chain.name,
        "title": title or chain.name,
        "about": about,
        "legend": legend,
        "start": {"step": 0},  # the state in which the page opens, if its address has none
        "labels": {name: list(texts) for name, texts in (labels or {}).items()},
        "inputs": [
            {
                "name": name,
                "shape": lines.shape(name),
                "real": differentiable(inputs[name]) and name not in chain.constants,
                "value": _encoded_value(inputs[name]),
            }
            for name in [*chain.inputs, *chain.sizes_read]
        ],
        "steps": [lines.step(one) for one in chain.steps],
        "layers": [lines.layer(layer, gradients, ways) for layer in chain.layers],
        "outputs": list(chain.outputs),
        "above": {name: encoded(gradient.numpy()) for name, gradient in above.items()},
        "fingerprints": {name: fingerprint(one) for name, one in named.items() if isinstance(one, Tensor)},
        "wrong": [
            name
            for name, gradient in problem.autograd.items()
            if name in gradients and not problem.compare(name, gradients[name], gradient, problem.tolerance).close
        ],
        "live": lines.are_known,
    }
    return data if lines.are_known else data | _numbers(lines, above, gradients)


def fingerprint(tensor: Tensor) -> list[Any]:
    """A tensor's shape, a weighted sum of its numbers, with a different weight for each, and their largest magnitude.

    Different tensors almost certainly have different fingerprints. None stands for what is not finite.
    """
    numbers = tensor.detach().double().flatten().numpy()
    found = float(numbers @ np.cos(np.arange(len(numbers)))), float(np.abs(numbers).max(initial=0))
    return [list(tensor.shape), *(number if math.isfinite(number) else None for number in found)]


def _check(chain: Chain, values: Values, most: int) -> None:
    tensors = [value for value in values.values() if isinstance(value, Tensor)]
    if any(tensor.is_complex() for tensor in tensors):
        raise ChainError(f"{chain.name}: a page can't show complex numbers")
    total = sum(tensor.numel() for tensor in tensors)
    if total > most:
        raise ChainError(f"{chain.name}: has {total:,} numbers, but a page shows at most {most:,}; give smaller sizes")


def _numbers(lines: ChainLines, above: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> dict[str, Any]:
    """Values, gradients and their parts, and the effects of mistakes, as far as there is room."""
    chain, values = lines.chain, lines.values
    parts: dict[str, list[Any]] = {}
    for step in reversed(chain.steps):
        for target, line in step.backward.items():
            names = {**values, f"d{step.name}": gradients.get(step.name, torch.zeros_like(values[step.name]))}
            parts.setdefault(target[1:], []).append(encoded(run(line, names).numpy()))
    room, effects = LARGEST_EFFECTS, {}
    for (step_name, target), mistakes in lines.mistakes.items():
        for number, mistake in enumerate([*mistakes, None]):
            effect = _effect(broken(chain, {(step_name, target): mistake}), values, above, gradients)
            room -= sum(gradient.numel() for gradient in effect.values() if gradient is not None)
            if room >= 0:
                named = {name: None if one is None else encoded(one.numpy()) for name, one in effect.items()}
                effects[f"{step_name} {target} {number if mistake else 'none'}"] = named
    return {
        "values": {name: _encoded_value(values[name]) for name in chain.by_name},
        "gradients": {name: encoded(gradient.numpy()) for name, gradient in gradients.items()},
        "parts": parts,
        "effects": effects,
    }


def _effect(
    chain: Chain, values: Values, above: Mapping[str, Tensor], right: Mapping[str, Tensor]
) -> dict[str, Tensor | None]:
    """The gradients that a broken chain computes otherwise; None for those that it no longer computes."""
    gradients: dict[str, Tensor] = {}
    last = sum(1 for step in chain.steps if step.backward)
    for steps in (last, *range(1, last)):  # all, or as many as can be run: a line after one of a wrong shape may not
        try:
            gradients = {**above, **chain.backward(values, above, steps=steps)}
        except LINE_ERRORS:
            if steps < last:
                break
        else:
            if steps == last:
                break
    found: dict[str, Tensor | None] = {name: gradients.get(name) for name in right}
    return {name: one for name, one in found.items() if one is None or differ(one, right[name], 0)}


def _encoded_value(value: Any) -> Any:
    """A tensor, a number, or the text of anything else that a line may read."""
    if isinstance(value, Tensor):
        return encoded(value.detach().cpu().numpy())
    if isinstance(value, float) and not math.isfinite(value):
        return {"number": str(value).replace("inf", "Infinity")}
    return value if isinstance(value, int | float) else str(value)
