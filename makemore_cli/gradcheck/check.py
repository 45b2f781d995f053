"""The checks: the hand-written passes as a whole, one source of gradients against another, and a crosscheck."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch

from makemore_cli.backprop import atomic as steps
from makemore_cli.backprop import fused
from makemore_cli.errors import CheckFailedError
from makemore_cli.gradcheck.findings import Report, Section, make_report
from makemore_cli.gradcheck.judge import Pair, judge, judge_in_one_precision
from makemore_cli.gradcheck.lines import check_lines
from makemore_cli.gradcheck.problem import Problem
from makemore_cli.gradcheck.sources import SOURCES, Gradients, Source
from makemore_cli.network import reference


def _cross_entropy(problem: Problem) -> Gradients:
    _, dlogits = fused.cross_entropy(problem.values["logits"], problem.Y, problem.smoothing)
    return {"logits": dlogits}


def _batchnorm(problem: Problem) -> Gradients:
    values = problem.values
    dhprebn, dbngain, dbnbias = fused.batchnorm_backward(
        problem.truth["hpreact"], values["bnraw"], values["bnvar_inv"], values["bngain"]
    )
    return {"hprebn": dhprebn, "bngain": dbngain, "bnbias": dbnbias}


# The lecture's exercises 2 to 4, each with its witness.
EXERCISES = (
    Pair(Source("fused cross-entropy", "exercise 2, in one expression", _cross_entropy), SOURCES["autograd"]),
    Pair(Source("fused batchnorm", "exercise 3, in one expression", _batchnorm), SOURCES["autograd"]),
    Pair(
        Source(
            "training pass",
            "exercise 4, what trains; the compiled pass is the source kernel",
            SOURCES["fused"].gradients,
        ),
        SOURCES["functions"],
        all_of_witness=True,
    ),
)


def gradcheck(problem: Problem, *, table: Sequence[steps.Step] | None = None) -> Report:
    """Check every hand-written gradient on one batch against autograd: the chain, its lines, the fused passes."""
    table = table or problem.table
    lines = check_lines(problem, table=table)
    wrong_lines = {line.comparison.tensor: line.diagnosis for line in lines if not line.comparison.close}
    faults = []
    try:
        chain = steps.backward(problem.values, table=table)
        witness = problem.autograd
    except RuntimeError as error:
        if not wrong_lines:
            raise
        chain, witness = {}, {}  # a wrong line's shape stops those that come after it
        faults.append(f"after that the chain can't go on: {' '.join(str(error).split())}")
    exercise_1 = Pair(
        Source("atomic chain", "exercise 1, line by line", lambda _: chain, by_lines=True),
        Source("autograd", "autograd through the chain", lambda _: witness),
        all_of_witness=True,
        wrong_lines=wrong_lines,
    )
    # Its lines were checked in float64.
    sections = [Section(exercise_1.of.name, exercise_1.of.about, judge_in_one_precision(problem, exercise_1))]
    for pair in EXERCISES:
        try:
            sections.append(Section(pair.of.name, pair.of.about, judge(problem, pair)))
        except (RuntimeError, ValueError) as error:
            faults.append(f"the {pair.of.name} can't be run: {' '.join(str(error).split())}")
    if len(sections) == 1 + len(EXERCISES):
        faults += _wrong_losses(problem.in_float64, SOURCES["fused"])
    return make_report(problem, sections, lines=lines, faults=faults)


def compare_sources(problem: Problem, of: Source, against: Source) -> Report:
    """Compare any source with any other, in the gradients that both have; of a training pass, the loss too."""
    lines = check_lines(problem) if of.by_lines else []
    wrong_lines = {c.comparison.tensor: c.diagnosis for c in lines if not c.comparison.close} if lines else None
    sections = [
        Section(
            f"{ours.name} against {theirs.name}",
            f"{ours.about}, {theirs.about}",
            judge(problem, Pair(ours, theirs, wrong_lines=wrong_lines)),
        )
        for ours, theirs in product(of.each_path(), against.each_path())
    ]
    faults = dict.fromkeys(fault for source in (of, against) for fault in _wrong_losses(problem.in_float64, source))
    if not any(section.findings for section in sections):
        faults[f"{of.name} and {against.name} have no gradient in common, so nothing was compared"] = None
    return make_report(problem, sections, max(of.accuracy, against.accuracy), lines=lines, faults=list(faults))


@torch.enable_grad()
def crosscheck(problem: Problem, step: int, of: Source) -> None:
    """Compare the gradients that train with their witness's on one batch.

    Raises CheckFailedError, which names the step and the first tensor that disagrees.
    """
    witness = SOURCES[of.witness]
    findings = judge(problem, Pair(of, witness))
    wrong = [str(finding) for finding in findings if not finding.ok] + _wrong_losses(problem.in_float64, of)
    if wrong:
        raise CheckFailedError(f"step {step}: {of.about} disagrees with {witness.about}: {wrong[0]}")


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
