"""The checkpoints of a run: the last one, and the one with the lowest validation loss."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from makemore_cli.errors import MakemoreError
from makemore_cli.network.model import Model
from makemore_cli.runs.checkpoint import Checkpoint, load_checkpoint
from makemore_cli.runs.file_names import BEST
from makemore_cli.runs.run_folder import Run
from makemore_cli.training.engines import Engine
from makemore_cli.training.observer import Observer
from makemore_cli.training.setup import TrainingSetup

SAVE_SECONDS = 60.0  # longest time between checkpoints, whatever the configuration says
FIRST_SAVE_SECONDS = 5.0  # longest time to the first checkpoint

RandomState = Mapping[str, NDArray[Any]]


class Saver:
    """Writes checkpoints, and keeps track of the last saved step."""

    def __init__(self, run: Run, setup: TrainingSetup, engine: Engine, observer: Observer, resumed_at: int) -> None:
        self._run, self._setup, self._engine = run, setup, engine
        self.saved_step: int | None = resumed_at or None  # None: there is no checkpoint yet
        self._saved_time = time.monotonic() - SAVE_SECONDS + FIRST_SAVE_SECONDS
        self._least_loss = _least_loss(run, observer) if resumed_at else None

    @property
    def is_overdue(self) -> bool:
        """Whether the last checkpoint is too old."""
        return time.monotonic() > self._saved_time + SAVE_SECONDS

    def save(self, model: Model, step: int, random_state: RandomState) -> None:
        """Write the last checkpoint. Raises WriteError."""
        self._run.save_checkpoint(self._checkpoint(model, step, random_state))
        self.saved_step, self._saved_time = step, time.monotonic()

    def save_if_best(self, model: Model, step: int, random_state: RandomState, loss: float) -> None:
        """Write the best checkpoint if the validation loss, in nats per character, is the lowest so far."""
        if self._least_loss is None or loss < self._least_loss:
            self._least_loss = loss
            self._run.save_best(self._checkpoint(model, step, random_state, loss))

    def _checkpoint(self, model: Model, step: int, random_state: RandomState, loss: float | None = None) -> Checkpoint:
        setup, engine = self._setup, self._engine
        training = {**random_state, **engine.optimiser.state(engine.parameters.flat)}
        dataset = setup.dataset
        return Checkpoint(model, dataset.vocabulary, setup.config, step, dataset.sha256, training, loss)


def _least_loss(run: Run, observer: Observer) -> float | None:
    """The lowest validation loss of a run so far, from its best checkpoint."""
    if not run.has(BEST):
        return None
    try:
        return load_checkpoint(run.folder / BEST).loss
    except MakemoreError as error:
        observer.warning(f"{error}; the next evaluation replaces it")
        return None
