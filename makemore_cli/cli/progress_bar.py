"""Progress of work that takes long, on stderr: a bar in a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from makemore_cli.system import output
from makemore_cli.system.progress import Report

LINE_SECONDS = 5.0  # between two lines, and before the first one
BAR_SECONDS = 0.3  # before a bar appears


@contextmanager
def progress_bar(text: str) -> Iterator[Report]:
    """Show the progress of some work, unless it is done at once; the bar vanishes when the work ends."""
    if sys.stderr.isatty():
        with _bar(text) as report:
            yield report
    else:
        due = time.monotonic() + LINE_SECONDS

        def report(fraction: float | None) -> None:
            nonlocal due
            if time.monotonic() >= due:
                due = time.monotonic() + LINE_SECONDS
                output.remark(text if fraction is None else f"{text}: {fraction:.0%}")

        yield report


@contextmanager
def _bar(text: str) -> Iterator[Report]:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from makemore_cli.system.console import SafeConsole

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=SafeConsole(stderr=True), transient=True)
    task, due = bar.add_task(text, total=1.0), time.monotonic() + BAR_SECONDS

    def report(fraction: float | None) -> None:
        bar.update(task, total=None if fraction is None else 1.0, completed=fraction or 0.0)
        if not bar.live.is_started and time.monotonic() >= due:
            bar.start()

    try:
        yield report
    finally:
        if bar.live.is_started:
            bar.stop()
