"""Each backward line of the table by itself, so that the wrong one is named and not those that inherit its error.

Each line gets the forward values of a real batch and a *random* gradient from above; autograd's vector-Jacobian
product of that one step is the witness. So even those errors are seen that the loss can't show, since the true gradient
is zero there (the branch through logit_maxes). A line is right or wrong whatever the precision, so it is tried in
float64, where right and wrong are far apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from makemore_cli.backprop.chain import Chain, Step, Values, arguments, run
from makemore_cli.gradcheck.compare import TOLERANCE, Comparison, compare
from makemore_cli.gradcheck.diagnose import diagnose
from makemore_cli.gradcheck.following import vjp
from makemore_cli.gradcheck.problem import Problem

SEED = 0


@dataclass(frozen=True)
class LineCheck:
    """The verdict on one backward line: what the step named `step` adds to the gradient of `comparison.tensor`."""

    step: str
    comparison: Comparison
    diagnosis: str | None  # of a wrong one


def check_lines(problem: Problem, *, chain: Chain | None = None) -> list[LineCheck]:
    """Check every backward line of the chain with a random gradient from above, from the outputs down.

    A step without a line for one of its differentiable inputs fails.
    """
    chain = chain or problem.chain
    values = chain.forward(problem.in_float64.inputs)
    generator = torch.Generator().manual_seed(SEED)
    return [check for step in reversed(chain.steps) for check in _check_step(problem, step, values, generator)]


def _check_step(problem: Problem, step: Step, values: Values, generator: torch.Generator) -> list[LineCheck]:
    output = values[step.name]
    above = torch.randn(output.shape, generator=generator, dtype=output.dtype).to(output.device)
    truth = vjp(step, values, above)
    without_eps = vjp(step, {**values, "eps": 0.0}, above) if "eps" in arguments(step.forward) else {}
    checks = []
    for name, theirs in truth.items():
        line = step.backward.get(f"d{name}")
        ours = None if line is None else run(line, {**values, f"d{step.name}": above})
        comparison = compare(name, ours, theirs, float(theirs.abs().max()), TOLERANCE[torch.float64])
        diagnosis = None
        if ours is not None and not comparison.close:
            mistakes = {"epsilon is forgotten": without_eps[name]} if name in without_eps else {}
            mistakes[f"d{step.name} is passed on unchanged: the local derivative is missing"] = above
            diagnosis = diagnose(ours, theirs, problem.counts, mistakes)
        checks.append(LineCheck(step.name, comparison, diagnosis))
    return checks
