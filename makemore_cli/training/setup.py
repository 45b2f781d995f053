"""The setup of a run: the device, the data, the initial parameters, and the stream of batches."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from makemore_cli.backprop.kernel.layout import memory_bytes
from makemore_cli.config.schema import Config
from makemore_cli.errors import MakemoreError, ParameterError
from makemore_cli.names import dataset as data
from makemore_cli.names.dataset import Dataset
from makemore_cli.names.vocabulary import Vocabulary
from makemore_cli.network.model import Sizes
from makemore_cli.network.parameters import Parameters, initialise
from makemore_cli.runs.checkpoint import STREAMS, sizes_of
from makemore_cli.system.environment import NO_JIT, compiles

DROPOUT_DRAWS = 1 << 24  # the random integers that decide on dropout are below this
DROPOUT_OFFSET = 2  # added to the run's seed; seed + 1 is that of batchnorm's parameters


@dataclass(frozen=True)
class TrainingSetup:
    """Everything that training starts from."""

    config: Config  # resolved
    dataset: Dataset
    parameters: Parameters
    generator: torch.Generator  # drew the parameters, and draws the batches, as in the lecture
    dropout: torch.Generator | None = None  # draws which characters of a context are dropped; None without dropout

    def batches(
        self, steps: int, rows: slice = slice(None)
    ) -> tuple[Int[Tensor, "steps rows context"], Int[Tensor, "steps rows"]]:
        """Contexts and next tokens of the next batches. They do not depend on how many are drawn at a time.

        `rows` selects examples of each batch; the others are drawn, but not read.
        """
        train, split = self.config.train, self.dataset.train
        index = torch.randint(0, len(split), (steps, train.batch_size), generator=self.generator, device="cpu")
        X, Y = split.examples(index.numpy()[:, rows])
        if self.dropout is not None:
            shape = (*index.shape, self.config.model.context_length)
            drawn = torch.randint(0, DROPOUT_DRAWS, shape, generator=self.dropout, device="cpu").numpy()[:, rows]
            X[drawn < train.context_dropout * DROPOUT_DRAWS] = 0
        return tuple(torch.from_numpy(tokens.astype(np.int64)).to(train.device) for tokens in (X, Y))  # type: ignore[return-value]

    def random_state(self) -> dict[str, NDArray[np.uint8]]:
        """The states of the random number generators, by their names in a checkpoint."""
        return {name: stream.get_state().numpy().copy() for name, stream in self._streams().items()}

    def set_random_state(self, state: Mapping[str, NDArray[np.uint8]]) -> None:
        """Restore the generators' states. Raises RuntimeError if a state is damaged, KeyError if one is missing."""
        for name, stream in self._streams().items():
            stream.set_state(torch.from_numpy(state[name]))

    def _streams(self) -> dict[str, torch.Generator]:
        return {STREAMS[0]: self.generator} | ({} if self.dropout is None else {STREAMS[1]: self.dropout})


def set_up(config: Config, vocabulary: Vocabulary | None = None, names: bytes | None = None) -> TrainingSetup:
    """Load the data and draw the parameters. `names` is the content of a file of names that is not yet written.

    Raises MakemoreError for a user's mistake.
    """
    config = resolve(config)
    dataset = data.load(config.data, config.model.context_length, vocabulary, names)
    sizes = sizes_of(config, len(dataset.vocabulary))
    check_room(sizes, config)
    parameters, generator = initialise(sizes, config.train.seed)
    parameters = parameters.to(dtype=getattr(torch, config.train.dtype), device=config.train.device)
    dropout = None
    if config.train.context_dropout:
        # A separate generator, so that the batches stay the lecture's.
        dropout = torch.Generator().manual_seed((config.train.seed + DROPOUT_OFFSET) % 2**63)
    return TrainingSetup(config, dataset, parameters, generator, dropout)


def check_room(sizes: Sizes, config: Config) -> None:
    """Raise MakemoreError if the network does not fit into this machine's memory.

    Otherwise, an operating system that overcommits memory would kill the process without a message.
    """
    n, kept, dtype = config.train.batch_size, len(config.optim.kept), np.dtype(config.train.dtype)
    if config.train.engine == "kernel":
        needed = (1 + kept) * sizes.parameters * dtype.itemsize + memory_bytes(sizes, n, dtype, 2 + kept)
    else:
        rows = n * (2 * sizes.context * sizes.embedding + 4 * sizes.hidden + 2 * sizes.vocabulary)
        needed = ((3 + kept) * sizes.parameters + rows) * dtype.itemsize
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # the system does not say
        return
    if needed > memory:
        raise MakemoreError(
            f"this network needs about {needed / 1e9:,.0f} GB of memory, but the machine has {memory / 1e9:,.0f}; try "
            f"a smaller batch_size, hidden_size, embedding_size or context_length"
        )


def resolve(config: Config) -> Config:
    """The configuration with device and engine chosen if `auto`, and an absolute data path. Raises MakemoreError."""
    path = config.data.path
    if path not in data.NAMED:
        path = os.path.abspath(data.resolve(path))  # noqa: PTH100 (without .. and without following links)
    device, engine = resolve_device(config.train.device), config.train.engine
    if device == "mps" and config.train.dtype == "float64":
        raise ParameterError("train.device", "mps does not support float64; choose cpu, or train.dtype float32")
    if engine == "auto":
        engine = "kernel" if device == "cpu" and config.optim.in_kernel and compiles() else "tensor"
    elif engine == "kernel" and not config.optim.in_kernel:
        raise ParameterError("train.engine", f"kernel does not support optimiser {config.optim.name}; choose tensor")
    elif engine == "kernel" and device != "cpu":
        raise ParameterError("train.engine", f"kernel runs only on the CPU, not on {device}; choose tensor")
    elif engine == "kernel" and not compiles():
        raise ParameterError(
            "train.engine", f"kernel can't be compiled, since {NO_JIT} is set; unset it, or choose tensor"
        )
    train = {"device": device, "engine": engine}
    return config.model_copy(
        update={
            "data": config.data.model_copy(update={"path": path}),
            "train": config.train.model_copy(update=train),
        }
    )


def require_float64(config: Config) -> None:
    """Raises ParameterError if the device of a resolved configuration has no float64, which checks need."""
    if config.train.device == "mps":
        raise ParameterError("train.device", "mps does not support float64, which the check needs; choose cpu")


def without_kernel(config: Config) -> str | None:
    """A remark if the engine is `auto` and would be the kernel, but the kernel can't be compiled."""
    if compiles() or config.train.engine != "auto" or not config.optim.in_kernel:
        return None
    if resolve_device(config.train.device) != "cpu":
        return None
    return f"{NO_JIT} is set, so the kernel can't be compiled; using the slower engine tensor"


def resolve_device(name: str) -> str:
    """The device that auto, cpu, cuda, cuda:N or mps means here. Raises ParameterError if it does not exist."""
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda" if available else "cpu"
    if name == "mps":
        if not torch.backends.mps.is_available():
            raise ParameterError("train.device", "mps is not available: PyTorch finds no Apple GPU; choose cpu")
    elif name != "cpu":
        if available == 0:
            raise ParameterError("train.device", f"{name} is not available: PyTorch finds no CUDA device; choose cpu")
        if int(name.partition(":")[2] or 0) >= available:
            raise ParameterError("train.device", f"{name} does not exist; the last device is cuda:{available - 1}")
    return name
