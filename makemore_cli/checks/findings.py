"""The findings of gradcheck: on each gradient, in each section, and as a report."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from makemore_cli.checks.compare import ROUNDING, Comparison
from makemore_cli.checks.lines import LineCheck
from makemore_cli.checks.problem import Problem


@dataclass(frozen=True)
class Finding:
    """The verdict on one gradient."""

    comparison: Comparison
    alone: bool | None = None  # whether its own lines are right; None if unknown
    diagnosis: str | None = None  # what is wrong
    nearer: str | None = None  # to float64: our source's name, "autograd" or "both"; None if float64 is not the witness
    in_float64: Comparison | None = None  # the comparison in float64, if that decides
    agrees: bool | None = None  # the verdict, if several runs decide it together
    where: str = "in float64"  # where that comparison was made
    place: str = ""  # the line of a user's function that computes it

    @property
    def close(self) -> bool:
        """Whether it agrees. If float64 decides, float32 may differ by ROUNDING of the scale."""
        if self.agrees is not None:
            return self.agrees
        if self.in_float64 is None:
            return self.comparison.close
        return self.in_float64.close and self.comparison.difference <= ROUNDING * self.comparison.scale

    @property
    def ok(self) -> bool:
        """Whether it agrees, and its lines are right."""
        return self.close and self.alone is not False

    @property
    def inherited(self) -> bool:
        """Whether it disagrees only because a gradient above it does."""
        return not self.close and self.alone is True

    def __str__(self) -> str:
        place = f"{self.place}: " if self.place else ""
        if self.in_float64 is not None and not self.in_float64.close and self.comparison.close:
            return f"{place}{self.where} {self.in_float64}{because(self.diagnosis)}"
        return f"{place}{self.comparison}{because(self.diagnosis)}"


@dataclass(frozen=True)
class Section:
    """One source, or part of one, against one witness."""

    name: str
    about: str
    findings: list[Finding]
    missing: list[str] = field(default_factory=list)  # gradients that a user's pass leaves out, which is not a fault

    @property
    def ok(self) -> bool:
        return all(finding.ok for finding in self.findings)


@dataclass(frozen=True, repr=False)
class Report:
    """Everything that gradcheck found. It is true if all agree, and shows itself as tables."""

    dtype: str
    device: str
    subject: dict[str, Any]  # what was checked: the batch size, or the chain and its sizes
    title: str  # the same in words
    tolerance: float
    sections: list[Section]
    lines: list[LineCheck] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)  # other than wrong gradients and lines
    remarks: list[str] = field(default_factory=list)  # which are not faults

    @property
    def wrong_lines(self) -> list[LineCheck]:
        """Backward lines that are wrong by themselves, from the outputs down."""
        return [line for line in self.lines if not line.comparison.close]

    @property
    def ok(self) -> bool:
        """Whether every gradient and every line agrees, and there was one to compare."""
        agrees = all(section.ok for section in self.sections) and not self.wrong_lines and not self.faults
        return agrees and not self._is_empty

    @property
    def _is_empty(self) -> bool:
        return not (self.lines or self.faults or any(section.findings for section in self.sections))

    def __bool__(self) -> bool:
        return self.ok

    def __repr__(self) -> str:
        from makemore_cli.checks.report import text

        return text(self)

    def _repr_html_(self) -> str:
        from makemore_cli.checks.report import html

        return html(self)

    def failures(self) -> list[str]:
        """All failures, the most telling first: wrong lines, then each section's mistakes that are not inherited."""
        found = [
            f"the line for d{c.comparison.tensor} in the step {c.step} is wrong{f' ({c.place})' if c.place else ''}: "
            f"{c.comparison}{because(c.diagnosis)}"
            for c in self.wrong_lines
        ]
        blamed = {line.comparison.tensor for line in self.wrong_lines}
        for section in self.sections:
            wrong = [f for f in section.findings if not f.ok]
            own = [f for f in wrong if f.alone is False and f.comparison.tensor not in blamed]
            if own:
                found += [f"{section.name}: {finding}" for finding in own]
            elif wrong and not (blamed & {f.comparison.tensor for f in wrong}):
                found.append(f"{section.name}: the first gradient that disagrees is {wrong[0]}")
        if self._is_empty:
            found.append("nothing was compared")
        return found + self.faults

    def to_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "dtype": self.dtype,
            "device": self.device,
            **self.subject,
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
                            "ok": f.ok,
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


def make_report(problem: Problem, sections: list[Section], accuracy: float = 0.0, **more: Any) -> Report:
    """A report on a problem; `more` are the report's other fields."""
    dtype = str(problem.dtype).removeprefix("torch.")
    tolerance = max(problem.tolerance, accuracy)
    report = Report(dtype, str(problem.device), problem.subject, problem.title, tolerance, sections, **more)
    if problem.underflows:
        report.remarks.append(
            "the chain's probabilities underflow to zero at these parameters, so their logarithm has no finite "
            "gradient, in autograd either; the training pass uses log_softmax and is not affected"
        )
    return report


def because(diagnosis: str | None) -> str:
    """A diagnosis as the end of a sentence."""
    return f"; {diagnosis}" if diagnosis else ""


def _plain(comparison: Comparison) -> dict[str, Any]:
    """A comparison for JSON, which has no infinity and no NaN."""
    values = {**asdict(comparison), "relative": comparison.relative}
    return {k: None if isinstance(v, float) and not abs(v) < float("inf") else v for k, v in values.items()}
