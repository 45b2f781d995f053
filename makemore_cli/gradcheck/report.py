"""Gradcheck's report as tables like the lecture's: exact, approximate, largest difference; and what is wrong."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from makemore_cli.gradcheck.candidates import UNFINISHED
from makemore_cli.gradcheck.findings import Report, Section
from makemore_cli.system.console import plain_table

YES, NO = "[green]yes[/]", "[bold red]no[/]"


def show(report: Report, console: Console) -> None:
    head = f"{report.title} in {report.dtype} on {report.device}; tolerance {report.tolerance:g} of scale."
    console.print(escape(head))
    for section in (one for one in report.sections if one.findings):
        console.print()
        console.print(_table(section))
    console.print()
    for failure in report.failures():
        label = Text("unfinished: " if UNFINISHED in failure else "wrong: ", style="bold red")
        console.print(label.append(Text(failure, style="not bold default")), soft_wrap=True)
    for remark in report.remarks:
        console.print(Text(remark), soft_wrap=True)
    findings = [f for section in report.sections for f in section.findings]
    lines = [line.comparison.close for line in report.lines]
    # A failure counts what disagrees, a success what agrees.
    counted = [f"{sum(f.close is report.ok for f in findings)} of {len(findings)} gradients"] if findings else []
    if lines:
        counted.append(f"{sum(close is report.ok for close in lines)} of {len(lines)} backward lines checked alone")
    verdict = "[bold green]All agree[/]" if report.ok else "[bold red]Disagree[/]"
    console.print(f"{verdict}: {', '.join(counted)}.")


def _table(section: Section) -> Table:
    title = f"[bold]{section.name}[/] – {section.about}"
    table = plain_table(title=title, title_justify="left", title_style="")
    table.add_column("gradient of", no_wrap=True)
    table.add_column("shape", no_wrap=True)
    table.add_column("exact", justify="center")
    table.add_column("approx.", justify="center")
    table.add_column("difference", justify="right")
    table.add_column("of scale", justify="right")
    table.add_column("ulps", justify="right")
    alone = any(f.alone is not None for f in section.findings)
    nearer = any(f.nearer is not None for f in section.findings)
    if alone:
        table.add_column("alone")
    if nearer:
        table.add_column("nearer")
    # An arrow marks the first mistake that is not inherited; inherited ones are grey.
    first = next((f for f in section.findings if f.alone is False or (not f.ok and not f.inherited)), None)
    for f in section.findings:
        c = f.comparison
        row = [f"[bold red]→ {c.tensor}[/]" if f is first else c.tensor, "×".join(map(str, c.shape))]
        row += [YES if c.exact else "no", YES if f.close else NO]
        row += ["–", "–", ""] if c.fault else [_small(c.difference), _small(c.relative), _ulps(c.ulps)]
        if alone:
            own = "unfinished" if f.diagnosis and UNFINISHED in f.diagnosis else "wrong"
            row.append({None: "", True: "inherits" if f.inherited else YES, False: f"[bold red]{own}[/]"}[f.alone])
        if nearer:
            row.append(f.nearer or "")
        table.add_row(*row, style="dim" if f.inherited else "")
    return table


def _small(number: float) -> str:
    return "0" if number == 0 else f"{number:.1e}"


def _ulps(median: float | None) -> str:
    return "" if median is None else f"{median:.2g}" if median < 100 else f"{median:.0f}" if median < 1e4 else ">9999"
