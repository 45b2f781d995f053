"""Gradcheck's report as tables, the lecture's way: exact, approximate, largest difference."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from makemore_cli.gradcheck.check import Report, Section

YES, NO = "[green]yes[/]", "[bold red]no[/]"


def show(report: Report, console: Console) -> None:
    """Print the report."""
    console.print(
        f"By hand against autograd: a batch of {report.batch_size}, {report.dtype}, {report.device}\n", highlight=False
    )
    wrong = {line.comparison.tensor for line in report.wrong_lines}
    for section in report.sections:
        console.print(_table(section, wrong if section is report.sections[0] else None))
    for failure in report.failures():
        console.print(f"[bold red]wrong:[/] {failure}", highlight=False, soft_wrap=True)
    gradients = [c for section in report.sections for c in section.comparisons]
    agree = sum(c.close for c in gradients)
    right = len(report.lines) - len(report.wrong_lines)
    verdict = "[bold green]All agree[/]" if report.ok else "[bold red]They disagree[/]"
    console.print(
        f"{verdict}: {agree} of {len(gradients)} gradients, {right} of {len(report.lines)} backward lines alone.",
        highlight=False,
    )


def _table(section: Section, wrong_lines: set[str] | None) -> Table:
    """One section; with `wrong_lines` a column that says whether all lines of a gradient are right by themselves."""
    table = Table(title=f"[bold]{section.name}[/] – {section.about}", title_justify="left", title_style="")
    table.add_column("gradient of")
    table.add_column("shape", style="dim")
    for heading in ("exact", "approximate"):
        table.add_column(heading, justify="center")
    table.add_column("largest difference", justify="right")
    if wrong_lines is not None:
        table.add_column("lines alone", justify="center")
    for c in section.comparisons:
        row = [c.tensor, "×".join(map(str, c.shape)), YES if c.exact else "no", YES if c.close else NO]
        row.append(c.fault or ("0" if c.difference == 0 else f"{c.difference:.1e}"))
        if wrong_lines is not None:
            row.append(NO if c.tensor in wrong_lines else YES)
        table.add_row(*row)
    return table
