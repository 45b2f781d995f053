"""Each backward line by itself: the forward inputs of a real batch, a random gradient from above, autograd as witness.

In the chain an error is inherited by all that comes after it, and some errors can't be seen from the loss at all, since
the true gradient is zero there (the branch through logit_maxes). Alone, with a random gradient, every line counts.
A line is right or wrong whatever the precision, so it is tried in float64, where right and wrong are far apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from makemore_cli.backprop import steps
from makemore_cli.gradcheck.compare import Comparison, compare
from makemore_cli.model import Parameters

SEED = 0


@dataclass(frozen=True)
class LineCheck:
    """The verdict on one backward line: what the step named `step` adds to the gradient of `comparison.tensor`."""

    step: str
    comparison: Comparison


def check_lines(
    p: Parameters, X: Tensor, Y: Tensor, eps: float, *, table: Sequence[steps.Step] | None = None
) -> list[LineCheck]:
    """Check every backward line of the table, from the loss up.

    The forward values come from the table too; a step without a line for one of its differentiable inputs fails.
    """
    table = table or steps.steps(p.b1 is not None)
    values = steps.forward(p.to(dtype=torch.float64), X, Y, eps=eps, table=table)
    generator = torch.Generator().manual_seed(SEED)
    return [check for step in reversed(table) for check in _check_step(step, values, generator)]


def _check_step(step: steps.Step, values: steps.Values, generator: torch.Generator) -> list[LineCheck]:
    inputs = [n for n in steps.arguments(step.forward) if _differentiable(values[n])]
    leaves = {name: values[name].detach().requires_grad_() for name in inputs}
    output = steps.run(step.forward, {**values, **leaves})
    above = torch.randn(output.shape, generator=generator, dtype=output.dtype).to(output.device)
    truth = dict(zip(inputs, torch.autograd.grad(output, tuple(leaves.values()), above), strict=True))
    checks = []
    for name in [*truth, *(target[1:] for target in step.backward if target[1:] not in truth)]:
        line = step.backward.get(f"d{name}")
        ours = None if line is None else steps.run(line, {**values, f"d{step.name}": above})
        theirs = truth.get(name, torch.zeros_like(values[name]))
        checks.append(LineCheck(step.name, compare(name, ours, theirs, float(theirs.abs().max()))))
    return checks


def _differentiable(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()
