"""What the ranks of a shared training run have in common. `leader.py` is rank 0's side, `follower.py` the others'."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from makemore_cli import __version__
from makemore_cli.backprop.fused import Pass, training_pass
from makemore_cli.distributed.exchange import Exchange
from makemore_cli.distributed.place import Place
from makemore_cli.distributed.shared_batch import SharedBatch
from makemore_cli.errors import ParameterError
from makemore_cli.network.parameters import Parameters
from makemore_cli.training.engines import TensorEngine
from makemore_cli.training.setup import TrainingSetup

BYE, STOP = "bye", "stop"  # messages at the end
VERSIONS = {"makemore": __version__, "torch": torch.__version__.partition("+")[0], "numpy": np.__version__}


class SharedEngine(TensorEngine):
    """The tensor engine for one rank's examples of each batch."""

    @property
    def recorder(self) -> None:
        """None: the exchanges are not recorded."""

    def join(self, exchange: Exchange, batch_size: int) -> None:
        """Train together with the other ranks from now on."""
        self.exchange, self.batch = exchange, SharedBatch(exchange, batch_size)
        self.rows = self.batch.rows

    def pass_over(self, p: Parameters, X: Tensor, Y: Tensor) -> Pass:
        """The pass of the whole batch X, Y, which all ranks have, at any parameters."""
        batch = SharedBatch(self.exchange, len(X))
        return training_pass(p, X[batch.rows], Y[batch.rows], self.eps, self.smoothing, batch=batch)


def use_own_gpu(place: Place, device: str) -> None:
    """Let the device cuda be the GPU of this process. Raises ParameterError for a device that ranks can't share."""
    if device == "cpu":
        return
    if device != "cuda":
        raise ParameterError("train.device", f"must be cpu or cuda when processes share each batch, got {device}")
    gpus = torch.cuda.device_count()
    gpu = place.local_rank or 0
    if gpu >= gpus:
        raise ParameterError(
            "train.device",
            f"needs a GPU for each rank, but this machine has {gpus}; start fewer ranks, or use cpu",
        )
    torch.cuda.set_device(gpu)


def data_facts(setup: TrainingSetup) -> dict[str, str]:
    dataset = setup.dataset
    return {"sha256": dataset.sha256, "vocabulary": dataset.vocabulary.letters}


def as_json(value: Any) -> Any:
    """As it comes out of JSON."""
    return list(value) if isinstance(value, tuple) else value
