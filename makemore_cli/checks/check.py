"""Check a whole chain, compare two sources of gradients, and crosscheck the gradients that train."""

from __future__ import annotations

from makemore_cli.backprop.chain import Chain
from makemore_cli.backprop.step import LINE_ERRORS
from makemore_cli.checks.check_user import check_user
from makemore_cli.checks.findings import Report, Section, make_report
from makemore_cli.checks.following import with_gradients
from makemore_cli.checks.judge import judge, judge_in_one_precision
from makemore_cli.checks.lines import check_lines
from makemore_cli.checks.network import SOURCES, NetworkProblem, wrong_losses
from makemore_cli.checks.problem import Problem
from makemore_cli.checks.sources import Pair, Source, check_different, find_source
from makemore_cli.checks.user import Pass
from makemore_cli.errors import CheckFailedError
from makemore_cli.network.threads import threads


@with_gradients
def gradcheck(problem: Problem, *, chain: Chain | None = None) -> Report:
    """Check every hand-written gradient against its witnesses: the chain, its lines, and the problem's other pairs.

    `chain`, if given, has the same forward lines as the problem's; its backward lines are checked instead.
    """
    chain = chain or problem.chain
    lines = check_lines(problem, chain=chain)
    wrong_lines = {line.comparison.tensor: line.diagnosis for line in lines if not line.comparison.close}
    faults = []
    try:
        ours = chain.backward(problem.values, problem.above)
        witness = problem.autograd
    except LINE_ERRORS as error:
        if not wrong_lines:
            raise
        ours, witness = {}, {}  # the lines after one with a wrong shape can't run
        faults.append(_stopped(error))
    name, about = problem.first_section
    first = Pair(
        Source(name, about, lambda _: ours, by_lines=True),
        Source("autograd", "autograd through the chain", lambda _: witness),
        all_of_witness=True,
        wrong_lines=wrong_lines,
    )
    # One precision is enough: the lines were checked in float64.
    sections = [Section(name, about, judge_in_one_precision(problem, first))]
    remarks = []
    for pair in (one for one in problem.pairs if ours or not one.of.by_lines):
        if why := pair.against.unfit(problem):
            remarks.append(f"{pair.of.name}: skipped, since {why}")
            continue
        try:
            sections.append(Section(pair.of.name, pair.of.about, judge(problem, pair)))
        except (RuntimeError, ValueError) as error:
            faults.append(f"the {pair.of.name} can't be run: {' '.join(str(error).split())}")
    if len(sections) == 1 + len(problem.pairs):
        faults += problem.faults()
    return make_report(problem, sections, lines=lines, faults=faults, remarks=remarks)


def _stopped(error: Exception) -> str:
    return f"after that, the chain can't continue: {' '.join(str(error).split())}"


@with_gradients
def compare_sources(problem: Problem, of: Source, against: Source) -> Report:
    """Compare two sources in the gradients that both have, and check the loss of a source that computes it."""
    lines = check_lines(problem) if of.by_lines else []
    wrong_lines = {c.comparison.tensor: c.diagnosis for c in lines if not c.comparison.close} if lines else None
    try:
        findings = judge(problem, Pair(of, against, wrong_lines=wrong_lines))
        faults = dict.fromkeys(fault for source in (of, against) for fault in wrong_losses(problem, source))
        if not findings:
            faults[f"{of.name} and {against.name} have no gradient in common, so nothing was compared"] = None
    except LINE_ERRORS as error:
        if not wrong_lines:
            raise
        findings, faults = [], {_stopped(error): None}
    section = Section(f"{of.name} against {against.name}", f"{of.about}, {against.about}", findings)
    return make_report(problem, [section], max(of.accuracy, against.accuracy), lines=lines, faults=list(faults))


@with_gradients
def check_batch(
    problem: NetworkProblem, of: str | None = None, against: str | None = None, user: Pass | None = None
) -> Report:
    """Check all gradients on a batch, one source (`of`, by its name), or a user's pass.

    Raises ParameterError for an unknown source, and MakemoreError if the user's pass does not run.
    """
    ours = None if of is None else find_source(of, "of", SOURCES)
    witness = find_source("autograd" if against is None else against, "against", SOURCES)
    check_different(ours or SOURCES["atomic"], witness)
    with threads(problem.p, len(problem.X)):
        if user is not None:
            return check_user(problem, user, witness)
        if ours is None and against is None:
            return gradcheck(problem)
        return compare_sources(problem, ours or SOURCES["atomic"], witness)


@with_gradients
def crosscheck(problem: NetworkProblem, step: int, of: Source) -> None:
    """Compare the training gradients on one batch with those of their witness.

    Raises CheckFailedError, which names the step and the first tensor that disagrees.
    """
    witness = SOURCES[of.witness]
    findings = judge(problem, Pair(of, witness))
    wrong = [str(finding) for finding in findings if not finding.ok] + wrong_losses(problem, of)
    if wrong:
        raise CheckFailedError(f"step {step}: {of.about} disagrees with {witness.about}: {wrong[0]}")
