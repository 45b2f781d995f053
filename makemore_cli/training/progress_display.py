"""What a training run shows while it goes on: a live view in a terminal, a line now and then elsewhere, or nothing."""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, RenderableType
from rich.live import Live as RichLive
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from makemore_cli.system import output
from makemore_cli.system.console import SafeConsole, foreign
from makemore_cli.system.output import duration

LINE_SECONDS = 5.0  # seconds between two plain lines
REFRESHES_PER_SECOND = 5  # times a second, in a terminal
WIDEST_VIEW_COLUMNS = 110  # columns of the view
LABEL_COLUMNS = 7  # columns for what a row is
SPARKLINE_PARTS = 40  # of a run, for the sparkline
BLOCKS, ASCII = "▁▂▃▄▅▆▇█", "_.-~=+*#"


@dataclass(frozen=True)
class Status:
    """Where a run stands."""

    step: int  # steps done
    steps: int
    losses: NDArray[np.float64]  # of the last steps, those since the status before; nats per character
    loss: float  # smoothed
    lr: float  # the learning rate of the last step
    rate: float  # steps per second, of late

    @property
    def seconds_left(self) -> float:
        """At the present rate."""
        return (self.steps - self.step) / self.rate if self.rate else float("inf")


class Display:
    """Takes notice of a run, as a context manager around it. This one shows nothing."""

    def __enter__(self) -> Display:
        """Begin to show."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, whatever happened."""

    def begin(self, folder: Path, step: int) -> None:
        """A run begins, or goes on after a step, in a folder that is ready to be written to."""

    def update(self, status: Status) -> None:
        """Show where the run stands."""

    def evaluated(self, step: int, loss: Mapping[str, float]) -> None:
        """Show the losses by split, in nats per character, after a step."""

    def ended(self, step: int, loss: Mapping[str, float]) -> None:
        """Show the losses by split after the last step."""

    def sampled(self, step: int, names: Sequence[str]) -> None:
        """Show some names."""

    def diagnosed(self, step: int, found: Mapping[str, Any]) -> None:
        """Show what a step did (see `diagnostics.diagnose`)."""

    def say(self, text: str) -> None:
        """Show a line that stays."""

    def warn(self, text: str) -> None:
        """Show a line that stays, whether or not progress is to be shown."""
        output.remark(f"warning: {text}")

    def tell(self, text: str) -> None:
        """Show a line that stays, whether or not progress is to be shown. Another thread may call it."""
        output.remark(text)


class Plain(Display):
    """Lines on stderr, the first at once, the last at the end, and one every few seconds between."""

    def __init__(self) -> None:
        self.due = 0.0

    def update(self, status: Status) -> None:
        """Print a line if one is due."""
        now = time.monotonic()
        if now >= self.due or status.step == status.steps:
            self.due = now + LINE_SECONDS
            self.say(
                f"step {status.step:,}/{status.steps:,}  loss {status.loss:.4f}  lr {status.lr:.3g}  "
                f"{status.rate:,.0f} steps/s  {duration(status.seconds_left)} left"
            )

    def evaluated(self, step: int, loss: Mapping[str, float]) -> None:
        """Print a line."""
        self.say(f"step {step:,}: loss {loss['train']:.4f} train, {loss['val']:.4f} val")

    def sampled(self, step: int, names: Sequence[str]) -> None:
        """Print them on one line."""
        self.say(f"step {step:,}: {' '.join(names)}")

    def say(self, text: str) -> None:
        """Print a line."""
        output.remark(text)


class Live(Display):
    """A view on stderr that is drawn over itself: progress, the loss as a sparkline, evaluations, and sampled names."""

    def __init__(self, console: Console) -> None:
        self.status: Status | None = None
        self.curve = Curve()
        self.evaluations: deque[tuple[int, float]] = deque(maxlen=3)  # step, validation loss
        self.names: list[str] = []
        self.view = RichLive(console=console, get_renderable=self.render, refresh_per_second=REFRESHES_PER_SECOND)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the view as it last was, and give the terminal back."""
        with suppress(OSError):
            self.view.stop()

    def update(self, status: Status) -> None:
        """Take notice; the view is drawn by a thread of its own."""
        self.status = status
        self.curve.add(status)
        with suppress(OSError):  # the terminal is closed
            self.view.start()  # if it has not

    def evaluated(self, step: int, loss: Mapping[str, float]) -> None:
        """Take notice."""
        self.evaluations.append((step, loss["val"]))

    ended = evaluated

    def sampled(self, step: int, names: Sequence[str]) -> None:
        """Take notice."""
        self.names = list(names)

    def say(self, text: str) -> None:
        """Print a line above the view."""
        with suppress(OSError):
            self.view.console.print(foreign(text))

    def warn(self, text: str) -> None:
        """Print a warning above the view."""
        self.say(f"warning: {text}")

    def tell(self, text: str) -> None:
        """Print a line above the view."""
        self.say(text)

    def render(self) -> RenderableType:
        """The view as it is now."""
        status = self.status
        if status is None:
            return Text()
        # A little less than the terminal is wide, so that what is typed meanwhile does not make a line of it.
        width = min(self.view.console.width, WIDEST_VIEW_COLUMNS) - 4
        left = f"  {duration(status.seconds_left)} left"
        speed, step = f"  {status.rate:,.0f} steps/s", f"{status.step:,}/{status.steps:,}  "
        room = width - LABEL_COLUMNS - len(step) - len(left)
        speed = speed if room >= len(speed) + LABEL_COLUMNS else ""
        bar = ProgressBar(status.steps, status.step, width=room - len(speed)) if room > len(speed) else ""
        rows = Table.grid(padding=0)
        rows.add_column(width=LABEL_COLUMNS, style="dim")
        rows.add_column(no_wrap=True, overflow="ellipsis", max_width=width - LABEL_COLUMNS)
        progress = Table.grid(*(Column(no_wrap=True) for _ in range(3)), padding=0)
        progress.add_row(step, bar, f"{speed}{left}")
        rows.add_row("step", progress)
        *before, last = self.curve.last(3)
        ascii_only = self.view.console.options.ascii_only
        loss = Text.assemble(
            (f"{status.loss:.4f}", "bold"),
            f"  lr {status.lr:.3g}  ",
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
    """The losses of a run so far: the mean over each of equal parts of it."""

    def __init__(self) -> None:
        self.sums, self.counts = np.zeros((2, SPARKLINE_PARTS))

    def add(self, status: Status) -> None:
        """Take in the losses of some steps."""
        steps = np.arange(status.step - len(status.losses), status.step)
        part = steps * SPARKLINE_PARTS // status.steps
        self.sums += np.bincount(part, status.losses, SPARKLINE_PARTS)
        self.counts += np.bincount(part, minlength=SPARKLINE_PARTS)

    def last(self, count: int) -> list[float]:
        """The means of the last parts that have begun, at least one."""
        begun = np.flatnonzero(self.counts)[-count:]
        return [float(mean) for mean in self.sums[begun] / self.counts[begun]] or [math.nan]

    def sparkline(self, width: int, ascii_only: bool = False) -> str:
        """The means as blocks of different heights. The steep beginning is cut off, lest the rest looks flat."""
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


def display(quiet: bool) -> Display:
    """The display that suits the terminal, or the lack of one."""
    if quiet:
        return Display()
    console = SafeConsole(stderr=True)
    return Live(console) if console.is_terminal and sys.stdout.isatty() and not console.is_dumb_terminal else Plain()
