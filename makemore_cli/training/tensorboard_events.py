"""TensorBoard's event files, through its own writer."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from makemore_cli.errors import MakemoreError, WriteError
from makemore_cli.runs.file_names import EVENTS
from makemore_cli.training.progress_display import Display, Status

FLUSH_SECONDS = 10  # seconds after which what was written can be seen


class Events(Display):
    """Writes what happens, and hands it on to another display. Raises MakemoreError where TensorBoard is missing."""

    def __init__(self, other: Display) -> None:
        self.other = other
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MakemoreError("--tensorboard: TensorBoard is not installed; run: pip install tensorboard") from None
        self._open, self._writer = SummaryWriter, cast(Any, None)

    def __enter__(self) -> Display:
        """Begin to show."""
        self.other.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, with all that was written on the disk."""
        self.other.__exit__(kind, error, trace)
        if self._writer is not None:
            self._do(self._writer.close)

    def begin(self, folder: Path, step: int) -> None:
        """Open a file, beside those of the run before it went on."""
        self.other.begin(folder, step)
        place = folder / EVENTS
        try:
            self._writer = self._open(str(place), purge_step=step + 1 if step else None, flush_secs=FLUSH_SECONDS)
        except OSError as error:
            raise WriteError(f"{place}: can't write: {error.strerror}") from None
        self.say(f"to see the event files: tensorboard --logdir {shlex.quote(str(place))}")

    def update(self, status: Status) -> None:
        """Write the mean loss of the batches since the last time, the learning rate and the speed."""
        self.other.update(status)
        self._add(
            status.step,
            {
                "loss/batch": float(status.losses.mean()),
                "learning_rate": status.lr,
                "steps_per_second": status.rate,
            },
        )

    def evaluated(self, step: int, loss: Mapping[str, float]) -> None:
        """Write the losses over whole splits."""
        self.other.evaluated(step, loss)
        self._add(step, {f"loss/{split}": value for split, value in loss.items()})

    def ended(self, step: int, loss: Mapping[str, float]) -> None:
        """Write the last losses."""
        self.other.ended(step, loss)
        self._add(step, {f"loss/{split}": value for split, value in loss.items()})

    def sampled(self, step: int, names: Sequence[str]) -> None:
        """Write the names, as a text."""
        self.other.sampled(step, names)
        if self._writer is not None:
            self._do(self._writer.add_text, "names", "  \n".join(names), step)

    def diagnosed(self, step: int, found: Mapping[str, Any]) -> None:
        """Write saturation, gradient norms and ratios."""
        self.other.diagnosed(step, found)
        series = {"saturated": found["saturated"]}
        for what in ("grad_norm", "grad_data", "update_data"):
            series |= {f"{what}/{name}": value for name, value in found[what].items() if value is not None}
        self._add(step, series)

    def say(self, text: str) -> None:
        """Hand it on."""
        self.other.say(text)

    def warn(self, text: str) -> None:
        """Hand it on."""
        self.other.warn(text)

    def tell(self, text: str) -> None:
        """Hand it on."""
        self.other.tell(text)

    def _add(self, step: int, values: Mapping[str, float]) -> None:
        if self._writer is not None:
            for tag, value in values.items():
                self._do(self._writer.add_scalar, tag, value, step)

    def _do(self, act: Any, *arguments: Any) -> None:
        try:
            act(*arguments)
        except OSError as error:
            raise WriteError(f"{error.filename or EVENTS}: can't write: {error.strerror}") from None
