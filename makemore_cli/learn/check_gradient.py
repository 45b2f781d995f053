"""Check an exercise on one gradient of a chain, with gradcheck's own comparison and diagnosis."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from makemore_cli.backprop.chain import Chain
from makemore_cli.backprop.inputs import ChainError
from makemore_cli.backprop.step import run as run_line
from makemore_cli.checks.check_chain import find
from makemore_cli.checks.compare import compare, largest
from makemore_cli.checks.diagnose import diagnose_user
from makemore_cli.checks.following import follow
from makemore_cli.checks.in_float64 import in_precision
from makemore_cli.errors import MakemoreError
from makemore_cli.learn.check import TRIALS, function_of, in_place, typical, watched_call
from makemore_cli.learn.course import Course
from makemore_cli.learn.exercise import Exercise
from makemore_cli.learn.gradient_source import names, readers
from makemore_cli.learn.verdict import Verdict, sentence

NEAR = 1e-9  # of the gradient's largest entry, in float64
LEFT = 1e-5  # of the error, that an explanation may leave: a learner's own tensors may be in float32


def check_gradient(course: Course, exercise: Exercise, module: ModuleType, path: Path, seed: int) -> Verdict:
    """The verdict on a function that computes one gradient of a chain, on random forward values of random sizes.

    The gradients of the steps that read the tensor are random, and do not follow from each other, so that no gradient
    is zero as a whole.
    """
    chain, tensor = find(course.chain_name(exercise.entry)), exercise.entry.check.gradient or ""
    assert isinstance(chain, Chain)
    given = names(chain, tensor)
    function = function_of(module, f"d{tensor}", path)
    trials, got, first = [], [], None
    with in_precision(torch.float64):
        for trial in range(TRIALS):
            values, sizes = drawn(chain, tensor, seed + trial)
            arguments = [values[name] for name in given]
            try:
                ours, changed = watched_call(function, arguments, path)
            except MakemoreError as error:
                about_sizes = re.search(r"shape|size|dimension", str(error))
                told = (str(error), _told(sizes)) if about_sizes else (str(error),)
                return Verdict(exercise.name, "failed", told)
            true = sum((run_line(s.backward[f"d{tensor}"], values) for s in readers(chain, tensor)), torch.tensor(0.0))
            trials.append(arguments)
            got.append(ours)
            comparison = compare(tensor, ours, true, largest(true.abs()), NEAR)
            if first is None and not comparison.close:
                first = comparison, values, sizes, ours
            if changed:
                return Verdict(exercise.name, "wrong", (in_place(f"d{tensor}", changed),), diagnosed=True)
        if first is None:
            return Verdict(exercise.name, "solved")
        comparison, values, sizes, ours = first
        why = typical(exercise, f"d{tensor}", trials, got, path) or _diagnosis(chain, tensor, values, sizes, ours)
    if first[3] is None:
        fault, why = f"d{tensor} returns nothing (None)", "Is the return missing?"
    elif comparison.fault:
        fault = f"d{tensor}: {comparison.fault}"
    else:
        at = f"[{', '.join(map(str, comparison.worst))}]"
        numbers = f"yours is {comparison.ours:.6g}, the true one {comparison.theirs:.6g}"
        fault = f"d{tensor} is furthest off at {at}: {numbers}"
    says = (fault,) if why is None else (fault, why)
    return Verdict(exercise.name, "wrong", tuple(map(sentence, says)), diagnosed=why is not None)


def drawn(chain: Chain, tensor: str, seed: int) -> tuple[dict[str, Any], Any]:
    """Forward values at random inputs of random sizes, and random gradients of the steps that read the tensor."""
    inputs, sizes = _draw(chain, seed)
    values = chain.forward(inputs)
    generator = torch.Generator().manual_seed(seed)
    for s in readers(chain, tensor):
        values[f"d{s.name}"] = torch.randn(values[s.name].shape, generator=generator, dtype=torch.float64)
    return values, sizes


def _draw(chain: Chain, seed: int) -> tuple[dict[str, Any], Any]:
    """Random inputs, of sizes n that can be told from each other, from n - 1 and from 2, if the chain allows them."""
    free = [size for size in chain.sizes if size not in chain.bounds]
    apart = random.Random(seed).sample(range(6, 2 * len(free) + 8, 2), len(free))
    try:
        return chain.draw(seed, dict(zip(free, apart, strict=True)))
    except ChainError:
        return chain.draw(seed)


def _told(sizes: Mapping[str, int]) -> str:
    return f"In this call {', '.join(f'{name} = {size}' for name, size in sizes.items())}."


def _diagnosis(chain: Chain, tensor: str, values: dict[str, Any], sizes: Any, ours: Any) -> str | None:
    """Gradcheck's explanation, for a dense real tensor."""
    if not isinstance(ours, Tensor) or not ours.is_floating_point():
        return None
    given = {s.name: values[f"d{s.name}"] for s in readers(chain, tensor)}
    above = {name: given.get(name, torch.zeros_like(values[name])) for name in chain.outputs}
    forward = {name: value for name, value in values.items() if name in chain.by_name or name in chain.inputs}
    forward |= {name: values[name] for name in chain.sizes_read}
    following = follow(forward, {**given, tensor: ours}, chain, above)
    # The learner's own line is in view, so no code is told.
    return diagnose_user(following, tensor, ours, sizes, left=LEFT, with_code=False)
