"""A user's own backward pass, run on several forward passes of the same sizes."""

from __future__ import annotations

import torch
from torch import Tensor

from makemore_cli.backprop.step import Values
from makemore_cli.checks.compare import largest
from makemore_cli.checks.following import follow
from makemore_cli.checks.problem import Problem, inconsistent
from makemore_cli.checks.user import Pass, UserGradients
from makemore_cli.errors import MakemoreError

NEAR = 1e-5  # relative to a gradient's largest entry; a local variable within it is taken for the gradient


class UserRuns:
    """A user's passes on each forward pass; None where they don't run."""

    def __init__(self, problem: Problem, user: Pass) -> None:
        self._problem, self.user = problem, user
        self.here = self._run(problem, problem.values)
        self.why_not: str | None = None  # why runs in float64 can't be judged as such
        self.double = self._tried(problem.in_float64)
        if self.double is None:
            self.why_not = user.why_once or "it does not run in float64"
        elif any(one.single for one in self.double):
            self.why_not = "it uses float32 even when float64 is requested"
        self.elsewhere = self._tried(problem.in_float64.elsewhere)
        self.elsewhere_single = None
        if problem.dtype != torch.float64:
            self.elsewhere_single = self._tried(problem.elsewhere)
        elsewhere = problem.in_float64.elsewhere
        self.inconsistent_values = inconsistent(elsewhere.values)
        # Backward lines tell what a line may read. Without them, one that reads its step's output would look wrong.
        has_lines = bool(problem.chain.gradient_names)
        self.inconsistent = self._tried(elsewhere, self.inconsistent_values) if has_lines else None

    def _tried(self, on: Problem, values: Values | None = None) -> list[UserGradients] | None:
        try:
            runs = self._run(on, on.values if values is None else values)
        except MakemoreError:
            return None
        return runs if [one.name for one in runs] == [one.name for one in self.here] else None

    def _run(self, on: Problem, values: Values) -> list[UserGradients]:
        more = {**on.sizes, **{f"d{name}": gradient for name, gradient in on.above.items()}}
        more = {name: value for name, value in more.items() if name in self.user.names.numbers}
        runs = self.user.run({**more, **values}, self._problem.order)
        for one in runs:
            if one.kept:
                self._take_kept(one, on, values)
        return runs

    def _take_kept(self, one: UserGradients, on: Problem, values: Values) -> None:
        """Take local variables for the gradients that they are named after, at the value that follows, if one does.

        A variable may have other values too: dh, say, may be multiplied by a local derivative and keep its name.
        """
        for name in self._problem.order:
            if name not in one.kept:
                continue
            fitting = [value for value in one.kept[name] if value.shape == values[name].shape]
            if not fitting:
                one.gradients[name] = one.kept[name][-1]
                one.local.add(name)
                continue
            plain = {k: v for k, v in one.gradients.items() if isinstance(v, Tensor) and v.is_floating_point()}
            plain.pop(name, None)
            expected = follow(values, plain, on.chain, on.above).expected(name)
            near = [v for v in fitting if largest((v - expected).abs()) <= NEAR * largest(expected.abs())]
            one.gradients[name] = (near or fitting)[-1]
            one.local.add(name)
