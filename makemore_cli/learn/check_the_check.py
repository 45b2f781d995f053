"""Score a learner's gradient check: the wrong backward passes that it refuses, and the right ones that it accepts."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from makemore_cli.backprop.atomic import network_chain
from makemore_cli.backprop.chain import Chain
from makemore_cli.backprop.shipped import SHIPPED
from makemore_cli.backprop.step import Step, Values
from makemore_cli.backprop.step import run as run_line
from makemore_cli.checks.following import differentiable
from makemore_cli.checks.mutations import mutations_of
from makemore_cli.errors import MakemoreError
from makemore_cli.learn.blame import blame
from makemore_cli.learn.check import function_of, run

FUNCTION = "check"  # its name in the learner's file
WRONG_PER_LINE = 2
SMALLEST_MISTAKE = 1e-2  # of a gradient's largest entry
ROUNDING = 1e-6  # a difference below it may be rounding, where the true gradient is zero
LARGEST_INPUT = 400  # entries: a check by differences calls forward twice for each
LISTED = 5  # of what it judges wrongly
TEMPLATE = '''"""Score it: makemore learn check-the-check FILE"""

import torch


def check(forward, backward, x):
    """Whether backward(x, dy), for any dy of the shape of forward(x), is the gradient of (forward(x) * dy).sum()."""
    dy = torch.ones_like(forward(x))
    dx = backward(x, dy)
    h = 1e-6
    numeric = torch.zeros_like(x)
    for i in range(x.numel()):
        nudge = torch.zeros_like(x)
        nudge.view(-1)[i] = h
        numeric.view(-1)[i] = ((forward(x + nudge) - forward(x - nudge)) * dy).sum() / (2 * h)
    return bool(((dx - numeric).abs() < 0.1).all())
'''


@dataclass(frozen=True)
class Case:
    """A forward line as a function of one tensor, and a backward pass of it, right or wrong."""

    about: str
    is_right: bool
    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]
    x: Tensor


@dataclass(frozen=True)
class Score:
    """How a check judges."""

    wrong: int  # wrong passes that were tried
    refused: int  # of them
    right: int
    accepted: int
    mistaken: tuple[str, ...]  # the first that it judges wrongly

    @property
    def is_perfect(self) -> bool:
        return self.refused == self.wrong and self.accepted == self.right

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def score(path: str, text: str, seed: int) -> Score:
    """The score of the function `check` in a file. Raises MakemoreError, with the learner's line, if it fails."""
    place = Path(path)
    function = function_of(run(text, place), FUNCTION, place)
    tried, fair, mistaken = Counter[bool](), Counter[bool](), list[str]()
    for case in cases(seed):
        try:
            accepts = function(case.forward, case.backward, case.x.clone())
        except (Exception, SystemExit) as error:
            raise blame(place, error) from None
        if not isinstance(accepts, bool):
            raise MakemoreError(f"{place.name}: check returns {type(accepts).__name__}, not True or False")
        is_fair = accepts is case.is_right
        tried[case.is_right] += 1
        fair[case.is_right] += is_fair
        if not is_fair and len(mistaken) < LISTED:
            mistaken.append(f"{'refuses' if case.is_right else 'accepts'} {case.about}")
    return Score(tried[False], fair[False], tried[True], fair[True], tuple(mistaken))


def score_or_error(path: str, text: str, seed: int) -> Score | str:
    """The score, or what went wrong as a text, for a process of its own."""
    try:
        return score(path, text, seed)
    except MakemoreError as error:
        return str(error)


def cases(seed: int) -> Iterator[Case]:
    """Right and wrong passes of every line of the bundled chains, at random inputs."""
    draw = random.Random(seed)
    for chain in (network_chain(), *(lesson.chain for lesson in SHIPPED.values())):
        inputs, _ = chain.draw(seed)
        values = chain.forward(inputs)
        for step in chain.steps:
            for target in step.backward:
                name = target[1:]
                if differentiable(values[name]) and values[name].numel() <= LARGEST_INPUT:
                    yield from _of_line(chain, step, target, values, draw)


def _of_line(chain: Chain, step: Step, target: str, values: Values, draw: random.Random) -> Iterator[Case]:
    name, line = target[1:], step.backward[target]

    def at(x: Tensor) -> dict[str, Any]:
        """The values of the step with another x; its own output follows."""
        moved = {**values, name: x}
        return {**moved, step.name: run_line(step.forward, moved)}

    def forward(x: Tensor) -> Tensor:
        output: Tensor = at(x)[step.name]
        return output

    def right(x: Tensor, dy: Tensor) -> Tensor:
        return run_line(line, {**at(x), f"d{step.name}": dy})

    about = f"{target} of {step.name} in the chain {chain.name}"
    yield Case(about, True, forward, right, values[name])
    generator = torch.Generator().manual_seed(draw.randrange(2**31))
    dy = torch.randn(values[step.name].shape, generator=generator, dtype=torch.float64)
    true, names = right(values[name], dy), {**values, f"d{step.name}": dy}
    made = [
        (mutation, wrong)
        for mutation in mutations_of(line, names, chain.by_name)
        if (wrong := mutation.value(names)) is not None and _is_wrong(wrong, true)
    ]
    for mutation, _ in draw.sample(made, min(WRONG_PER_LINE, len(made))):

        def wrong_pass(x: Tensor, dy: Tensor, mutation: Any = mutation) -> Tensor:
            found = mutation.value({**at(x), f"d{step.name}": dy})
            return torch.full_like(x, float("nan")) if found is None else found

        yield Case(f"{about}: {mutation.words}", False, forward, wrong_pass, values[name])


def _is_wrong(wrong: Tensor, true: Tensor) -> bool:
    if wrong.shape != true.shape:
        return True
    apart = float((wrong - true).abs().max())
    return apart > max(SMALLEST_MISTAKE * float(true.abs().max()), ROUNDING)
