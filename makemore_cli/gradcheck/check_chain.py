"""Check a chain of somebody's own, of which nothing but its declaration is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from makemore_cli.backprop.chain import Chain, Values, check_shapes
from makemore_cli.backprop.inputs import Bounds, ChainError
from makemore_cli.backprop.line_text import line_text
from makemore_cli.gradcheck import sources
from makemore_cli.gradcheck.check import gradcheck
from makemore_cli.gradcheck.findings import Report
from makemore_cli.gradcheck.following import differentiable, vjp
from makemore_cli.gradcheck.problem import Problem, drawn


def check_chain(
    chain: Chain,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    sizes: Mapping[str, Bounds] | None = None,
) -> Report:
    """Check a chain at random inputs: the same few sizes for seed 0, random ones for others, but for those in `sizes`.

    Raises ChainError for a declaration that can't be run: a line that fails, a shape that is another than declared, a
    backward line that is missing.
    """
    problem = drawn(chain, dtype, seed, sizes)
    check_shapes(chain, problem.values, problem.sizes)
    _check_missing(problem)
    report = gradcheck(problem)
    return _without_jumps(report)


def _check_missing(problem: Problem) -> None:
    """Make sure that each use of a tensor that has a gradient has a backward line."""
    chain, values = problem.chain, sources.with_leaves(problem.in_float64)
    for step in chain.steps:
        for name in _needed(values, step.name, chain):
            if f"d{name}" not in step.backward:
                raise ChainError(
                    f"{chain.name}: step {step.name} reads {name}, but has no line for d{name}: add d{name}=lambda … "
                    f"beside {step.name} = {line_text(step.forward)}"
                )


def _needed(values: Values, output: str, chain: Chain) -> list[str]:
    """The inputs of a step to which a gradient has to go back: those that are real, and that change its output."""
    if not differentiable(values[output]):
        return []
    above = torch.ones_like(values[output])
    plain = {name: value.detach() if isinstance(value, torch.Tensor) else value for name, value in values.items()}
    parts = vjp(chain.by_name[output], plain, above)
    other = vjp(chain.by_name[output], plain, torch.randn_like(above))
    return [name for name in parts if values[name].requires_grad and bool((parts[name] != 0).any() | other[name].any())]


def _without_jumps(report: Report) -> Report:
    """The report, without blame where central differences disagree with autograd, which the lines agree with.

    Then something is detached on the way, or jumps: it has no derivative, and autograd says what is meant.
    """
    first, jumps = report.sections[0], []
    agreeing = {finding.comparison.tensor for finding in first.findings if finding.ok}
    for section in report.sections[1:]:
        for at, finding in enumerate(section.findings):
            if not finding.ok and finding.comparison.tensor in agreeing:
                section.findings[at] = replace(finding, agrees=True, alone=True, diagnosis=None)
                jumps.append(finding.comparison.tensor)
    if jumps:
        report.remarks.append(
            f"{', '.join(dict.fromkeys(jumps))}: central differences disagree with autograd, with which the lines "
            "agree: something is detached on the way, or jumps"
        )
    return report
