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

        def report(fraction: float) -> None:
            nonlocal due
            if time.monotonic() >= due:
                due = time.monotonic() + LINE_SECONDS
                output.remark(f"{text}: {fraction:.0%}")

        yield report


@contextmanager
def _bar(text: str) -> Iterator[Report]:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from makemore_cli.system.console import SafeConsole

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=SafeConsole(stderr=True), transient=True)
    task, due = bar.add_task(text, total=1.0), time.monotonic() + BAR_SECONDS

    def report(fraction: float) -> None:
        bar.update(task, completed=fraction)
        if not bar.live.is_started and time.monotonic() >= due:
            bar.start()

    try:
        yield report
    finally:
        bar.stop()
