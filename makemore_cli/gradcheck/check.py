"""The whole check: sources of gradients against witnesses, tensor by tensor, and each line by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
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
from makemore_cli.gradcheck.sources import SOURCES, Source
from makemore_cli.gradcheck.user import UserPass
from makemore_cli.model import Parameters


@dataclass(frozen=True)
class Finding:
    """What there is to say of one gradient."""

    comparison: Comparison
    alone: bool | None = None  # whether its own lines are right; None where that can't be told
    diagnosis: str | None = None  # of a wrong one
    nearer: str | None = None  # to float64: "by hand", "autograd" or "both"; None where float64 is no witness

    @property
    def ok(self) -> bool:
        """Whether it agrees, and its lines are right."""
        return self.comparison.close and self.alone is not False

    @property
    def inherited(self) -> bool:
        """Whether it disagrees only because what came before it does."""
        return not self.comparison.close and self.alone is True

    def __str__(self) -> str:
        """What there is to say of it, in one line."""
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
    """One batch, and what every comparison on it needs."""

    def __init__(self, p: Parameters, X: Tensor, Y: Tensor, eps: float) -> None:
        self.p, self.X, self.Y, self.eps = p, X, Y, eps
        self.first_bias = p.b1 is not None
        self.order = steps.gradient_names(steps.steps(self.first_bias))
        self.truth = sources.autograd(p, X, Y, eps)
        self.scale = scales(p, X, Y, eps, self.truth)

    def gradients(self, source: Source) -> dict[str, Tensor]:
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
        tolerance = max(TOLERANCE[self.p.flat.dtype], accuracy)
        follows: dict[str, dict[str, Tensor] | None] = {}
        if wrong_lines is None and len(ours) > len(self.p.views):
            values = steps.forward(self.p, self.X, self.Y, eps=self.eps)
            follows = branches(values, ours, self.first_bias)
        findings = []
        for tensor in self.order:
            if tensor not in ours or tensor not in theirs:
                continue
            our, their = ours[tensor], theirs[tensor]
            known = ~(their.isnan() | our.isnan()) if partial else None
            comparison = compare(tensor, our, their, self.scale[tensor], tolerance, known)
            alone, diagnosis = None, None
            if wrong_lines is not None:
                alone, diagnosis = tensor not in wrong_lines, wrong_lines.get(tensor)
            elif follows.get(tensor) is not None:
                alone, diagnosis = self._follows(tensor, our, follows[tensor] or {}, tolerance)
            if not comparison.close and diagnosis is None and alone is not True and isinstance(our, Tensor):
                diagnosis = None if partial else diagnose(our, their, len(self.X))
            findings.append(Finding(comparison, alone, diagnosis, self._nearer(tensor, comparison) if nearer else None))
        return Section(name, about, findings)

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

    def _nearer(self, tensor: str, comparison: Comparison) -> str | None:
        """Which lies nearer to the witness, if that is float64: we or autograd in our precision."""
        theirs = compare(tensor, self.truth[tensor], self.double[tensor], 1.0, 0.0).difference
        if comparison.difference == theirs:
            return "both"
        return "by hand" if comparison.difference < theirs else "autograd"

    @cached_property
    def double(self) -> dict[str, Tensor]:
        """Autograd's gradients in float64."""
        return sources.float64(self.p, self.X, self.Y, self.eps)

    def report(self, sections: list[Section], accuracy: float = 0.0, **more: Any) -> Report:
        dtype = str(self.p.flat.dtype).removeprefix("torch.")
        tolerance = max(TOLERANCE[self.p.flat.dtype], accuracy)
        return Report(dtype, str(self.p.flat.device), len(self.X), tolerance, sections, **more)


def gradcheck(p: Parameters, X: Tensor, Y: Tensor, eps: float, *, table: Sequence[steps.Step] | None = None) -> Report:
    """Check every hand-written gradient on one batch against autograd: the chain, its lines, the fused passes."""
    table = table or steps.steps(p.b1 is not None)
    check = _Check(p, X, Y, eps)
    values = steps.forward(p, X, Y, eps=eps)
    lines = check_lines(p, X, Y, eps, table=table)
    wrong_lines = {line.comparison.tensor: line.diagnosis for line in lines if not line.comparison.close}

    faults = []
    try:
        chain = steps.backward(values, table=table)
    except RuntimeError as error:
        if not wrong_lines:
            raise
        chain = {}  # a wrong line's shape stops those that come after it
        faults.append(f"after that the chain can't go on: {' '.join(str(error).split())}")

    truth = check.truth
    _, dlogits = fused.cross_entropy(values["logits"], Y)
    dhprebn, dbngain, dbnbias = fused.batchnorm_backward(
        truth["hpreact"], values["bnraw"], values["bnvar_inv"], values["bngain"]
    )
    batchnorm = {"hprebn": dhprebn, "bngain": dbngain, "bnbias": dbnbias}
    functions = check.gradients(SOURCES["functions"])
    sections = [
        check.section(
            "atomic chain",
            "exercise 1, line by line",
            chain,
            truth,
            wrong_lines=wrong_lines,
        ),
        check.section("fused cross-entropy", "exercise 2, in one expression", {"logits": dlogits}, truth),
        check.section("fused batchnorm", "exercise 3, in one expression", batchnorm, truth),
        check.section(
            "training pass", "exercise 4, what `makemore train` runs", check.gradients(SOURCES["fused"]), functions
        ),
    ]
    return check.report(sections, lines=lines, faults=faults)


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
    section = Section(section.name, section.about, section.findings, missing)
    return check.report([section], against.accuracy, faults=faults, remarks=remarks)


@torch.enable_grad()
def crosscheck(p: Parameters, X: Tensor, Y: Tensor, eps: float, step: int) -> None:
    """Hold the training pass against autograd on one batch. Raises CheckFailedError, which names the tensor."""
    ours, theirs = sources.training_pass(p, X, Y, eps), sources.functions(p, X, Y, eps)
    reference = sources.autograd(p, X, Y, eps)
    tolerance = TOLERANCE[p.flat.dtype]

    def wrong(scale: dict[str, float]) -> list[Comparison]:
        found = [compare(name, ours[name], theirs[name], scale[name], tolerance) for name in theirs]
        return [comparison for comparison in found if not comparison.close]

    # The first look is quick; only what it finds is asked whether rounding could have done it.
    if wrong(sizes(reference)) and (found := wrong(scales(p, X, Y, eps, reference))):
        name = found[0].tensor
        diagnosis = _because(diagnose(ours[name], theirs[name], len(X)))
        raise CheckFailedError(
            f"step {step}: the hand-written gradient disagrees with autograd's: {found[0]}{diagnosis}"
        )
