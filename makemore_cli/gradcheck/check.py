"""The whole check: sources of gradients against witnesses, tensor by tensor, and each line by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import torch
from torch import Tensor

from makemore_cli.backprop import atomic as steps
from makemore_cli.backprop import fused
from makemore_cli.errors import CheckFailedError
from makemore_cli.gradcheck.compare import Comparison, compare, is_plain
from makemore_cli.gradcheck.diagnose import diagnose, diagnose_user
from makemore_cli.gradcheck.findings import Finding, Report, Section
from makemore_cli.gradcheck.following import follow
from makemore_cli.gradcheck.lines import check_lines
from makemore_cli.gradcheck.problem import Problem
from makemore_cli.gradcheck.sources import SOURCES, Gradients, Source
from makemore_cli.network import reference


def section(
    problem: Problem,
    name: str,
    about: str,
    ours: Mapping[str, Any],  # a user's may be anything
    theirs: Mapping[str, Tensor],
    *,
    accuracy: float = 0.0,
    partial: tuple[bool, bool] = (False, False),
    some: bool = False,
    by_chain: bool = False,
    wrong_lines: Mapping[str, str | None] | None = None,
    nearer: str | None = None,
    explain: bool = True,
) -> Section:
    """Compare all gradients of the witness's, or with `some` those that both have.

    `partial` says of ours and of theirs whether NaN stands for an entry that was not looked at; `by_chain`, that
    ours may come by the chain's probabilities, which can underflow. `wrong_lines` are the diagnoses of tensors
    whose own lines are known to be wrong; without it, that is found out where `ours` has gradients enough. `nearer`
    is the name of our source, where the witness is float64. Mistakes are explained only with `explain`.
    """
    tolerance = max(problem.tolerance, accuracy)
    plain = {k: v.detach() for k, v in ours.items() if is_plain(v, problem.p.flat.device)}
    following = None
    if wrong_lines is None and not any(partial):
        following = follow(problem.values, plain, problem.table)
    findings = []
    for tensor in problem.order:
        if tensor not in theirs or (some and tensor not in ours):
            continue
        their = theirs[tensor]
        if tensor not in plain:
            findings.append(Finding(problem.compare(tensor, ours.get(tensor), their, tolerance)))
            continue
        our = plain[tensor]
        tried = ~(their.isnan() & partial[1])
        if our.shape == their.shape:
            tried &= ~(our.isnan() & partial[0])
        judged = problem.judged(tensor, our, their, tried, by_chain)
        comparison = problem.compare(tensor, our, their, tolerance, judged)
        alone, diagnosis = None, None
        if wrong_lines is not None:
            alone, diagnosis = tensor not in wrong_lines, wrong_lines.get(tensor)
        elif following is not None:
            alone = comparison.close or problem.follows(following, tensor, our, tolerance, by_chain=by_chain)
            if explain and not alone:
                diagnosis = diagnose_user(following, tensor, our, len(problem.X))
        if not comparison.close and diagnosis is None and alone is None and not any(partial):
            diagnosis = diagnose(our, their, len(problem.X))
        findings.append(Finding(comparison, alone, diagnosis, nearer and _nearer(problem, tensor, comparison, nearer)))
    return Section(name, about, findings)


def section_twice(
    problem: Problem,
    name: str,
    about: str,
    gradients: Callable[[Problem], tuple[dict[str, Any], Gradients]],
    **options: Any,
) -> Section:
    """Compare what `gradients` gives (ours, the witness's), in float64 too, which decides.

    There right and wrong are far apart. In float32 a small mistake, such as a forgotten epsilon, is no larger than
    rounding, and rounding can be large where a batch is degenerate.
    """
    double_decides = problem.p.flat.dtype != torch.float64
    single = section(problem, name, about, *gradients(problem), **options, explain=not double_decides)
    if not double_decides:
        return single
    ours, theirs = gradients(problem.in_float64)
    # Who turns everything into float32 is judged there.
    ours = {k: v for k, v in ours.items() if getattr(v, "dtype", None) == torch.float64}
    double = section(problem.in_float64, name, about, ours, theirs, **{**options, "some": True, "nearer": None})
    again = {finding.comparison.tensor: finding for finding in double.findings}
    findings = []
    for here in single.findings:
        there = again.get(here.comparison.tensor)
        if there is not None:
            alone = here.alone if there.alone is None else there.alone
            here = replace(here, in_float64=there.comparison, alone=alone, diagnosis=there.diagnosis or here.diagnosis)
        findings.append(here)
    return replace(single, findings=findings)


def _nearer(problem: Problem, tensor: str, comparison: Comparison, name: str) -> str:
    """Which lies nearer to float64's gradient, the witness here: the source or autograd in the same precision."""
    theirs = compare(tensor, problem.truth[tensor], problem.in_float64.truth[tensor], 1.0, 0.0).difference
    if comparison.difference == theirs:
        return "both"
    return name if comparison.difference < theirs else "autograd"


def make_report(problem: Problem, sections: list[Section], accuracy: float = 0.0, **more: Any) -> Report:
    dtype = str(problem.p.flat.dtype).removeprefix("torch.")
    report = Report(
        dtype, str(problem.p.flat.device), len(problem.X), max(problem.tolerance, accuracy), sections, **more
    )
    report.note_underflow(problem.underflows)
    return report


def gradcheck(problem: Problem, *, table: Sequence[steps.Step] | None = None) -> Report:
    """Check every hand-written gradient on one batch against autograd: the chain, its lines, the fused passes."""
    table = table or problem.table
    lines = check_lines(problem, table=table)
    wrong_lines = {line.comparison.tensor: line.diagnosis for line in lines if not line.comparison.close}
    faults = []
    try:
        chain = steps.backward(problem.values, table=table)
    except RuntimeError as error:
        if not wrong_lines:
            raise
        chain = {}  # a wrong line's shape stops those that come after it
        faults.append(f"after that the chain can't go on: {' '.join(str(error).split())}")
    chain_section = section(
        problem,
        "atomic chain",
        "exercise 1, line by line",
        chain,
        problem.autograd if chain else {},
        wrong_lines=wrong_lines,
    )
    sections = [chain_section]
    for name, about, gradients in (
        ("fused cross-entropy", "exercise 2, in one expression", _cross_entropy),
        ("fused batchnorm", "exercise 3, in one expression", _batchnorm),
        ("training pass", "exercise 4, what trains; the compiled pass is the source kernel", _training_pass),
    ):
        try:
            sections.append(section_twice(problem, name, about, gradients))
        except (RuntimeError, ValueError) as error:
            faults.append(f"the {name} can't be run: {' '.join(str(error).split())}")
    if len(sections) == 4:
        faults += _wrong_losses(problem.in_float64, SOURCES["fused"])
    return make_report(problem, sections, lines=lines, faults=faults)


def _wrong_losses(problem: Problem, of: Source) -> list[str]:
    """The chain and a training pass must begin with the same loss as the network in PyTorch's own functions."""
    if of.losses is None:
        return []
    given = (problem.X, problem.Y, problem.eps, problem.smoothing)
    truth = float(reference.forward(problem.p.views, *given)[0])
    losses = of.losses(problem)
    if not problem.underflows:
        losses["the chain"] = float(problem.values["loss"])
    return [
        f"{name} computes a loss of {loss:.8g}, PyTorch's functions one of {truth:.8g}"
        for name, loss in losses.items()
        if not abs(loss - truth) <= 1e-9 * max(1.0, abs(truth))  # not so for NaN
    ]


def _cross_entropy(problem: Problem) -> tuple[Gradients, Gradients]:
    _, dlogits = fused.cross_entropy(problem.values["logits"], problem.Y, problem.smoothing)
    return {"logits": dlogits}, {"logits": problem.truth["logits"]}


def _batchnorm(problem: Problem) -> tuple[Gradients, Gradients]:
    values = problem.values
    dhprebn, dbngain, dbnbias = fused.batchnorm_backward(
        problem.truth["hpreact"], values["bnraw"], values["bnvar_inv"], values["bngain"]
    )
    ours = {"hprebn": dhprebn, "bngain": dbngain, "bnbias": dbnbias}
    return ours, {name: problem.truth[name] for name in ours}


def _training_pass(problem: Problem) -> tuple[Gradients, Gradients]:
    return SOURCES["fused"].gradients(problem), SOURCES["functions"].gradients(problem)


def compare_sources(problem: Problem, of: Source, against: Source) -> Report:
    """Hold any source against any other, in the gradients that both have; of a training pass, the loss too."""
    accuracy = max(of.accuracy, against.accuracy)
    lines = check_lines(problem) if of.by_lines else []

    def compared(ours: Source, theirs: Source) -> Section:
        return section_twice(
            problem,
            f"{ours.name} against {theirs.name}",
            f"{ours.about}, {theirs.about}",
            lambda c: (ours.gradients(c), theirs.gradients(c)),
            accuracy=accuracy,
            partial=(of.partial, against.partial),
            some=True,
            by_chain=of.by_lines,
            wrong_lines={c.comparison.tensor: c.diagnosis for c in lines if not c.comparison.close} if lines else None,
            nearer=of.name if against.double and problem.p.flat.dtype != torch.float64 else None,
        )

    sections = [compared(*pair) for pair in product(of.each_path(), against.each_path())]
    faults = dict.fromkeys(fault for source in (of, against) for fault in _wrong_losses(problem.in_float64, source))
    return make_report(problem, sections, accuracy, lines=lines, faults=list(faults))


@torch.enable_grad()
def crosscheck(problem: Problem, step: int, of: Source) -> None:
    """Hold the gradients that train against their witness on one batch. Raises CheckFailedError, with the tensor."""
    witness = SOURCES[of.witness]
    section = section_twice(problem, of.name, "", lambda c: (of.gradients(c), witness.gradients(c)), some=True)
    wrong = [str(finding) for finding in section.findings if not finding.ok] + _wrong_losses(problem.in_float64, of)
    if wrong:
        raise CheckFailedError(f"step {step}: {of.about} disagrees with {witness.about}: {wrong[0]}")
