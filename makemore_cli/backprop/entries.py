"""Lines written out entry by entry. The line's own code runs on terms instead of numbers.

Each entry records how it was computed, so `x @ W` for a 1×3 and a 3×2 matrix gives y11 = x11·W11 + x12·W21 + x13·W31,
and its value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from makemore_cli.backprop.chain import Chain
from makemore_cli.backprop.step import LINE_ERRORS, Line, Values, arguments, run
from makemore_cli.backprop.terms import Term, as_term, number
from makemore_cli.errors import MakemoreError
from makemore_cli.scalar.tensor import NotScalarError, ScalarTensor, as_scalars


def named(name: str, values: Tensor) -> ScalarTensor:
    """A tensor of terms named after it: W11, W12, … for a matrix, b1, b2, … for a vector, and b for a number."""
    return ScalarTensor.of(values, lambda value, place: Term("name", (), value, _label(name, place, values.shape)))


def write_out(line: Line, names: Mapping[str, Any], result: str) -> list[str]:
    """A line's result entry by entry, as `y11 = x11·W11 + … = 1·2 + … = 6`.

    `names` holds the values that it reads; `result` is the name of its result. Raises NotScalarError if an
    operation can't be written out.
    """
    try:
        found = as_scalars(run(line, _with_terms(line, names)))
    except LINE_ERRORS as error:
        raise NotScalarError(f"can't be written out entry by entry: {' '.join(str(error).split())}") from None
    lines = []
    for place in np.ndindex(*found.shape):
        term = as_term(found.entries.item(place))
        label = _label(result, place, found.shape)
        steps = [term.text(), term.text(numbers=True), number(term.data)]
        lines.append(f"{label} = {' = '.join(dict.fromkeys(steps))}")
    return lines


def arrows(chain: Chain, values: Values) -> list[str]:
    """The number of later entries that directly read the first entry of each tensor, as "mu 5", if more than one."""
    counts: dict[str, int] = {}
    for step in chain.steps:
        given = _with_terms(step.forward, values)
        try:
            entries = as_scalars(run(step.forward, given)).entries
        except (MakemoreError, *LINE_ERRORS):
            return []
        for name, tensor in given.items():
            if isinstance(tensor, ScalarTensor):
                first = tensor.entries.flat[0]
                hits = sum(any(part is first for part in _within(term)) for term in entries.flat)
                counts[name] = counts.get(name, 0) + hits
    return [f"{name} {count}" for name, count in counts.items() if count > 1]


def _with_terms(line: Line, names: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a line reads, with terms in place of real numbers."""
    given = {name: names[name] for name in arguments(line)}
    return {
        name: named(name, value) if isinstance(value, Tensor) and value.is_floating_point() else value
        for name, value in given.items()
    }


def _label(name: str, place: Sequence[int], shape: Sequence[int]) -> str:
    """An entry's name, such as W12; W1_12 if the tensor's name ends with a digit."""
    apart = "," if any(size > 9 for size in shape) else ""
    at = apart.join(str(number + 1) for number in place)
    return f"{name}_{at}" if at and name[-1].isdigit() else f"{name}{at}"


def _within(term: Any) -> Iterator[Any]:
    yield term
    for part in term.parts if isinstance(term, Term) else ():
        yield from _within(part)
