"""The whole check: sources of gradients against witnesses, tensor by tensor, and each line by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from makemore_cli.backprop import fused, steps
from makemore_cli.errors import CheckFailedError
from makemore_cli.gradcheck import sources
from makemore_cli.gradcheck.alone import LineCheck, branches, check_lines
from makemore_cli.gradcheck.compare import TOLERANCE, Comparison, compare, sizes
from makemore_cli.gradcheck.diagnose import diagnose
from makemore_cli.gradcheck.rounding import scales
from makemore_cli.gradcheck.sources import SOURCES, Gradients, Source
from makemore_cli.gradcheck.user import UserPass
from makemore_cli.model import Parameters

ROUNDING = 1e-2


@dataclass(frozen=True)
class Finding:
    """What there is to say of one gradient."""

    comparison: Comparison
    alone: bool | None = None  # whether its own lines are right; None where that can't be told
    diagnosis: str | None = None  # of a wrong one
    nearer: str | None = None  # to float64: "by hand", "autograd" or "both"; None where float64 is no witness
    in_float64: Comparison | None = None  # the same once more, where that decides

    @property
    def close(self) -> bool:
        """Whether it agrees. Where float64 decides, rounding in float32 is forgiven up to ROUNDING of the scale."""
        if self.in_float64 is None:
            return self.comparison.close
        return self.in_float64.close and self.comparison.difference <= ROUNDING * self.comparison.scale

    @property
    def ok(self) -> bool:
        """Whether it agrees, and its lines are right."""
        return self.close and self.alone is not False

    @property
    def inherited(self) -> bool:
        """Whether it disagrees only because what came before it does."""
        return not self.close and self.alone is True

    def __str__(self) -> str:
        """What there is to say of it, in one line."""
        if self.in_float64 is not None and not self.in_float64.close and self.comparison.close:
            return f"in float64 {self.in_float64}{_because(self.diagnosis)}"
        return f"{self.comparison}{_because(self.diagnosis)}"


@dataclass(frozen=True)
class Section:
    """One source, or part of one, against one witness."""

    name: str
    about: str
    findings: list[Finding]
    missing: list[str] = field(default_factory=list)  # gradients that a user's pass leaves out, which is no fault

    @property
    def ok(self) -> bool:
        """Whether all of it agrees."""
        return all(finding.ok for finding in self.findings)


@dataclass(frozen=True)
class Report:
    """What gradcheck found."""

    dtype: str
    device: str
    batch_size: int
    tolerance: float
    sections: list[Section]
    lines: list[LineCheck] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)  # that are no gradient's
    remarks: list[str] = field(default_factory=list)  # that are no faults

    @property
    def wrong_lines(self) -> list[LineCheck]:
        """Backward lines that are wrong by themselves, from the loss up."""
        return [line for line in self.lines if not line.comparison.close]

    @property
    def ok(self) -> bool:
        """Whether every gradient and every line agrees."""
        return all(section.ok for section in self.sections) and not self.wrong_lines and not self.faults

    def failures(self) -> list[str]:
        """What is wrong, most telling first: wrong lines, then in each section what does not just inherit."""
        found = [
            f"the line for d{c.comparison.tensor} in the step {c.step} is wrong: {c.comparison}{_because(c.diagnosis)}"
            for c in self.wrong_lines
        ]
        found += self.faults
        blamed = {line.comparison.tensor for line in self.wrong_lines}
        for section in self.sections:
            wrong = [f for f in section.findings if not f.ok]
            own = [f for f in wrong if f.alone is False and f.comparison.tensor not in blamed]
            if own:
                found += [f"{section.name}: {finding}" for finding in own]
            elif wrong and not (blamed & {f.comparison.tensor for f in wrong}):
                found.append(f"{section.name}: the first gradient that disagrees is {wrong[0]}")
        return found

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "ok": self.ok,
            "dtype": self.dtype,
            "device": self.device,
            "batch_size": self.batch_size,
            "tolerance": self.tolerance,
            "sections": [
                {
                    "name": s.name,
                    "about": s.about,
                    "ok": s.ok,
                    "missing": s.missing,
                    "tensors": [
                        {
                            **_plain(f.comparison),
                            "in_float64": None if f.in_float64 is None else _plain(f.in_float64),
                            "alone": f.alone,
                            "inherited": f.inherited,
                            "diagnosis": f.diagnosis,
                            "nearer": f.nearer,
                        }
                        for f in s.findings
                    ],
                }
                for s in self.sections
            ],
            "lines": [{"step": c.step, **_plain(c.comparison), "diagnosis": c.diagnosis} for c in self.lines],
            "failures": self.failures(),
            "remarks": self.remarks,
        }


def _because(diagnosis: str | None) -> str:
    return f"; {diagnosis}" if diagnosis else ""


def _plain(comparison: Comparison) -> dict[str, Any]:
    """A comparison for JSON, which has no infinity and no NaN."""
    values = {**asdict(comparison), "relative": comparison.relative}
    return {k: None if isinstance(v, float) and not abs(v) < float("inf") else v for k, v in values.items()}


class _Check:
    """One batch in one precision, and what every comparison on it needs."""

    def __init__(self, p: Parameters, X: Tensor, Y: Tensor, eps: float, *, measure_rounding: bool = False) -> None:
        self.p, self.X, self.Y, self.eps = p, X, Y, eps
        self.measure_rounding = measure_rounding
        self.first_bias = p.b1 is not None
        self.order = steps.gradient_names(steps.steps(self.first_bias))
        self.tolerance = TOLERANCE[p.flat.dtype]
        self.autograd = sources.autograd(p, X, Y, eps)
        self.truth = sources.finite_autograd(p, X, Y, eps)

    @cached_property
    def size(self) -> dict[str, float]:
        return sizes(self.truth)

    @cached_property
    def scale(self) -> dict[str, float]:
        return scales(self.p, self.X, self.Y, self.eps, self.truth)

    def compare(self, tensor: str, ours: object, theirs: Tensor, tolerance: float, known: Tensor | None) -> Comparison:
        """By the gradient's size; where that is not enough, by what rounding could have done, which takes longer."""
        comparison = compare(tensor, ours, theirs, self.size[tensor], tolerance, known)
        if (comparison.close and not self.measure_rounding) or comparison.fault:
            return comparison
        return compare(tensor, ours, theirs, self.scale[tensor], tolerance, known)

    @cached_property
    def values(self) -> steps.Values:
        return steps.forward(self.p, self.X, self.Y, eps=self.eps)

    @cached_property
    def in_float64(self) -> _Check:
        double = self.p.to(dtype=torch.float64)
        return _Check(double, self.X, self.Y, self.eps, measure_rounding=self.measure_rounding)

    def gradients(self, source: Source) -> Gradients:
        return source.gradients(self.p, self.X, self.Y, self.eps)

    def section(
        self,
        name: str,
        about: str,
        ours: Mapping[str, Tensor],
        theirs: Mapping[str, Tensor],
        *,
        accuracy: float = 0.0,
        partial: bool = False,
        wrong_lines: Mapping[str, str | None] | None = None,
        nearer: bool = False,
    ) -> Section:
        """Compare the gradients that both have.

        `wrong_lines` are the diagnoses of tensors whose own lines are known to be wrong; without it, where `ours` has
        gradients enough, that is found out.
        """
        tolerance = max(self.tolerance, accuracy)
        follows: dict[str, dict[str, Tensor] | None] = {}
        if wrong_lines is None and not partial and len(ours) > len(self.p.views):
            follows = branches(self.values, ours, self.first_bias)
        findings = []
        for tensor in self.order:
            if tensor not in ours or tensor not in theirs:
                continue
            our, their = ours[tensor], theirs[tensor]
            known = ~(their.isnan() | our.isnan()) if partial else None
            comparison = self.compare(tensor, our, their, tolerance, known)
            alone, diagnosis = None, None
            if wrong_lines is not None:
                alone, diagnosis = tensor not in wrong_lines, wrong_lines.get(tensor)
            elif follows.get(tensor) is not None:
                alone, diagnosis = self._follows(tensor, our, follows[tensor] or {}, tolerance)
            if not comparison.close and diagnosis is None and alone is not True and isinstance(our, Tensor):
                diagnosis = None if partial else diagnose(our, their, len(self.X))
            findings.append(Finding(comparison, alone, diagnosis, self._nearer(tensor, comparison) if nearer else None))
        return Section(name, about, findings)

    def section_twice(
        self, name: str, about: str, gradients: Callable[[_Check], tuple[Gradients, Gradients]]
    ) -> Section:
        """Compare what `gradients` gives (ours, the witness's), in float64 too, which decides.

        There right and wrong are far apart. In float32 a small mistake, such as a forgotten epsilon, is no larger than
        rounding, and rounding can be large where a batch is degenerate.
        """
        single = self.section(name, about, *gradients(self))
        if self.p.flat.dtype == torch.float64:
            return single
        double = self.in_float64.section(name, about, *gradients(self.in_float64))
        findings = [
            replace(here, in_float64=there.comparison, diagnosis=there.diagnosis or here.diagnosis)
            for here, there in zip(single.findings, double.findings, strict=True)
        ]
        return replace(single, findings=findings)

    def _follows(
        self, tensor: str, ours: object, parts: dict[str, Tensor], tolerance: float
    ) -> tuple[bool, str | None]:
        """Whether a gradient follows from those of what comes after it; if not, how it is wrong."""
        expected = torch.stack(list(parts.values())).sum(0)
        scale = max(self.scale[tensor], *(float(part.abs().max()) for part in parts.values()))
        comparison = compare(tensor, ours, expected, scale, tolerance)
        if comparison.close or not isinstance(ours, Tensor):
            return comparison.close, None
        mistakes = {}
        for through in parts:
            rest = [other for other in parts if other != through]
            if len(rest) == 1:
                mistakes[
                    f"only the part through {through} is there; the one through {rest[0]} is missing or overwritten"
                ] = parts[through]
        return False, diagnose(ours, expected, len(self.X), mistakes)

    def _nearer(self, tensor: str, comparison: Comparison) -> str:
        """Which lies nearer to float64's gradient, the witness here: we or autograd in our precision."""
        theirs = compare(tensor, self.truth[tensor], self.in_float64.truth[tensor], 1.0, 0.0).difference
        if comparison.difference == theirs:
            return "both"
        return "by hand" if comparison.difference < theirs else "autograd"

    def report(self, sections: list[Section], accuracy: float = 0.0, **more: Any) -> Report:
        dtype = str(self.p.flat.dtype).removeprefix("torch.")
        report = Report(dtype, str(self.p.flat.device), len(self.X), max(self.tolerance, accuracy), sections, **more)
        if any(not gradient.isfinite().all() for gradient in self.autograd.values()):
            report.remarks.append(
                "the chain's probabilities underflow to zero at these parameters, and their logarithm has no gradient, "
                "autograd's no more than ours; the training pass takes log_softmax and is not concerned"
            )
        return report


def gradcheck(
    p: Parameters,
    X: Tensor,
    Y: Tensor,
    eps: float,
    *,
    table: Sequence[steps.Step] | None = None,
    measure_rounding: bool = False,
) -> Report:
    """Check every hand-written gradient on one batch against autograd: the chain, its lines, the fused passes.

    With `measure_rounding` every scale is what rounding can do on this batch, not only where a gradient's size is too
    small a scale: slower, and no verdict changes.
    """
    table = table or steps.steps(p.b1 is not None)
    check = _Check(p, X, Y, eps, measure_rounding=measure_rounding)
    lines = check_lines(p, X, Y, eps, table=table)
    wrong_lines = {line.comparison.tensor: line.diagnosis for line in lines if not line.comparison.close}
    faults = []
    try:
        chain = steps.backward(check.values, table=table)
    except RuntimeError as error:
        if not wrong_lines:
            raise
        chain = {}  # a wrong line's shape stops those that come after it
        faults.append(f"after that the chain can't go on: {' '.join(str(error).split())}")
    sections = [
        check.section("atomic chain", "exercise 1, line by line", chain, check.autograd, wrong_lines=wrong_lines),
        check.section_twice("fused cross-entropy", "exercise 2, in one expression", _cross_entropy),
        check.section_twice("fused batchnorm", "exercise 3, in one expression", _batchnorm),
        check.section_twice("training pass", "exercise 4, what `makemore train` runs", _training_pass),
    ]
    return check.report(sections, lines=lines, faults=faults)


def _cross_entropy(check: _Check) -> tuple[Gradients, Gradients]:
    _, dlogits = fused.cross_entropy(check.values["logits"], check.Y)
    return {"logits": dlogits}, check.truth


def _batchnorm(check: _Check) -> tuple[Gradients, Gradients]:
    values = check.values
    dhprebn, dbngain, dbnbias = fused.batchnorm_backward(
        check.truth["hpreact"], values["bnraw"], values["bnvar_inv"], values["bngain"]
    )
    return {"hprebn": dhprebn, "bngain": dbngain, "bnbias": dbnbias}, check.truth


def _training_pass(check: _Check) -> tuple[Gradients, Gradients]:
    return check.gradients(SOURCES["fused"]), check.gradients(SOURCES["functions"])


def compare_sources(p: Parameters, X: Tensor, Y: Tensor, eps: float, of: Source, against: Source) -> Report:
    """Hold any source against any other, in the gradients that both have."""
    check = _Check(p, X, Y, eps)
    accuracy = max(of.accuracy, against.accuracy)
    lines = check_lines(p, X, Y, eps) if of.name == "atomic" else []
    section = check.section(
        f"{of.name} against {against.name}",
        f"{of.about}, {against.about}",
        check.gradients(of),
        check.gradients(against),
        accuracy=accuracy,
        partial=of.partial or against.partial,
        wrong_lines={c.comparison.tensor: c.diagnosis for c in lines if not c.comparison.close} if lines else None,
        nearer=against.name == "float64" and p.flat.dtype != torch.float64,
    )
    return check.report([section], accuracy, lines=lines)


def check_user(p: Parameters, X: Tensor, Y: Tensor, eps: float, user: UserPass, against: Source) -> Report:
    """Check a user's own backward pass. Raises MakemoreError where it doesn't run."""
    check = _Check(p, X, Y, eps)
    ours = user.gradients(p, X, Y, eps)
    theirs = check.gradients(against)
    section = check.section(
        user.path.name, against.about, ours, theirs, accuracy=against.accuracy, partial=against.partial
    )
    missing = [name for name in check.order if name not in ours]
    faults = [f"{user.path.name} changes {name}, which it was given: work on a copy" for name in user.changed]
    if not ours:
        faults.append(f"{user.path.name} returned no gradient of the chain's tensors; their names begin with d")
    remarks = []
    if missing:
        remarks.append(f"not given, so not checked: {', '.join(f'd{name}' for name in missing)}")
    if user.unknown:
        remarks.append(f"no tensor of the chain, so left aside: {', '.join(user.unknown)}")
    return check.report([replace(section, missing=missing)], against.accuracy, faults=faults, remarks=remarks)


@torch.enable_grad()
def crosscheck(p: Parameters, X: Tensor, Y: Tensor, eps: float, step: int) -> None:
    """Hold the training pass against autograd on one batch. Raises CheckFailedError, which names the tensor."""
    section = _Check(p, X, Y, eps).section_twice("training pass", "", _training_pass)
    first = next((finding for finding in section.findings if not finding.ok), None)
    if first is not None:
        raise CheckFailedError(f"step {step}: the hand-written gradient disagrees with autograd's: {first}")
