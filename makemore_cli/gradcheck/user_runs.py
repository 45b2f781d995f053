"""A user's own backward pass, run on several forward passes of the same sizes."""

from __future__ import annotations

from typing import Any

import torch

from makemore_cli.errors import MakemoreError
from makemore_cli.gradcheck.problem import Problem, inconsistent
from makemore_cli.gradcheck.user import UserGradients, UserPass


class UserRuns:
    """A user's passes on each forward pass; None if they don't run."""

    def __init__(self, problem: Problem, user: UserPass) -> None:
        self.here = user.run(problem.values, problem.order)
        self._order = problem.order
        self.why_not: str | None = None  # float64 is of no use
        self.double = self._tried(user, problem.in_float64)
        if self.double is None:
            self.why_not = "it does not run in float64"
        elif any(one.single for one in self.double):
            self.why_not = "it makes float32 numbers even where float64 is asked for"
        self.elsewhere = self._tried(user, problem.in_float64.elsewhere)
        self.elsewhere_single = None
        if problem.dtype != torch.float64:
            self.elsewhere_single = self._tried(user, problem.elsewhere)
        self.inconsistent_values = inconsistent(problem.in_float64.elsewhere.values)
        self.inconsistent = self._tried(user, self.inconsistent_values)

    def _tried(self, user: UserPass, on: Problem | dict[str, Any]) -> list[UserGradients] | None:
        try:
            runs = user.run(on.values if isinstance(on, Problem) else on, self._order)
        except MakemoreError:
            return None
        return runs if [one.name for one in runs] == [one.name for one in self.here] else None
