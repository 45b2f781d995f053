"""The whole check: sources of gradients against witnesses, tensor by tensor, and each line by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import product
from typing import Any

import torch
from torch import Tensor

from makemore_cli import engine
from makemore_cli.backprop import fused, steps
from makemore_cli.errors import CheckFailedError, MakemoreError
from makemore_cli.gradcheck import sources
from makemore_cli.gradcheck.alone import branches, check_lines
from makemore_cli.gradcheck.compare import TOLERANCE, Comparison, compare, is_plain, sizes
from makemore_cli.gradcheck.diagnose import diagnose
from makemore_cli.gradcheck.findings import Finding, Report, Section
from makemore_cli.gradcheck.rounding import scales
from makemore_cli.gradcheck.sources import SOURCES, Gradients, Source
from makemore_cli.gradcheck.user import UserPass
from makemore_cli.parameters import Parameters


class _Check:
    """One batch in one precision, and what every comparison on it needs."""

    def __init__(
        self,
        p: Parameters,
        X: Tensor,
        Y: Tensor,
        eps: float,
        smoothing: float = 0.0,
        *,
        measure_rounding: bool = False,
    ) -> None:
        self.p, self.X, self.Y, self.eps, self.smoothing = p, X, Y, eps, smoothing
        self.measure_rounding = measure_rounding
        self.first_bias = p.b1 is not None
        self.order = steps.gradient_names(steps.steps(self.first_bias))
        self.tolerance = TOLERANCE[p.flat.dtype]
        self.autograd = sources.autograd(p, X, Y, eps, smoothing)
        self.truth = sources.finite_autograd(p, X, Y, eps, smoothing)

    @cached_property
    def size(self) -> dict[str, float]:
        return sizes(self.truth)

    @cached_property
    def scale(self) -> dict[str, float]:
        return scales(self.p, self.X, self.Y, self.eps, self.smoothing, self.truth)

    def compare(
        self, tensor: str, ours: object, theirs: Tensor, tolerance: float, known: Tensor | None = None
    ) -> Comparison:
        """By the gradient's size; where that is not enough, by what rounding could have done, which takes longer."""
        comparison = compare(tensor, ours, theirs, self.size[tensor], tolerance, known)
        if (comparison.close and not self.measure_rounding) or comparison.fault:
            return comparison
        return compare(tensor, ours, theirs, self.scale[tensor], tolerance, known)

    def _judged(self, tensor: str, ours: Tensor, theirs: Tensor, tried: Tensor, by_chain: bool) -> Tensor:
        """The entries that can be judged: not where the witness has nothing finite to say.

        Nor where the chain's gradient is not finite, if `ours` comes by the chain.
        """
        judged = tried & theirs.isfinite()
        if by_chain and ours.shape == theirs.shape:
            judged &= ours.isfinite() | self.autograd[tensor].isfinite()
        return judged

    @cached_property
    def underflows(self) -> bool:
        """Whether the chain's probabilities underflow, so that their logarithm has no gradient."""
        return any(not gradient.isfinite().all() for gradient in self.autograd.values())

    @cached_property
    def values(self) -> steps.Values:
        return steps.forward(self.p, self.X, self.Y, eps=self.eps, smoothing=self.smoothing)

    @cached_property
    def in_float64(self) -> _Check:
        double = self.p.to(dtype=torch.float64)
        return _Check(double, self.X, self.Y, self.eps, self.smoothing, measure_rounding=self.measure_rounding)

    def gradients(self, source: Source) -> Gradients:
        return source.gradients(self.p, self.X, self.Y, self.eps, self.smoothing)

    def section(
        self,
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
    ) -> Section:
        """Compare all gradients of the witness's, or with `some` those that both have.

        `partial` says of ours and of theirs whether NaN stands for an entry that was not looked at; `by_chain`, that
        ours may come by the chain's probabilities, which can underflow. `wrong_lines` are the diagnoses of tensors
        whose own lines are known to be wrong; without it, that is found out where `ours` has gradients enough. `nearer`
        is the name of our source, where the witness is float64.
        """
        tolerance = max(self.tolerance, accuracy)
        plain = {k: v.detach() for k, v in ours.items() if is_plain(v, self.p.flat.device)}
        follows: dict[str, dict[str, Tensor] | None] = {}
        if wrong_lines is None and not any(partial):
            follows = branches(self.values, plain, self.first_bias)
        findings = []
        for tensor in self.order:
            if tensor not in theirs or (some and tensor not in ours):
                continue
            their = theirs[tensor]
            if tensor not in plain:
                findings.append(Finding(self.compare(tensor, ours.get(tensor), their, tolerance)))
                continue
            our = plain[tensor]
            tried = ~(their.isnan() & partial[1])
            if our.shape == their.shape:
                tried &= ~(our.isnan() & partial[0])
            judged = self._judged(tensor, our, their, tried, by_chain)
            comparison = self.compare(tensor, our, their, tolerance, judged)
            alone, diagnosis = None, None
            if wrong_lines is not None:
                alone, diagnosis = tensor not in wrong_lines, wrong_lines.get(tensor)
            elif parts := follows.get(tensor):
                alone, diagnosis = self._follows(tensor, plain, parts, tolerance, by_chain)
            if not comparison.close and diagnosis is None and alone is not True and not any(partial):
                diagnosis = diagnose(our, their, len(self.X))
            findings.append(Finding(comparison, alone, diagnosis, nearer and self._nearer(tensor, comparison, nearer)))
        return Section(name, about, findings)

    def section_twice(
        self, name: str, about: str, gradients: Callable[[_Check], tuple[dict[str, Any], Gradients]], **options: Any
    ) -> Section:
        """Compare what `gradients` gives (ours, the witness's), in float64 too, which decides.

        There right and wrong are far apart. In float32 a small mistake, such as a forgotten epsilon, is no larger than
        rounding, and rounding can be large where a batch is degenerate.
        """
        single = self.section(name, about, *gradients(self), **options)
        if self.p.flat.dtype == torch.float64:
            return single
        ours, theirs = gradients(self.in_float64)
        # Who turns everything into float32 is judged there.
        ours = {k: v for k, v in ours.items() if getattr(v, "dtype", None) == torch.float64}
        double = self.in_float64.section(name, about, ours, theirs, **{**options, "some": True, "nearer": None})
        again = {finding.comparison.tensor: finding for finding in double.findings}
        findings = []
        for here in single.findings:
            there = again.get(here.comparison.tensor)
            if there is not None:
                alone = here.alone if there.alone is None else there.alone
                here = replace(
                    here, in_float64=there.comparison, alone=alone, diagnosis=there.diagnosis or here.diagnosis
                )
            findings.append(here)
        return replace(single, findings=findings)

    def _follows(
        self, tensor: str, gradients: Mapping[str, Tensor], parts: dict[str, Tensor], tolerance: float, by_chain: bool
    ) -> tuple[bool, str | None]:
        """Whether a gradient follows from those of what comes after it; if not, how it is wrong."""
        ours = gradients[tensor]
        expected = torch.stack(list(parts.values())).sum(0)
        scale = max(self.scale[tensor], *(float(part.abs().max()) for part in parts.values()))
        for step in parts:  # what is larger there than it should be is here too, and so is its rounding
            above, true = gradients.get(step), self.truth.get(step)
            if above is not None and true is not None and float(true.abs().max()) > 0:
                scale = max(scale, self.scale[tensor] * float(above.abs().max() / true.abs().max()))
        judged = self._judged(tensor, ours, expected, torch.ones_like(expected, dtype=torch.bool), by_chain)
        comparison = compare(tensor, ours, expected, scale, tolerance, judged)
        if comparison.close:
            return True, None
        mistakes = {}
        for through in parts:
            rest = [other for other in parts if other != through]
            if len(rest) == 1:
                mistakes[
                    f"only the part through {through} is there; the one through {rest[0]} is missing or overwritten"
                ] = parts[through]
                mistakes[f"the part through {through} has the wrong sign"] = expected - 2 * parts[through]
        return False, diagnose(ours, expected, len(self.X), mistakes)

    def _nearer(self, tensor: str, comparison: Comparison, name: str) -> str:
        """Which lies nearer to float64's gradient, the witness here: the source or autograd in the same precision."""
        theirs = compare(tensor, self.truth[tensor], self.in_float64.truth[tensor], 1.0, 0.0).difference
        if comparison.difference == theirs:
            return "both"
        return name if comparison.difference < theirs else "autograd"

    def report(self, sections: list[Section], accuracy: float = 0.0, **more: Any) -> Report:
        dtype = str(self.p.flat.dtype).removeprefix("torch.")
        report = Report(dtype, str(self.p.flat.device), len(self.X), max(self.tolerance, accuracy), sections, **more)
        if self.underflows:
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
    smoothing: float = 0.0,
    *,
    table: Sequence[steps.Step] | None = None,
    measure_rounding: bool = False,
) -> Report:
    """Check every hand-written gradient on one batch against autograd: the chain, its lines, the fused passes.

    With `measure_rounding` every scale is what rounding can do on this batch, not only where a gradient's size is too
    small a scale: slower, and no verdict changes.
    """
    table = table or steps.steps(p.b1 is not None, smoothing > 0)
    check = _Check(p, X, Y, eps, smoothing, measure_rounding=measure_rounding)
    lines = check_lines(p, X, Y, eps, smoothing, table=table)
    wrong_lines = {line.comparison.tensor: line.diagnosis for line in lines if not line.comparison.close}
    faults = []
    try:
        chain = steps.backward(check.values, table=table)
    except RuntimeError as error:
        if not wrong_lines:
            raise
        chain = {}  # a wrong line's shape stops those that come after it
        faults.append(f"after that the chain can't go on: {' '.join(str(error).split())}")
    chain_section = check.section(
        "atomic chain", "exercise 1, line by line", chain, check.autograd if chain else {}, wrong_lines=wrong_lines
    )
    sections = [chain_section]
    for name, about, gradients in (
        ("fused cross-entropy", "exercise 2, in one expression", _cross_entropy),
        ("fused batchnorm", "exercise 3, in one expression", _batchnorm),
        ("training pass", "exercise 4, what trains; compiled: --of kernel", _training_pass),
    ):
        try:
            sections.append(check.section_twice(name, about, gradients))
        except (RuntimeError, ValueError) as error:
            faults.append(f"the {name} can't be run: {' '.join(str(error).split())}")
    if len(sections) == 4:
        faults += _wrong_losses(check.in_float64)
    return check.report(sections, lines=lines, faults=faults)


def _wrong_losses(check: _Check, of: str = "fused") -> list[str]:
    """The chain and the training pass must begin with the same loss as the network in PyTorch's own functions."""
    problem = (check.X, check.Y, check.eps, check.smoothing)
    truth = float(engine.forward(check.p.views, *problem)[0])
    if of == "kernel":
        losses = {
            f"the training pass, compiled, {path},": sources.kernel_pass(check.p, *problem, lookup)[0]
            for path, lookup in sources.KERNEL_PATHS.items()
        }
    else:
        losses = {"the training pass": float(fused.training_pass(check.p, *problem).loss)}
    if not check.underflows:
        losses["the chain"] = float(check.values["loss"])
    return [
        f"{name} computes a loss of {loss:.8g}, PyTorch's functions one of {truth:.8g}"
        for name, loss in losses.items()
        if not abs(loss - truth) <= 1e-9 * max(1.0, abs(truth))  # not so for NaN
    ]


def _cross_entropy(check: _Check) -> tuple[Gradients, Gradients]:
    _, dlogits = fused.cross_entropy(check.values["logits"], check.Y, check.smoothing)
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


def compare_sources(
    p: Parameters, X: Tensor, Y: Tensor, eps: float, of: Source, against: Source, smoothing: float = 0.0
) -> Report:
    """Hold any source against any other, in the gradients that both have; of a training pass, the loss too."""
    check = _Check(p, X, Y, eps, smoothing)
    accuracy = max(of.accuracy, against.accuracy)
    lines = check_lines(p, X, Y, eps, smoothing) if of.name == "atomic" else []

    def compared(ours: Source, theirs: Source) -> Section:
        return check.section_twice(
            f"{ours.name} against {theirs.name}",
            f"{ours.about}, {theirs.about}",
            lambda c: (c.gradients(ours), c.gradients(theirs)),
            accuracy=accuracy,
            partial=(of.partial, against.partial),
            some=True,
            by_chain=of.name == "atomic",
            wrong_lines={c.comparison.tensor: c.diagnosis for c in lines if not c.comparison.close} if lines else None,
            nearer=of.name if against.name == "float64" and p.flat.dtype != torch.float64 else None,
        )

    sections = [compared(*pair) for pair in product(sources.paths(of), sources.paths(against))]
    passes = [name for name in ("fused", "kernel") if name in (of.name, against.name)]
    faults = dict.fromkeys(fault for name in passes for fault in _wrong_losses(check.in_float64, name))
    return check.report(sections, accuracy, lines=lines, faults=list(faults))


def check_user(
    p: Parameters, X: Tensor, Y: Tensor, eps: float, user: UserPass, against: Source, smoothing: float = 0.0
) -> Report:
    """Check a user's own backward pass. Raises MakemoreError where it doesn't run."""
    check = _Check(p, X, Y, eps, smoothing)
    ours = user.gradients(p, X, Y, eps, smoothing)

    def gradients(c: _Check) -> tuple[dict[str, Any], Gradients]:
        if c is check:
            return ours, c.gradients(against)
        try:
            return user.gradients(c.p, X, Y, eps, smoothing), c.gradients(against)
        except MakemoreError:  # it is made for float32 alone
            return {}, {}

    section = check.section_twice(
        user.path.name,
        against.about,
        gradients,
        accuracy=against.accuracy,
        partial=(False, against.partial),
        some=True,
        by_chain=True,
    )
    missing = [name for name in check.order if name not in ours]
    faults = [f"{user.path.name} changes {name}, which it was given: work on a copy" for name in user.changed]
    if not ours:
        faults.append(f"{user.path.name} returned no gradient of the chain's tensors; their names begin with d")
    remarks = []
    if blind := [f"d{name}" for name in ("logit_maxes", "b1") if name in ours]:
        remarks.append(
            f"the true gradient is zero for {' and '.join(blind)}: a mistake there may not show in any loss, nor here"
        )
    if missing:
        remarks.append(f"not given, so not checked: {', '.join(f'd{name}' for name in missing)}")
    if user.unknown:
        remarks.append(f"no tensor of the chain, so left aside: {', '.join(user.unknown)}")
    return check.report([replace(section, missing=missing)], against.accuracy, faults=faults, remarks=remarks)


@torch.enable_grad()
def crosscheck(
    p: Parameters, X: Tensor, Y: Tensor, eps: float, step: int, of: str = "fused", smoothing: float = 0.0
) -> None:
    """Hold a training pass against autograd on one batch. Raises CheckFailedError, which names the tensor."""
    check = _Check(p, X, Y, eps, smoothing)
    section = check.section_twice(of, "", lambda c: (c.gradients(SOURCES[of]), c.gradients(SOURCES["functions"])))
    wrong = [str(finding) for finding in section.findings if not finding.ok] + _wrong_losses(check.in_float64, of)
    if wrong:
        raise CheckFailedError(f"step {step}: the hand-written gradient disagrees with autograd's: {wrong[0]}")
