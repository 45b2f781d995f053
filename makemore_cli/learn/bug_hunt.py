"""Find the bug: a chain in which one backward line is wrong, or two that hide each other, or none.

Every task is proven before it is shown: the wrong line differs from the right one on independent random values, and its
effect on the gradients of the chain's inputs is what the level promises.
"""

from __future__ import annotations

import ast
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from makemore_cli.backprop.chain import Chain
from makemore_cli.backprop.inputs import ChainError
from makemore_cli.backprop.line_text import expression, line_text
from makemore_cli.backprop.step import LINE_ERRORS, Step, Values
from makemore_cli.backprop.step import run as run_line
from makemore_cli.checks.broken_chain import Place, broken
from makemore_cli.checks.expression_trees import compiled, plain, value_of
from makemore_cli.checks.following import with_gradients
from makemore_cli.checks.mutations import Mutation, mutations_of, negated, scope
from makemore_cli.errors import ParameterError

LEVELS = {
    1: "a slip in one line; the gradients are compared",
    2: "a slip in one line",
    3: "a mistake with which training still works",
    4: "a mistake that no loss shows, or two that hide each other",
}
PROOFS = 3  # random values on which a wrong line must differ
VISIBLE = 1e-2  # of a gradient's largest entry: a difference at least as large is a mistake
HIDDEN = 1e-9  # a difference at most as large is none
NOISE = 1e-6  # of the largest gradient: another one that is smaller, such as that of b1, is zero up to rounding
ALONG = 0.9  # least cosine between the right and the wrong gradient with which training works
SHOWN_STEPS = (6, 10)  # fewest and most steps of a long chain that are shown
PAIRS = 0.7  # the fraction of tasks of level 4 with two mistakes
ATTEMPTS = 500
USUAL = 6  # mistakes of a line to choose from, the most usual ones
LOSS_STEPS = (0, 1, 2, 5, 10, 20, 50)
RATE = 0.05  # of the descent that the loss curve shows


@dataclass(frozen=True)
class ShownLine:
    """A backward line of a task."""

    place: Place
    text: str
    is_wrong: bool


@dataclass(frozen=True)
class BugTask:
    """A chain, in which some lines may be wrong."""

    chain: Chain
    level: int
    seed: int
    shown: tuple[Step, ...]  # the steps that the learner sees
    wrong: Mapping[Place, Mutation]
    says: str  # what is wrong

    @cached_property
    def lines(self) -> tuple[ShownLine, ...]:
        """The backward lines that are shown, from the last step to the first; their numbers begin with 1."""
        return tuple(self._lines())

    def _lines(self) -> Iterator[ShownLine]:
        begun: set[str] = set()
        for step in reversed(self.shown):
            for target, line in step.backward.items():
                place = (step.name, target)
                tree = self.wrong[place].tree if place in self.wrong else plain(expression(line))
                sign = "+=" if target in begun else "="
                begun.add(target)
                yield ShownLine(place, f"{target} {sign} {ast.unparse(tree)}", place in self.wrong)

    @property
    def forward(self) -> list[str]:
        """The forward lines that are shown."""
        return [f"{step.name} = {line_text(step.forward)}" for step in self.shown]

    @property
    def answers(self) -> set[int]:
        """The numbers of the wrong lines; empty if there is none."""
        return {number for number, line in enumerate(self.lines, 1) if line.is_wrong}

    def is_right(self, answer: set[int]) -> bool:
        """Whether these numbers are those of the wrong lines; 0 stands for none."""
        return answer - {0} == self.answers

    @cached_property
    def broken(self) -> Chain:
        """The chain with the wrong lines."""
        return broken(self.chain, self.wrong)

    def comparison(self) -> list[tuple[str, float]]:
        """The gradients that are shown, from the last to the first, and how far each is off, over its largest entry."""
        values = _drawn(self.chain, 0)
        independent = _independent(self.chain, 0)
        above = {name: independent[f"d{name}"] for name in self.chain.outputs}
        ours, right = (chain.backward(values, above) for chain in (self.broken, self.chain))
        shown = {line.place[1][1:] for line in self.lines}
        least = NOISE * max(float(gradient.abs().max()) for gradient in right.values())
        return [(name, _apart(ours[name], right[name], least)) for name in right if name in shown]

    def losses(self) -> list[tuple[int, float, float]] | None:
        """Step, the loss with these lines, and that with right ones, in a descent; None if there is no loss."""
        ours, right = _descent(self.broken, self.chain), _descent(self.chain, self.chain)
        return None if ours is None or right is None else [(s, ours[s], right[s]) for s in LOSS_STEPS]

    @with_gradients
    def repairs(self, text: str, number: int) -> str | None:
        """What is wrong with an expression in place of a wrong line; None if it is right."""
        step_name, target = self.lines[number - 1].place
        right = self.chain.by_name[step_name].backward[target]
        try:
            code = compiled(ast.parse(text.strip(), mode="eval").body)
        except (SyntaxError, ValueError):
            return "it is not an expression"
        for seed in range(PROOFS):
            values = _independent(self.chain, seed)
            found = value_of(code, {**scope(right), **values})
            if found is None:
                return "it can't be evaluated with the names of the chain"
            true = run_line(right, values)
            if found.shape != true.shape:
                return f"it has the shape {tuple(found.shape)}, not {tuple(true.shape)}"
            if _apart(found, true) > 1e-6:
                return "it gives other numbers than the right line"
        return None


@with_gradients
def bug_task(chain: Chain, level: int, seed: int) -> BugTask:
    """The task of a level and a seed. Raises ParameterError if the chain has none of this level."""
    if level not in LEVELS:
        raise ParameterError("level", f"must be from 1 to {max(LEVELS)}, got {level}")
    draw = random.Random(f"{chain.name} {level} {seed}")
    for _ in range(ATTEMPTS if _has_tasks(chain, level) else 0):
        shown = _window(chain, draw)
        places = [(step.name, target) for step in shown for target in step.backward]
        if draw.random() < 1 / (len(places) + 1):
            return BugTask(chain, level, seed, shown, {}, "no line is wrong")
        if level == 4 and draw.random() < PAIRS:
            if found := _pair(chain, shown, draw):
                return BugTask(chain, level, seed, shown, *found)
            continue
        place = draw.choice(places)
        made = list(islice(_mutations(chain, place, level), USUAL))
        if made:
            mutation = draw.choice(made)
            name = place[1]
            return BugTask(chain, level, seed, shown, {place: mutation}, f"{name}: {mutation.words}")
    raise ParameterError("level", f"{level} has no task for {chain.name}; choose another level or chain")


@cache
def _has_tasks(chain: Chain, level: int) -> bool:
    """Whether any line, or pair of lines, can be wrong at a level. If not, "no line is wrong" would be no answer."""
    steps = tuple(step for step in chain.steps if step.backward)
    if level == 4 and _pair(chain, steps, random.Random(0)):
        return True
    return any(
        True for step in steps for target in step.backward for _ in _mutations(chain, (step.name, target), level)
    )


def _window(chain: Chain, draw: random.Random) -> tuple[Step, ...]:
    """Some consecutive steps of a long chain, so that a line's number says nothing."""
    steps = [step for step in chain.steps if step.backward]
    fewest, most = SHOWN_STEPS
    if len(steps) <= most:
        return tuple(steps)
    length = draw.randint(fewest, most)
    start = draw.randint(0, len(steps) - length)
    return tuple(steps[start : start + length])


def _mutations(chain: Chain, place: Place, level: int) -> Iterator[Mutation]:
    """The mistakes in a line that fit a level."""
    step = chain.by_name[place[0]]
    line = step.backward[place[1]]
    values = [_readable(chain, step, seed) for seed in range(PROOFS)]
    right = [run_line(line, one) for one in values]
    for mutation in mutations_of(line, values[0], chain.by_name):
        wrong = [mutation.value(one) for one in values]
        if any(w is None or w.shape != r.shape or _apart(w, r) < VISIBLE for w, r in zip(wrong, right, strict=True)):
            continue
        if _fits(chain, {place: mutation}, level):
            yield mutation


def _fits(chain: Chain, wrong: Mapping[Place, Mutation], level: int) -> bool:
    """Whether the effect of wrong lines on the gradients of the inputs is what the level promises."""
    try:
        wrong_chain = broken(chain, wrong)
    except ChainError:  # it reads what no line of this step may read
        return False
    for seed in range(PROOFS):
        right = _of_inputs(chain, chain, seed)
        try:
            ours = _of_inputs(wrong_chain, chain, seed)
        except LINE_ERRORS:
            return False
        least = NOISE * max(float(gradient.abs().max()) for gradient in right.values())
        apart = max(_apart(ours[name], right[name], least) for name in right)
        if level == 4:
            if apart > HIDDEN:
                return False
            continue
        if apart < VISIBLE:
            return False
        if level == 3 and _cosine(ours, right) < ALONG:
            return False
    losses = _descent(wrong_chain, chain) if level == 3 else None
    return losses is None or (losses[-1] < losses[0] and all(map(math.isfinite, losses)))


def _pair(chain: Chain, shown: tuple[Step, ...], draw: random.Random) -> tuple[dict[Place, Mutation], str] | None:
    """Two wrong signs that hide each other: of a tensor with one reader, and of the only line of its own step."""
    candidates = []
    for step in shown:
        readers = [s for s in chain.steps if f"d{step.name}" in s.backward]
        if len(readers) == 1 and readers[0] in shown and len(step.backward) == 1:
            (target,) = step.backward
            candidates.append([(readers[0].name, f"d{step.name}"), (step.name, target)])
    if not candidates:
        return None
    first, second = draw.choice(candidates)
    wrong = {place: negated(chain.by_name[place[0]].backward[place[1]]) for place in (first, second)}
    if not _fits(chain, wrong, 4):
        return None
    return wrong, f"{first[1]} and {second[1]} both have the wrong sign, and the two hide each other"


@cache
def _drawn(chain: Chain, seed: int) -> Values:
    values, _ = chain.draw(seed)
    return chain.forward(values)


@cache
def _independent(chain: Chain, seed: int) -> dict[str, Any]:
    """Forward values, and random gradients that do not follow from each other."""
    values = dict(_drawn(chain, seed))
    generator = torch.Generator().manual_seed(seed)
    for step in chain.steps:
        if isinstance(values[step.name], Tensor):
            values[f"d{step.name}"] = torch.randn(values[step.name].shape, generator=generator, dtype=torch.float64)
    return values


def _readable(chain: Chain, step: Step, seed: int) -> dict[str, Any]:
    """What a backward line of a step can read: forward values, and the step's own gradient."""
    values, own = _independent(chain, seed), f"d{step.name}"
    others = {f"d{s.name}" for s in chain.steps} - {own}
    return {name: value for name, value in values.items() if name not in others}


def _of_inputs(chain: Chain, original: Chain, seed: int) -> dict[str, Tensor]:
    """The gradients of the inputs, on consistent values."""
    values = _drawn(original, seed)
    independent = _independent(original, seed)
    above = {name: independent[f"d{name}"] for name in original.outputs if f"d{name}" in independent}
    gradients = chain.backward(values, above)
    return {name: gradient for name, gradient in gradients.items() if name in chain.inputs}


def _descent(chain: Chain, original: Chain) -> list[float] | None:
    """The losses of a descent on one set of inputs; None if the chain does not end in a single number."""
    values = {name: value for name, value in _drawn(original, 0).items() if name not in original.by_name}
    losses = []
    for _ in range(max(LOSS_STEPS) + 1):
        forward = original.forward(values)
        (*_, last) = original.outputs
        if len(original.outputs) > 1 or forward[last].dim():
            return None
        losses.append(float(forward[last]))
        gradients = chain.backward(forward)
        values = {
            name: value - RATE * gradients[name] if name in gradients else value for name, value in values.items()
        }
    return losses


def _apart(ours: Tensor, right: Tensor, least: float = 1e-12) -> float:
    """The largest difference over the largest entry, or over `least` if that is larger."""
    if ours.shape != right.shape or not bool(ours.isfinite().all()):
        return float("inf")
    return float((ours - right).abs().max()) / max(float(right.abs().max()), least)


def _cosine(ours: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> float:
    a, b = (torch.cat([found[name].flatten() for name in right]) for found in (ours, right))
    return float(a @ b / (a.norm() * b.norm()).clamp_min(1e-300))
