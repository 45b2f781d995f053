"""TensorBoard event files, written by PyTorch's SummaryWriter."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from makemore_cli.errors import MakemoreError, WriteError
from makemore_cli.runs.file_names import EVENTS
from makemore_cli.training.observer import Observer, Progress

FLUSH_SECONDS = 10  # time until written values reach the file


class TensorBoardObserver(Observer):
    """Writes losses, learning rates, names and statistics for TensorBoard into the run folder."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """`say` receives the command that shows the files. Raises MakemoreError if TensorBoard is not installed."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MakemoreError(
                "TensorBoard is not installed; run: pip install tensorboard", parameters=("tensorboard",)
            ) from None
        self._say, self._open, self._writer = say, SummaryWriter, cast(Any, None)

    def started(self, folder: Path, step: int) -> None:
        """Open a new event file; a resumed run keeps its earlier ones. Raises WriteError."""
        place = folder / EVENTS
        try:
            self._writer = self._open(str(place), purge_step=step + 1 if step else None, flush_secs=FLUSH_SECONDS)
        except OSError as error:
            raise WriteError(f"{place}: can't write: {error.strerror}") from None
        self._say(f"to see the event files: tensorboard --logdir {shlex.quote(str(place))}")

    def progressed(self, progress: Progress) -> None:
        self._add(
            progress.step,
            {
                "loss/batch": float(progress.losses.mean()),
                "learning_rate": progress.lr,
                "steps_per_second": progress.steps_per_second,
            },
        )

    def evaluated(self, step: int, loss: Mapping[str, float]) -> None:
        self._add(step, {f"loss/{split}": value for split, value in loss.items()})

    finished = evaluated

    def sampled(self, step: int, names: Sequence[str]) -> None:
        self._write(self._writer.add_text, "names", "  \n".join(names), step)

    def diagnosed(self, step: int, statistics: Mapping[str, Any]) -> None:
        series = {"saturated": statistics["saturated"]}
        for what in ("grad_norm", "grad_data", "update_data"):
            series |= {f"{what}/{name}": value for name, value in statistics[what].items() if value is not None}
        self._add(step, series)

    def close(self) -> None:
        """Write the remaining values. Raises WriteError."""
        if self._writer is not None:
            self._write(self._writer.close)

    def _add(self, step: int, values: Mapping[str, float]) -> None:
        for tag, value in values.items():
            self._write(self._writer.add_scalar, tag, value, step)

    def _write(self, act: Any, *arguments: Any) -> None:
        try:
            act(*arguments)
        except OSError as error:
            raise WriteError(f"{error.filename or EVENTS}: can't write: {error.strerror}") from None
