"""What a training run shows while it goes on: a bar in a terminal, a line now and then elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from makemore_cli import output

EVERY = 5.0  # seconds between two plain lines


@dataclass(frozen=True)
class Status:
    """Where a run stands."""

    step: int  # steps done
    steps: int
    loss: float  # nats a letter, smoothed
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

    def update(self, status: Status) -> None:
        """Show where the run stands."""

    def say(self, text: str) -> None:
        """Show a line that stays."""

    def warn(self, text: str) -> None:
        """Show a line that stays, whether or not progress is to be shown."""
        output.remark(f"warning: {text}")


class Plain(Display):
    """Lines on stderr, the first at once, the last at the end, and one every few seconds between."""

    def __init__(self) -> None:
        self.due = 0.0

    def update(self, status: Status) -> None:
        """Print a line if one is due."""
        now = time.monotonic()
        if now >= self.due or status.step == status.steps:
            self.due = now + EVERY
            self.say(
                f"step {status.step:,}/{status.steps:,}  loss {status.loss:.4f}  lr {status.lr:.3g}  "
                f"{status.rate:,.0f} steps/s  {duration(status.seconds_left)} left"
            )

    def say(self, text: str) -> None:
        """Print a line."""
        output.remark(text)


class Bar(Display):
    """A progress bar on stderr."""

    def __init__(self, console: Console) -> None:
        self.progress = Progress(
            TextColumn("step"),
            TextColumn("{task.completed:,}/{task.fields[steps]:,}"),
            BarColumn(bar_width=None),
            TextColumn("loss [bold]{task.fields[loss]:.4f}[/]  lr {task.fields[lr]:.3g}"),
            TextColumn("{task.fields[rate]:,.0f} steps/s  {task.fields[left]} left"),
            console=console,
            expand=True,
        )
        self.task = self.progress.add_task(
            "", total=None, steps=0, loss=float("nan"), lr=float("nan"), rate=0.0, left="?"
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the bar as it last was, and give the terminal back."""
        with suppress(OSError):
            self.progress.stop()

    def update(self, status: Status) -> None:
        """Move the bar."""
        with suppress(OSError):  # the terminal is closed
            self.progress.start()  # if it has not
            self.progress.update(
                self.task,
                completed=status.step,
                total=status.steps,
                steps=status.steps,
                loss=status.loss,
                lr=status.lr,
                rate=status.rate,
                left=duration(status.seconds_left),
            )

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        with suppress(OSError):
            self.progress.console.print(text, markup=False, highlight=False)

    def warn(self, text: str) -> None:
        """Print a warning above the bar."""
        self.say(f"warning: {text}")


def display(quiet: bool) -> Display:
    """The display that suits the terminal, or the lack of one."""
    if quiet:
        return Display()
    console = Console(stderr=True)
    return Bar(console) if console.is_terminal and sys.stdout.isatty() and not console.is_dumb_terminal else Plain()


def duration(seconds: float) -> str:
    """A time to read: 8 s, 3 min 20 s, 2 h 5 min."""
    if seconds == float("inf"):
        return "?"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {s} s"
