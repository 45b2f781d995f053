"""Checks each backward line of a chain by itself, so that the wrong one is named and not those that inherit its error.

Each line gets the forward values of a real batch and a *random* upstream gradient. The witness is autograd's
vector-Jacobian product of that one step. This shows even errors that no loss can show because the true gradient is
zero, as in the branch through logit_maxes. Then the line gets forward values that don't follow from each other, where
terms that cancel on a real batch do not cancel. A line is right or wrong whatever the precision, so it is tried in
float64, where rounding hides no mistake.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from makemore_cli.backprop.chain import Chain
from makemore_cli.backprop.line_text import expression, place
from makemore_cli.backprop.step import LINE_ERRORS, Line, Step, Values, arguments, failure, run
from makemore_cli.checks import sources
from makemore_cli.checks.compare import Comparison, compare, impossible, largest
from makemore_cli.checks.diagnose import diagnose
from makemore_cli.checks.following import differentiable, vjp
from makemore_cli.checks.kinks import Slopes, right_at_kinks
from makemore_cli.checks.mutations import scope
from makemore_cli.checks.problem import Problem, inconsistent
from makemore_cli.checks.repairs import repaired
from makemore_cli.checks.rounding import DELTA, USUAL
from makemore_cli.checks.user import changed

SEED = 0
DRAWS = 4  # number of random roundings
WIDEST = 64  # largest dimension along which a Jacobian's diagonal is computed


@dataclass(frozen=True)
class LineCheck:
    """The verdict on one backward line: the contribution of `step` to the gradient of `comparison.tensor`."""

    step: str
    comparison: Comparison
    diagnosis: str | None  # if it is wrong
    kink: bool = False  # whether it takes another slope than autograd at a kink
    place: str = ""  # file, line number and text, if it is wrong and a user's


def check_lines(problem: Problem, *, chain: Chain | None = None) -> list[LineCheck]:
    """Check every backward line of the chain with a random upstream gradient, from the outputs down.

    A missing line counts as wrong if its input needs a gradient.
    """
    chain = chain or problem.chain
    values = chain.forward(problem.in_float64.inputs)
    generator = torch.Generator().manual_seed(SEED)
    # At these other inputs nothing is saturated, and no gain is 1.
    elsewhere = chain.forward(problem.in_float64.elsewhere.inputs)
    others = Values(inconsistent(elsewhere))
    followed = sources.with_leaves(problem.in_float64)
    checks = []
    for step in reversed(chain.steps):
        if not differentiable(values[step.name]):
            continue
        tolerance = problem.in_float64.tolerance
        here = _Trial(step, values, _above(values[step.name], generator), tolerance)
        apart = _apart(here, others)
        together = _Trial(step, elsewhere, here.above, tolerance)
        for name in here.truth:
            line = step.backward.get(f"d{name}")
            if line is None and not (followed[name].requires_grad and bool(here.truth[name].any())):
                continue
            trials = [here]
            if line is not None and together.output.shape == here.output.shape:
                trials.append(apart if apart is not None and _is_local(line, step, values) else together)
            checks.append(_check(problem, step, name, trials))
    return checks


@dataclass(eq=False)
class _Trial:
    """A step at some forward values, with an upstream gradient."""

    step: Step
    values: Values
    above: Tensor
    tolerance: float
    kinks: set[str] = field(default_factory=set)  # inputs whose line takes another slope at a kink than autograd

    @property
    def output(self) -> Tensor:
        output: Tensor = self.values[self.step.name]
        return output

    @property
    def names(self) -> Values:
        """What a backward line may read."""
        return {**self.values, f"d{self.step.name}": self.above}

    @cached_property
    def truth(self) -> dict[str, Tensor]:
        return vjp(self.step, self.values, self.above)

    def compare(self, name: str, line: Line | None) -> Comparison:
        """Compare a line's result with autograd's."""
        theirs = self.truth[name]
        if line is None:
            return compare(name, None, theirs, largest(theirs.abs()), 0.0)
        names = {k: v.clone() if isinstance(v, Tensor) else v for k, v in self.names.items()}
        try:
            ours: Tensor | None = run(line, names)
        except LINE_ERRORS as error:
            return impossible(name, theirs, failure("it", line, self.names, error))
        if ours is None and not theirs.any():
            ours = theirs
        for argument in arguments(line):
            if changed(names[argument], self.names[argument]):
                return impossible(name, theirs, f"it changes {argument} in place: work on a copy")
        known = theirs.isfinite()
        comparison = compare(name, ours, theirs, largest(theirs.abs()), self.tolerance, known)
        if comparison.close or comparison.fault:
            return comparison
        comparison = compare(name, ours, theirs, self.scales[name], self.tolerance, known)
        if comparison.close or ours is None:
            return comparison
        slopes = Slopes(self.step, self.values, self.above)
        at_kinks = right_at_kinks(ours, slopes.low[name], slopes.high[name])
        if at_kinks.any():
            self.kinks.add(name)
            known &= ~at_kinks
        return compare(name, ours, theirs, largest(theirs.abs()), self.tolerance, known)

    @cached_property
    def scales(self) -> dict[str, float]:
        """The size of each input's gradient, or the effect of rounding on it if that is larger."""
        generator = torch.Generator().manual_seed(SEED)

        def rounded(value: Tensor) -> Tensor:
            sign = torch.randint(0, 2, value.shape, generator=generator, dtype=value.dtype) * 2 - 1
            return value * (1 + DELTA * sign.to(value))

        moved = dict.fromkeys(self.truth, 0.0)
        for _ in range(DRAWS):
            values = {k: rounded(v) if differentiable(v) else v for k, v in self.values.items()}
            try:
                others = vjp(self.step, values, rounded(self.above))
            except LINE_ERRORS:  # a line may reject them: a symmetric matrix becomes asymmetric
                continue
            for name, other in others.items():
                moved[name] = max(moved[name], largest((other - self.truth[name]).abs()) / DELTA)
        return {name: max(largest(truth.abs()), moved[name] / USUAL) for name, truth in self.truth.items()}


def _apart(here: _Trial, values: Values) -> _Trial | None:
    """The step at values that don't follow from each other; None if it can't be run on them."""
    try:
        output = run(here.step.forward, values)
    except LINE_ERRORS:
        return None
    if output.shape != here.output.shape or not output.isfinite().all():
        return None
    return _Trial(here.step, {**values, here.step.name: output}, here.above, here.tolerance)


def _check(problem: Problem, step: Step, name: str, trials: list[_Trial]) -> LineCheck:
    line = step.backward.get(f"d{name}")
    comparisons = [trial.compare(name, line) for trial in trials]
    wrong = [at for at, comparison in enumerate(comparisons) if not comparison.close]
    if not wrong or line is None:
        kink = any(name in trial.kinks for trial in trials)
        return LineCheck(step.name, comparisons[wrong[0] if wrong else 0], None, kink)
    trial, comparison = trials[wrong[0]], comparisons[wrong[0]]
    return LineCheck(step.name, comparison, _diagnosis(problem, line, comparison, trial, trials), place=place(line))


def _diagnosis(problem: Problem, line: Line, comparison: Comparison, trial: _Trial, trials: list[_Trial]) -> str | None:
    name, told = comparison.tensor, None
    try:
        ours = run(line, {k: v.clone() if isinstance(v, Tensor) else v for k, v in trial.names.items()})
    except LINE_ERRORS:
        ours = None
    if isinstance(ours, Tensor) and ours.is_floating_point():
        step, theirs = trial.step, trial.truth[name]
        mistakes = {f"d{step.name} is passed on unchanged: the local derivative is missing": trial.above}
        if "eps" in arguments(step.forward):
            without_eps = vjp(step, {**trial.values, "eps": 0.0}, trial.above)[name]
            mistakes = {"epsilon is forgotten": without_eps} | mistakes
        told = diagnose(ours, theirs, problem.counts, mistakes)
    if told is not None and not told.startswith(VAGUE):
        return told
    if f"d{trial.step.name}" not in arguments(line):
        return f"it does not read d{trial.step.name}, the upstream gradient"
    better = _repaired(problem, line, name, trials, comparison.relative)
    if better is None and told is None and ours is not None:
        better = _diagonal(ours, name, trial, problem)
    return better or told


# The beginnings of diagnoses that say less than a repaired line.
VAGUE = ("every entry is ", "its shape is", "each of its entries", "its true value is zero")


def _repaired(problem: Problem, line: Line, name: str, trials: list[_Trial], error: float) -> str | None:
    step = trials[0].step
    read = {*arguments(line), *arguments(step.forward), step.name, f"d{step.name}"}
    names = {k: v for k, v in trials[0].names.items() if k in read or not isinstance(v, Tensor)}
    own = getattr(line, "own", None)
    if own is not None and own.tree is not None:  # an autograd function, which has variables of its own
        try:
            tried = [(own.variables(trial.names), trial.truth[name]) for trial in trials]
        except LINE_ERRORS:
            return None
        variables = {k: v for k, v in tried[0][0].items() if isinstance(v, Tensor | int | float)}
        return repaired(own.tree, variables, name, tried, error)
    around = {**scope(line), **problem.sizes}
    tried = [(around | trial.names, trial.truth[name]) for trial in trials]
    return repaired(expression(line), {**problem.sizes, **names}, name, tried, error)


def _diagonal(ours: Tensor, name: str, trial: _Trial, problem: Problem) -> str | None:
    """The diagnosis if only a Jacobian's diagonal is used: each entry's effect on itself, not on the others."""
    step, truth = trial.step, trial.truth[name]
    mistakes = {}
    for dim in range(truth.dim()) if truth.shape == trial.above.shape else ():
        if 1 < truth.shape[dim] <= WIDEST:
            alone = torch.zeros_like(truth)
            for at in range(truth.shape[dim]):
                mask = torch.zeros_like(truth).index_fill(dim, torch.tensor(at, device=truth.device), 1)
                alone += vjp(step, trial.values, trial.above * mask)[name] * mask
            mistakes[
                f"only the diagonal of the Jacobian is used: an entry of {name} also changes other entries of "
                f"{step.name} along dimension {dim}"
            ] = alone
    return diagnose(ours, truth, problem.counts, mistakes)


def _is_local(line: Line, step: Step, values: Values) -> bool:
    """Whether a line reads only its own step's inputs and output, so that it can't rely on any other value."""
    own = {*arguments(step.forward), step.name, f"d{step.name}"}
    return all(name in own or not differentiable(values[name]) for name in arguments(line))


def _above(output: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(output.shape, generator=generator, dtype=output.dtype).to(output.device)
