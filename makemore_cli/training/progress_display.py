"""Displays of a run's progress: a live view in a terminal, lines elsewhere, or warnings only."""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np
from rich.console import Console, RenderableType
from rich.live import Live as RichLive
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from makemore_cli.system import output
from makemore_cli.system.console import SafeConsole, foreign
from makemore_cli.system.environment import in_notebook
from makemore_cli.system.output import duration
from makemore_cli.training.observer import Observer, Progress

LINE_SECONDS = 5.0  # between two plain lines
REFRESHES_PER_SECOND = 5  # of the live view
WIDEST_VIEW_COLUMNS = 110
LABEL_COLUMNS = 7  # width of the row labels
SPARKLINE_PARTS = 40  # parts of a run, one character of the sparkline each
BLOCKS, ASCII = "▁▂▃▄▅▆▇█", "_.-~=+*#"


class QuietDisplay(Observer):
    """Prints only warnings, and a remark when stopping takes a while."""

    def warning(self, text: str) -> None:
        output.remark(f"warning: {text}")

    def stopping(self, text: str) -> None:
        output.remark(text)


class LineDisplay(QuietDisplay):
    """Prints a line to stderr at the start, every few seconds, and at the end."""

    def __init__(self) -> None:
        self.due = 0.0

    def progressed(self, progress: Progress) -> None:
        now = time.monotonic()
        if now >= self.due or progress.step == progress.steps:
            self.due = now + LINE_SECONDS
            self.message(
                f"step {progress.step:,}/{progress.steps:,}  loss {progress.loss:.4f}  lr {progress.lr:.3g}  "
                f"{progress.steps_per_second:,.0f} steps/s  {duration(progress.seconds_left)} left"
            )

    def evaluated(self, step: int, loss: Mapping[str, float]) -> None:
        self.message(f"step {step:,}: loss {loss['train']:.4f} train, {loss['val']:.4f} val")

    def sampled(self, step: int, names: Sequence[str]) -> None:
        self.message(f"step {step:,}: {' '.join(names)}")

    def message(self, text: str) -> None:
        output.remark(text)


class LiveDisplay(QuietDisplay):
    """A live view on stderr: progress, the loss as a sparkline, evaluations, and sampled names."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress: Progress | None = None
        self.curve = Curve()
        self.evaluations: deque[tuple[int, float]] = deque(maxlen=3)  # step, validation loss
        self.names: list[str] = []
        self.view = RichLive(console=console, get_renderable=self.render, refresh_per_second=REFRESHES_PER_SECOND)

    def close(self) -> None:
        """Stop updating the view; its last state stays on the terminal."""
        with suppress(OSError):
            self.view.stop()

    def progressed(self, progress: Progress) -> None:
        self.progress = progress  # another thread draws the view
        self.curve.add(progress)
        with suppress(OSError):  # the terminal is closed
            self.view.start()  # no effect if already started

    def evaluated(self, step: int, loss: Mapping[str, float]) -> None:
        self.evaluations.append((step, loss["val"]))

    finished = evaluated

    def sampled(self, step: int, names: Sequence[str]) -> None:
        self.names = list(names)

    def message(self, text: str) -> None:
        """Print a line above the view."""
        with suppress(OSError):
            self.console.print(foreign(text))

    def warning(self, text: str) -> None:
        self.message(f"warning: {text}")

    def stopping(self, text: str) -> None:
        self.message(text)

    def render(self) -> RenderableType:
        """The current view."""
        progress = self.progress
        if progress is None:
            return Text()
        # Narrower than the terminal, so that input typed meanwhile does not wrap onto another line.
        width = min(self.console.width, WIDEST_VIEW_COLUMNS) - 4
        left = f"  {duration(progress.seconds_left)} left"
        speed, step = f"  {progress.steps_per_second:,.0f} steps/s", f"{progress.step:,}/{progress.steps:,}  "
        room = width - LABEL_COLUMNS - len(step) - len(left)
        speed = speed if room >= len(speed) + LABEL_COLUMNS else ""
        bar = ProgressBar(progress.steps, progress.step, width=room - len(speed)) if room > len(speed) else ""
        rows = Table.grid(padding=0)
        rows.add_column(width=LABEL_COLUMNS, style="dim")
        rows.add_column(no_wrap=True, overflow="ellipsis", max_width=width - LABEL_COLUMNS)
        step_row = Table.grid(*(Column(no_wrap=True) for _ in range(3)), padding=0)
        step_row.add_row(step, bar, f"{speed}{left}")
        rows.add_row("step", step_row)
        *before, last = self.curve.last(3)
        ascii_only = self.console.options.ascii_only
        loss = Text.assemble(
            (f"{progress.loss:.4f}", "bold"),
            f"  lr {progress.lr:.3g}  ",
            (self.curve.sparkline(max(0, width - LABEL_COLUMNS - 52), ascii_only), "cyan"),
            (f"  {' '.join(f'{value:.4f}' for value in before)}", "dim"),
            f" {last:.4f}",
        )
        rows.add_row("loss", loss)
        if self.evaluations:
            told = [f"[bold]{loss:.4f}[/] [dim]at {step:,}[/]" for step, loss in reversed(list(self.evaluations))]
            rows.add_row("val", "  ".join(told))
        if self.names:
            rows.add_row("names", foreign(" ".join(self.names)))
        return rows


class Curve:
    """The loss curve of a run so far: the mean loss over each of SPARKLINE_PARTS equal parts."""

    def __init__(self) -> None:
        self.sums, self.counts = np.zeros((2, SPARKLINE_PARTS))

    def add(self, progress: Progress) -> None:
        """Add the losses of the latest steps."""
        steps = np.arange(progress.step - len(progress.losses), progress.step)
        part = steps * SPARKLINE_PARTS // progress.steps
        self.sums += np.bincount(part, progress.losses, SPARKLINE_PARTS)
        self.counts += np.bincount(part, minlength=SPARKLINE_PARTS)

    def last(self, count: int) -> list[float]:
        """The means of the last `count` parts that have begun, or one NaN if none has."""
        begun = np.flatnonzero(self.counts)[-count:]
        return [float(mean) for mean in self.sums[begun] / self.counts[begun]] or [math.nan]

    def sparkline(self, width: int, ascii_only: bool = False) -> str:
        """The means as blocks of different heights. The steep beginning is clipped, so that the rest is not flat."""
        signs = ASCII if ascii_only else BLOCKS
        begun = np.flatnonzero(self.counts)
        means = self.sums[begun] / self.counts[begun]
        late = means[len(means) // 8 :]
        if width < 1 or not len(late):
            return ""
        low, high = float(late.min()), float(late.max())
        height = np.clip((means - low) / (high - low), 0, 1) if high > low else np.zeros_like(means)
        line = [" "] * SPARKLINE_PARTS
        for part, level in zip(begun, np.rint(height * (len(signs) - 1)).astype(int), strict=True):
            line[part] = signs[level]
        return "".join(line[: begun[-1] + 1])[-width:]


def suitable_display(*, quiet: bool) -> Observer:
    """A live view in a terminal or a notebook, lines elsewhere, or only warnings if `quiet`."""
    if quiet:
        return QuietDisplay()
    if in_notebook():
        from makemore_cli.training.notebook_display import NotebookDisplay

        return NotebookDisplay()
    console = SafeConsole(stderr=True)
    if console.is_terminal and sys.stdout.isatty() and not console.is_dumb_terminal:
        return LiveDisplay(console)
    return LineDisplay()
