"""Gradcheck's report as tables like the lecture's: exact, approximate, largest difference; and what is wrong."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from rich.console import Console
from rich.text import Text

from makemore_cli.checks.candidates import UNFINISHED
from makemore_cli.checks.findings import Finding, Report, Section
from makemore_cli.system.console import SafeConsole, foreign, plain_table

RIGHT, WRONG, PLAIN = "bold green", "bold red", ""  # styles of a cell
LEFT_COLUMNS = ("gradient of", "shape", "alone", "nearer")
CENTERED_COLUMNS = ("exact", "approx.")
WIDE = 160  # columns of a report that is not for a terminal


class Cell(NamedTuple):
    """The text of a cell, and how it looks."""

    text: str
    style: str = PLAIN


def show(report: Report, console: Console) -> None:
    """Print the report on a terminal."""
    console.print(foreign(head(report)))
    for section in (one for one in report.sections if one.findings):
        title = foreign(section.name, style="bold").append(f" – {section.about}", style="not bold")
        table = plain_table(title=title, title_justify="left", title_style="")
        for name in columns(section):
            justify: Any = "left" if name in LEFT_COLUMNS else "center" if name in CENTERED_COLUMNS else "right"
            table.add_column(name, justify=justify, no_wrap=name in LEFT_COLUMNS[:2])
        for finding, cells in rows(section):
            table.add_row(*(Text(*cell) for cell in cells), style="dim" if finding.inherited else "")
        console.print()
        console.print(table)
    console.print()
    for label, failure in failures(report):
        console.print(Text(f"{label}: ", style=WRONG).append(Text(failure, style="not bold default")), soft_wrap=True)
    for remark in report.remarks:
        console.print(Text(remark), soft_wrap=True)
    verdict, counted = conclusion(report)
    console.print(Text(verdict, style=RIGHT if report.ok else WRONG).append(f": {counted}.", style="not bold default"))


def text(report: Report) -> str:
    """The report as plain text."""
    console = SafeConsole(file=io.StringIO(), force_jupyter=False, highlight=False, width=WIDE, color_system=None)
    with console.capture() as captured:
        show(report, console)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def html(report: Report) -> str:
    """The report as HTML, for a notebook."""
    sections = [(section, columns(section), list(rows(section))) for section in report.sections if section.findings]
    verdict, counted = conclusion(report)
    page: str = _template().render(
        head=head(report),
        sections=sections,
        failures=failures(report),
        remarks=report.remarks,
        verdict=verdict,
        counted=counted,
        ok=report.ok,
    )
    return page


@cache
def _template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("makemore_cli.checks", ".")
    options: Any = {"autoescape": True, "undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    return Environment(loader=loader, **options).get_template("report.html.jinja")


def head(report: Report) -> str:
    return f"{report.title} in {report.dtype} on {report.device}; tolerance {report.tolerance:g} of scale."


def failures(report: Report) -> list[tuple[str, str]]:
    """Each failure, and whether it is "wrong" or "unfinished"."""
    return [("unfinished" if UNFINISHED in failure else "wrong", failure) for failure in report.failures()]


def conclusion(report: Report) -> tuple[str, str]:
    """The verdict, and what was counted: what agrees if all agree, otherwise what disagrees."""
    findings = [f for section in report.sections for f in section.findings]
    lines = [line.comparison.close for line in report.lines]
    counted = [f"{sum(f.close is report.ok for f in findings)} of {len(findings)} gradients"] if findings else []
    if lines:
        counted.append(f"{sum(close is report.ok for close in lines)} of {len(lines)} backward lines checked alone")
    if not report.ok and findings and all(f.close for f in findings) and all(lines):
        return "Not accepted", f"though the numbers of {len(findings)} gradients agree"
    return "All agree" if report.ok else "Disagree", ", ".join(counted) or "nothing was compared"


def columns(section: Section) -> list[str]:
    names = ["gradient of", "shape", "exact", "approx.", "difference", "of scale", "ulps"]
    if any(f.alone is not None for f in section.findings):
        names.append("alone")
    if any(f.nearer is not None for f in section.findings):
        names.append("nearer")
    return names


def rows(section: Section) -> Iterator[tuple[Finding, list[Cell]]]:
    """Each finding with its cells. An arrow marks the first mistake that is not inherited."""
    known = columns(section)
    first = next((f for f in section.findings if f.alone is False or (not f.ok and not f.inherited)), None)
    for f in section.findings:
        c = f.comparison
        cells = [
            Cell(f"→ {c.tensor}", WRONG) if f is first else Cell(c.tensor),
            Cell("×".join(map(str, c.shape))),
            Cell("yes", "green") if c.exact else Cell("no"),
            Cell("yes", "green") if f.close else Cell("no", WRONG),
        ]
        numbers = ("–", "–", "") if c.fault else (_small(c.difference), _small(c.relative), _ulps(c.ulps))
        cells += map(Cell, numbers)
        if "alone" in known:
            cells.append(_alone(f))
        if "nearer" in known:
            cells.append(Cell(f.nearer or ""))
        yield f, cells


def _alone(finding: Finding) -> Cell:
    if finding.alone is None:
        return Cell("")
    if finding.alone:
        return Cell("inherits") if finding.inherited else Cell("yes", "green")
    return Cell("unfinished" if UNFINISHED in (finding.diagnosis or "") else "wrong", WRONG)


def _small(number: float) -> str:
    return "0" if number == 0 else f"{number:.1e}"


def _ulps(median: float | None) -> str:
    return "" if median is None else f"{median:.2g}" if median < 100 else f"{median:.0f}" if median < 1e4 else ">9999"
