"""Check a user's own backward pass: which gradients are right, which lines are wrong, and how.

The pass is run on several forward passes of the same sizes, and its gradients are compared with the true ones:

- at the given parameters, in their precision and in float64, which tells mistakes from rounding;
- at random parameters in float64, where nothing is saturated and no gain is 1. Code that is right at all parameters is
  right there, and one mistake can be told from another;
- on *inconsistent* forward values, where each line is compared with its own vector-Jacobian product. A mistake that
  cancels on consistent values, such as a wrong dlogit_maxes, shows there. But a right line may rely on consistent
  values, so a difference that shows only there is a remark.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from makemore_cli.checks.candidates import Candidates
from makemore_cli.checks.compare import ROUNDING, TOLERANCE, Comparison, compare, is_plain, largest
from makemore_cli.checks.diagnose import diagnose_user
from makemore_cli.checks.expression_trees import compiled, value_of
from makemore_cli.checks.findings import Finding, Report, Section, make_report
from makemore_cli.checks.following import Following, follow
from makemore_cli.checks.forward_code import assignments, whole_expression
from makemore_cli.checks.kinks import Slopes, right_at_kinks
from makemore_cli.checks.problem import Problem
from makemore_cli.checks.repairs import repaired
from makemore_cli.checks.sources import Gradients, Source
from makemore_cli.checks.user import Pass, UserGradients
from makemore_cli.checks.user_runs import UserRuns

SINGLE, DOUBLE = TOLERANCE[torch.float32], TOLERANCE[torch.float64]
LEFT = {
    True: 0.01,
    False: 1e-6,
}  # fraction of the error that an explanation may leave: in float32 (True), in float64 (False)


def check_user(problem: Problem, user: Pass, against: Source) -> Report:
    """Check a user's own backward pass. Raises MakemoreError if it doesn't run."""
    sections, faults, remarks = [], [], []
    runs = UserRuns(problem, user)
    for number, here in enumerate(runs.here):
        check = _PassCheck(problem, against, runs, number)
        section = check.section()
        sections.append(section)
        remarks += check.remarks
        faults += [f"{here.name} changes {name} in place: work on a copy{user.after_a_change}" for name in here.changed]
        if here.unknown:
            remarks.append(f"not a tensor of the chain, so ignored: {', '.join(here.unknown)}")
    given = {name for here in runs.here for name in here.gradients}
    if not given:
        faults.append(f"{user.name} returned no gradient of the chain's tensors; their names begin with d")
    missing = [name for name in problem.order if name not in given and name in user.names.tensors]
    if missing:
        remarks.append(f"not given, so not checked: {', '.join(f'd{name}' for name in missing)}")
    sections[-1].missing.extend(missing)
    return make_report(
        problem,
        sections,
        against.accuracy,
        faults=list(dict.fromkeys(faults)),
        remarks=list(dict.fromkeys(remarks)),
    )


NEAR = 1e-9  # of a gradient's largest entry: a line that is evaluated again may differ by this
VAGUE = ("every entry is ", "each of its entries", "only ", "some of its entries")  # a repair may say more


# Remarks of the check on inconsistent forward values.
DIFFERS = "agrees with autograd here, but differs on random forward values"
BLIND = (
    "either the line is wrong, but no loss can show it, since the true gradient is zero; or it is right, but relies on "
    "consistent forward values"
)
UNTRIED = "its lines could not be checked on random forward values"
MANY = 4  # most tensors that may differ there; if more do, the pass itself is the reason


@dataclass(eq=False)
class _Verdicts:
    """The verdicts on the gradients of one run: comparisons, and the gradients whose own lines are wrong."""

    following: Following
    truth: Gradients
    run: UserGradients
    plain: dict[str, Tensor]
    comparisons: dict[str, Comparison]
    wrong: set[str] = field(default_factory=set)
    kinks: set[str] = field(default_factory=set)  # those that take a different slope from autograd's at a kink

    def close(self, name: str) -> bool:
        return self.comparisons[name].close


class _PassCheck:
    """The check of one of a user's passes against one witness."""

    def __init__(self, problem: Problem, against: Source, runs: UserRuns, number: int) -> None:
        self.problem, self.against, self.runs, self.number = problem, against, runs, number
        self.remarks: list[str] = []
        self.here = runs.here[number]
        self.names = [name for name in problem.order if name in self.here.gradients]
        self.single = runs.why_not is not None or (problem.dtype == torch.float64 and self.here.single)

    def section(self) -> Section:
        """The verdict on each of its gradients."""
        problem, runs = self.problem, self.runs
        witness = self.against.gradients(problem)
        is_double = problem.dtype == torch.float64
        here = double = self._verdicts(problem, runs.here, witness, is_double and self.single)
        elsewhere = None
        if runs.double is not None and not is_double:
            double = self._verdicts(problem.in_float64, runs.double, None, self.single)
        if runs.elsewhere is not None:
            elsewhere = self._verdicts(problem.in_float64.elsewhere, runs.elsewhere, None, self.single)
        elif runs.elsewhere_single is not None:
            elsewhere = self._verdicts(problem.elsewhere, runs.elsewhere_single, None, single=True)

        verdicts = (here, double, elsewhere)
        findings, unstable, loose = [], {}, []
        for name in (name for name in self.names if name in witness):
            c = here.comparisons[name]
            deciding = [v for v in (double, elsewhere) if v is not None and name in v.comparisons]
            if elsewhere in deciding:  # what overflows here is judged at the random parameters
                deciding = [v for v in deciding if v is elsewhere or _finite(v.plain.get(name))]
            wrong_in = [v for v in deciding if not v.close(name)]
            if not wrong_in and here not in deciding and not self._sane(c, here.plain.get(name)):
                if self._sane_elsewhere(name):
                    unstable[name] = c
                else:
                    wrong_in = [here]
            if not wrong_in:
                if self.single and any(v.comparisons[name].relative > DOUBLE for v in deciding):
                    loose.append(name)
                findings.append(Finding(c, alone=True, agrees=True))
                continue
            # The random parameters decide which line is to blame, if the mistake shows there.
            judge = elsewhere if elsewhere is not None and elsewhere in wrong_in else wrong_in[0]
            alone = name not in judge.wrong or self._right_by_itself(judge, name)
            findings.append(
                Finding(
                    c,
                    alone,
                    diagnosis=None if alone else self._diagnosis(judge, name),
                    in_float64=None if judge is here else judge.comparisons[name],
                    agrees=False,
                    place=self._place(name),
                    where="at random parameters in float64" if judge is elsewhere else "in float64",
                )
            )
        findings = self._without_other_quantities(findings)
        kinks = [f"d{name}" for name in self.names if any(v is not None and name in v.kinks for v in verdicts)]
        if kinks and not any(f.alone is False for f in findings):
            findings = [f if f.ok else replace(f, agrees=True, alone=True, diagnosis=None) for f in findings]
            self._once(
                f"{', '.join(kinks)}: takes a different slope from autograd's at a kink, which is equally right; "
                "gradients below differ because of it"
            )
        self._common_variable(findings)
        self._remark(unstable, loose, here)
        self._inconsistencies({f.comparison.tensor for f in findings if not f.agrees})
        return Section(self.here.name, self.against.about, findings)

    def _without_other_quantities(self, findings: list[Finding]) -> list[Finding]:
        """The findings without local variables that are not gradients, if everything returned is right."""
        local = self.here.local
        if not local or not all(f.ok for f in findings if f.comparison.tensor not in local):
            return findings
        others = [f"d{f.comparison.tensor}" for f in findings if not f.ok]
        if others:
            self._once(f"not gradients, despite their names (everything returned is right): {', '.join(others)}")
        return [f for f in findings if f.ok]

    def _verdicts(
        self, problem: Problem, runs: list[UserGradients], witness: Gradients | None, single: bool = False
    ) -> _Verdicts:
        """Compare one run with a witness (default: autograd), and with what follows from its own gradients."""
        run = runs[self.number]
        plain = self._plain(run.gradients, problem)
        tolerance = SINGLE if single else problem.tolerance
        earlier = {k: v for k, v in self._plain(run.earlier, problem).items() if _finite(v)}
        finite = {k: v for k, v in plain.items() if _finite(v)}
        following = follow(problem.values, {**earlier, **finite}, problem.chain, problem.above)
        verdicts = _Verdicts(following, problem.truth, run, plain, {})
        for name in self.names:
            theirs = (witness or problem.truth).get(name)
            if theirs is None or name not in run.gradients:
                continue
            ours: object = plain.get(name, run.gradients[name])
            known = torch.ones_like(theirs, dtype=torch.bool)
            if witness is not None and self.against.partial:
                known = ~theirs.isnan()
            if isinstance(ours, Tensor) and name in plain:
                known = problem.judged(name, ours, theirs, known, by_chain=True)
            accuracy = self.against.accuracy if witness is not None else 0.0
            c = verdicts.comparisons[name] = problem.compare(name, ours, theirs, max(tolerance, accuracy), known)
            if not c.close and not (
                _misshapen(following, plain, name)
                or (name in plain and problem.follows(following, name, plain[name], tolerance, by_chain=True))
            ):
                if name in plain and self._at_kink(following, name, plain[name], known, max(tolerance, accuracy)):
                    verdicts.kinks.add(name)
                else:
                    verdicts.wrong.add(name)
        return verdicts

    def _at_kink(self, following: Following, name: str, ours: Tensor, known: Tensor, tolerance: float) -> bool:
        """Whether a gradient differs from the expected one only at kinks, where its slope is right too."""
        low = torch.zeros_like(following.values[name])
        high = torch.zeros_like(low)
        for step in following.parts[name]:
            slopes = Slopes(following.chain.by_name[step], following.values, following.current[step])
            low, high = low + slopes.low[name], high + slopes.high[name]
        at_kinks = right_at_kinks(ours, low, high)
        expected = following.expected(name)
        if not at_kinks.any():
            return False
        return compare(name, ours, expected, largest(expected.abs()), tolerance, known & ~at_kinks).close

    def _plain(self, gradients: Mapping[str, Any], problem: Problem) -> dict[str, Tensor]:
        """The dense floating-point gradients: arrays as tensors, and (H,) as (1, H), which broadcasts alike."""
        plain = {}
        for name, gradient in gradients.items():
            if isinstance(gradient, np.ndarray | np.floating) and np.issubdtype(gradient.dtype, np.floating):
                kind = np.float32 if gradient.dtype.itemsize == 4 else np.float64  # in the machine's byte order
                gradient = torch.from_numpy(np.array(gradient, dtype=kind)).to(problem.device)
            if not is_plain(gradient, problem.device):
                continue
            shape = problem.values[name].shape
            if len(shape) == 2 and shape[0] == 1 and gradient.shape == shape[1:]:
                gradient = gradient[None]
                self._once(f"d{name} has the shape ({shape[1]},), but {name} has (1, {shape[1]}): both broadcast alike")
            plain[name] = gradient.detach()
        return plain

    def _own_line(self, judge: _Verdicts, name: str) -> tuple[ast.expr, dict[str, Any]] | None:
        """All that a user's function assigns to a gradient, as one expression, and its variables; None if unknown."""
        user, variables = self.runs.user, judge.run.variables
        tree = whole_expression(user.definition, f"d{name}") if variables and user.definition is not None else None
        ours = judge.plain.get(name)
        if tree is None or ours is None or ours.dtype != torch.float64:
            return None
        scope = {**user.scope, **judge.following.values, **variables}
        again = _evaluated(tree, scope)
        if again is None or again.shape != ours.shape or largest((again - ours).abs()) > NEAR * largest(ours.abs()):
            return None  # a variable had another value when the line ran
        return tree, scope

    def _right_by_itself(self, judge: _Verdicts, name: str) -> bool:
        """Whether the user's own line is right if it reads the true values of the other wrong gradients.

        These may be other gradients than those of the steps above, such as that of another parameter.
        """
        own = self._own_line(judge, name)
        if own is None:
            return False
        tree, scope = own
        read = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        others = {f"d{other}": judge.truth[other] for other in judge.wrong - {name} if f"d{other}" in read}
        if not others:
            return False
        value, truth = _evaluated(tree, {**scope, **others}), judge.truth[name]
        return value is not None and compare(name, value, truth, largest(truth.abs()), NEAR).close

    def _common_variable(self, findings: list[Finding]) -> None:
        """Remark on a variable that all wrong lines read, if the function computes it and it may be wrong."""
        definition = self.runs.user.definition
        wrong = [finding.comparison.tensor for finding in findings if finding.alone is False]
        if len(wrong) < 2 or definition is None or not self.runs.user.follow_locals:
            return
        right = {f"d{finding.comparison.tensor}" for finding in findings if finding.ok}
        read = [
            {
                node.id
                for _, value, _ in assignments(definition, f"d{name}")
                for node in ast.walk(value)
                if isinstance(node, ast.Name)
            }
            for name in wrong
        ]
        lines = {
            variable: max(line for line, _, _ in found)
            for variable in set.intersection(*read) - {f"d{name}" for name in wrong}
            if (found := list(assignments(definition, variable))) and (variable not in right or len(found) > 1)
        }
        if lines:
            variable, line = max(lines.items(), key=lambda one: one[1])
            self._once(
                f"{', '.join(f'd{name}' for name in wrong)} all read {variable}, which line {line} computes: look "
                "there first"
            )

    def _place(self, name: str) -> str:
        """The line of a user's function that computes a gradient; "" if local variables are not followed."""
        user = self.runs.user
        if not user.follow_locals or user.definition is None:
            return ""
        lines = [line for line, _, _ in assignments(user.definition, f"d{name}")]
        return f"line {lines[0]}" if lines else ""

    def _diagnosis(self, judge: _Verdicts, name: str) -> str | None:
        ours = judge.plain.get(name)
        if ours is None:
            return None
        run = self.here
        sizes = self.problem.counts
        left = LEFT[self.single or ours.dtype != torch.float64]
        told = diagnose_user(judge.following, name, ours, sizes, run.shared, left)
        if told is None and run.earlier:  # this pass alone, without the cells before it
            own = {k: v for k, v in judge.following.given.items() if k in run.gradients}
            alone = follow(judge.following.values, own, judge.following.chain, judge.following.above)
            told = diagnose_user(alone, name, ours, sizes, run.shared, left)
        if told is None or told.startswith(VAGUE):
            told = self._repaired(judge, name) or told
        return told

    def _repaired(self, judge: _Verdicts, name: str) -> str | None:
        """The change that makes the user's own line right, if the whole line is known."""
        own = self._own_line(judge, name)
        if own is None:
            return None
        tree, scope = own
        read = {k: v for k, v in judge.run.variables.items() if k != f"d{name}" and isinstance(v, Tensor | int | float)}
        trials = [(scope, judge.following.expected(name))]
        return repaired(tree, read, name, trials, judge.comparisons[name].relative)

    def _sane(self, c: Comparison, ours: Tensor | None) -> bool:
        """Whether a float32 result that is right in float64 is finite and near the truth."""
        return c.close or (_finite(ours) and c.difference <= ROUNDING * c.scale)

    def _sane_elsewhere(self, name: str) -> bool:
        if self.problem.dtype == torch.float64:
            return True
        if self.runs.elsewhere_single is None:
            return False
        problem = self.problem.elsewhere
        ours = self._plain(self.runs.elsewhere_single[self.number].gradients, problem).get(name)
        if ours is None:
            return False
        return self._sane(problem.compare(name, ours, problem.truth[name], SINGLE), ours)

    # Remarks, which change no verdict.

    def _remark(self, unstable: Mapping[str, Comparison], loose: list[str], here: _Verdicts) -> None:
        nan = [name for name in unstable if not _finite(here.plain.get(name))]
        far = [name for name in unstable if name not in nan]
        dtype = str(self.problem.dtype).removeprefix("torch.")
        if nan:
            self._once(
                f"the lines are right, but in {dtype} they give NaN or infinity at these parameters, first in "
                f"d{nan[0]}: a number there overflows or underflows"
            )
        if far:
            first = unstable[far[0]]
            self._once(
                f"the lines are right, but in {dtype} d{far[0]} is off by {first.relative:.1e} of its scale at these "
                "parameters"
            )
        if self.runs.why_not is not None:
            whom = f" ({', '.join(f'd{name}' for name in loose)})" if loose else ""
            self._once(
                f"judged at float32 precision{whom}, since {self.runs.why_not}: an error below {SINGLE:g} of scale "
                "can't be detected"
            )

    def _inconsistencies(self, wrong: set[str]) -> None:
        """Compare each line on inconsistent forward values. What differs only there is a remark."""
        if self.runs.inconsistent is None:
            return
        run = self.runs.inconsistent[self.number]
        values = self.runs.inconsistent_values
        plain = self._plain(run.gradients, self.problem.in_float64.elsewhere)
        # A line may read its step's output, which autograd recomputes: both are right.
        chain, above = self.problem.chain, self.problem.in_float64.elsewhere.above
        following = follow(values, plain, chain, above, by_lines=True)
        by_autograd = follow(values, plain, chain, above)
        relies, told_of = [], []
        for name in self.names:
            parts = following.parts.get(name, {})
            line_by_line = all(step in following.given or step in above for step in parts)
            ours = plain.get(name)
            if name in wrong or ours is None or ours.shape != values[name].shape or not line_by_line:
                continue
            right = (
                following.expected(name),
                by_autograd.expected(name),
                *following.alternatives(name),
                *Candidates(following, name).equivalents(),
            )
            scale = max(float(part.abs().max()) for part in parts.values())
            tolerance = SINGLE if self.single else 1e-9
            if any(compare(name, ours, other, scale, tolerance).close for other in right):
                continue
            told = diagnose_user(following, name, ours, self.problem.counts, run.shared, LEFT[self.single])
            if told is None:
                relies.append(f"d{name}")
            else:
                told_of.append(f"d{name} {DIFFERS}: {told}")
        if len(relies) + len(told_of) > MANY:
            self._once(f"the pass recomputes forward values, or relies on their consistency: {UNTRIED}")
            return
        for what in told_of:
            self._once(what)
        if relies:
            self._once(f"{', '.join(relies)}: {DIFFERS}")
        if relies or told_of:
            self._once(BLIND)

    def _once(self, remark: str) -> None:
        if remark not in self.remarks:
            self.remarks.append(remark)


def _misshapen(following: Following, plain: Mapping[str, Tensor], name: str) -> bool:
    """Whether a gradient is computed from one of a wrong shape, so that its own line can't be judged."""
    above = [step for step in following.parts[name] if step in plain]
    if name in plain and plain[name].shape != following.values[name].shape:
        return any(plain[step].shape != following.values[step].shape for step in above)
    return any(step not in following.given for step in above)


def _finite(gradient: Tensor | None) -> bool:
    return gradient is not None and bool(gradient.isfinite().all())


def _evaluated(tree: ast.expr, scope: Mapping[str, Any]) -> Tensor | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return value_of(compiled(tree), scope)
