"""The whole check: sources of gradients against witnesses, tensor by tensor, and each line by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from makemore_cli.backprop import fused, steps
from makemore_cli.errors import CheckFailedError
from makemore_cli.gradcheck import sources
from makemore_cli.gradcheck.alone import branches, check_lines
from makemore_cli.gradcheck.compare import TOLERANCE, Comparison, compare, sizes
from makemore_cli.gradcheck.diagnose import diagnose
from makemore_cli.gradcheck.findings import Finding, Report, Section
from makemore_cli.gradcheck.rounding import scales
from makemore_cli.gradcheck.sources import SOURCES, Gradients, Source
from makemore_cli.gradcheck.user import UserPass
from makemore_cli.model import Parameters


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
        some: bool = False,
        wrong_lines: Mapping[str, str | None] | None = None,
        nearer: bool = False,
    ) -> Section:
        """Compare all gradients of the witness's, or with `some` those that both have.

        `wrong_lines` are the diagnoses of tensors whose own lines are known to be wrong; without it, where `ours` has
        gradients enough, that is found out.
        """
        tolerance = max(self.tolerance, accuracy)
        follows: dict[str, dict[str, Tensor] | None] = {}
        if wrong_lines is None and not partial and len(ours) > len(self.p.views):
            follows = branches(self.values, ours, self.first_bias)
        findings = []
        for tensor in self.order:
            if tensor not in theirs or (some and tensor not in ours):
                continue
            our, their = ours.get(tensor), theirs[tensor]
            known = ~(their.isnan() | our.isnan()) if partial and our is not None else None
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
        check.section(
            "atomic chain",
            "exercise 1, line by line",
            chain,
            check.autograd if chain else {},
            wrong_lines=wrong_lines,
        ),
        check.section_twice("fused cross-entropy", "exercise 2, in one expression", _cross_entropy),
        check.section_twice("fused batchnorm", "exercise 3, in one expression", _batchnorm),
        check.section_twice("training pass", "exercise 4, what `makemore train` runs", _training_pass),
    ]
    return check.report(sections, lines=lines, faults=faults)


def _cross_entropy(check: _Check) -> tuple[Gradients, Gradients]:
    _, dlogits = fused.cross_entropy(check.values["logits"], check.Y)
    return {"logits": dlogits}, {"logits": check.truth["logits"]}


def _batchnorm(check: _Check) -> tuple[Gradients, Gradients]:
    values = check.values
    dhprebn, dbngain, dbnbias = fused.batchnorm_backward(
        check.truth["hpreact"], values["bnraw"], values["bnvar_inv"], values["bngain"]
    )
    ours = {"hprebn": dhprebn, "bngain": dbngain, "bnbias": dbnbias}
    return ours, {name: check.truth[name] for name in ours}


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
        some=True,
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
        user.path.name, against.about, ours, theirs, accuracy=against.accuracy, partial=against.partial, some=True
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
