"""Judge one source's gradients by a witness's, tensor by tensor, in one precision, or in float64 too.

`compare.py` says when two gradients agree; here each gets its scale, and a wrong one its explanation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from makemore_cli.checks.compare import Comparison, compare, is_plain
from makemore_cli.checks.diagnose import diagnose, diagnose_user
from makemore_cli.checks.findings import Finding
from makemore_cli.checks.following import follow
from makemore_cli.checks.problem import Problem
from makemore_cli.checks.sources import Pair

Gradients = Mapping[str, Any]  # by tensor; what a user's pass returns may be of any type


def judge(problem: Problem, pair: Pair) -> list[Finding]:
    """Compare a source with its witness. If the parameters are in float32, float64 decides.

    In float64 right and wrong are far apart. In float32 a small mistake, such as a forgotten epsilon, is no larger than
    rounding, and rounding can be large in a degenerate batch.
    """
    if problem.dtype == torch.float64:
        return judge_in_one_precision(problem, pair)
    ours, theirs = pair.of.gradients(problem), pair.against.gradients(problem)
    single = _Judge(problem, pair, ours, theirs, explain=False).findings()
    ours, theirs = pair.of.gradients(problem.in_float64), pair.against.gradients(problem.in_float64)
    # A pass that casts everything to float32 is judged by its float32 gradients.
    ours = {name: gradient for name, gradient in ours.items() if getattr(gradient, "dtype", None) == torch.float64}
    theirs = {name: gradient for name, gradient in theirs.items() if name in ours}
    double = {f.comparison.tensor: f for f in _Judge(problem.in_float64, pair, ours, theirs).findings()}
    return [_decided(finding, double.get(finding.comparison.tensor)) for finding in single]


def judge_in_one_precision(problem: Problem, pair: Pair) -> list[Finding]:
    """Compare a source with its witness, in the precision of the parameters."""
    return _Judge(problem, pair, pair.of.gradients(problem), pair.against.gradients(problem)).findings()


def _decided(here: Finding, in_float64: Finding | None) -> Finding:
    if in_float64 is None:
        return here
    return replace(
        here,
        in_float64=in_float64.comparison,
        alone=here.alone if in_float64.alone is None else in_float64.alone,
        diagnosis=in_float64.diagnosis or here.diagnosis,
    )


class _Judge:
    """Judges gradients in one precision."""

    def __init__(
        self, problem: Problem, pair: Pair, ours: Gradients, theirs: Mapping[str, Tensor], *, explain: bool = True
    ) -> None:
        for source, gradients in ((pair.of, ours), (pair.against, theirs)):
            unknown = sorted(gradients.keys() - set(problem.order))
            if unknown:
                raise ValueError(f"source {source.name} gives gradients of unknown tensors: {', '.join(unknown)}")
        self.problem, self.pair, self.ours, self.theirs, self.explain = problem, pair, ours, theirs, explain
        self.tolerance = max(problem.tolerance, pair.accuracy)
        self.plain = {k: v.detach() for k, v in ours.items() if is_plain(v, problem.device)}
        self.following = None
        if pair.wrong_lines is None and not pair.is_partial:
            self.following = follow(problem.values, self.plain, problem.chain, problem.above)

    def findings(self) -> list[Finding]:
        """One for each gradient that is compared, from the outputs down."""
        return [
            self._finding(tensor, self.theirs[tensor])
            for tensor in self.problem.order
            if tensor in self.theirs and (tensor in self.ours or self.pair.all_of_witness)
        ]

    def _finding(self, tensor: str, theirs: Tensor) -> Finding:
        problem = self.problem
        if tensor not in self.plain:
            return Finding(problem.compare(tensor, self.ours.get(tensor), theirs, self.tolerance))
        ours = self.plain[tensor]
        judged = problem.judged(tensor, ours, theirs, self._computed(ours, theirs), self.pair.of.by_lines)
        comparison = problem.compare(tensor, ours, theirs, self.tolerance, judged)
        alone, diagnosis = self._own_lines(tensor, ours, comparison)
        if not comparison.close and diagnosis is None and alone is None and not self.pair.is_partial:
            diagnosis = diagnose(ours, theirs, problem.counts)
        return Finding(comparison, alone, diagnosis, self._nearer(tensor, comparison))

    def _computed(self, ours: Tensor, theirs: Tensor) -> Tensor:
        """A mask of the entries that both sources have computed."""
        computed = ~(theirs.isnan() & self.pair.against.partial)
        if ours.shape == theirs.shape:
            computed &= ~(ours.isnan() & self.pair.of.partial)
        return computed

    def _own_lines(self, tensor: str, ours: Tensor, comparison: Comparison) -> tuple[bool | None, str | None]:
        """Whether the gradient's own lines are right (None if unknown), and the diagnosis if they are wrong."""
        if self.pair.wrong_lines is not None:
            return tensor not in self.pair.wrong_lines, self.pair.wrong_lines.get(tensor)
        if self.following is None:
            return None, None
        if comparison.close or self.problem.follows(
            self.following, tensor, ours, self.tolerance, by_chain=self.pair.of.by_lines
        ):
            return True, None
        return False, diagnose_user(self.following, tensor, ours, self.problem.counts) if self.explain else None

    def _nearer(self, tensor: str, comparison: Comparison) -> str | None:
        """Which is nearer to float64's gradient, if that is the witness: the source, or autograd in its precision."""
        problem = self.problem
        if not self.pair.against.double or problem.dtype == torch.float64:
            return None
        theirs = compare(tensor, problem.truth[tensor], problem.in_float64.truth[tensor], 1.0, 0.0).difference
        if comparison.difference == theirs:
            return "both"
        return self.pair.of.name if comparison.difference < theirs else "autograd"
