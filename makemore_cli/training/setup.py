"""What every run begins with: the device, the data, the initial parameters, and the stream of batches."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from makemore_cli.config.load import flatten
from makemore_cli.config.schema import Config
from makemore_cli.errors import MakemoreError
from makemore_cli.names import dataset as data
from makemore_cli.names.dataset import Dataset, Vocabulary
from makemore_cli.network.model import Sizes
from makemore_cli.network.parameters import Parameters, initialise
from makemore_cli.runs.checkpoint import STREAMS, Checkpoint, sizes_of, training_names
from makemore_cli.system.environment import NO_JIT, compiles
from makemore_cli.training.engines import LARGEST_KERNEL_HIDDEN_SIZE

DROPOUT_DRAWS = 1 << 24  # numbers that a letter's lot is drawn from
DROPOUT_OFFSET = 2  # from the run's seed; the next one is that of batchnorm's parameters


@dataclass(frozen=True)
class Start:
    """A configuration come to life."""

    config: Config  # resolved
    dataset: Dataset
    parameters: Parameters
    generator: torch.Generator  # drew the parameters, and draws the batches, as in the lecture
    dropout: torch.Generator | None = None  # draws which letters of a context are dropped, where some are

    def batches(self, steps: int) -> tuple[Int[Tensor, "steps batch context"], Int[Tensor, "steps batch"]]:
        """Contexts and next letters of the next batches, the same however many are drawn at a time."""
        train, split = self.config.train, self.dataset.train
        index = torch.randint(0, len(split), (steps, train.batch_size), generator=self.generator)
        X, Y = split.examples(index.numpy())
        if self.dropout is not None:
            drawn = torch.randint(0, DROPOUT_DRAWS, X.shape, generator=self.dropout).numpy()
            X[drawn < train.context_dropout * DROPOUT_DRAWS] = 0
        return tuple(torch.from_numpy(tokens.astype(np.int64)).to(train.device) for tokens in (X, Y))  # type: ignore[return-value]

    def random_state(self) -> dict[str, NDArray[np.uint8]]:
        """Where the streams of random numbers stand, by the names that they have in a checkpoint."""
        return {name: stream.get_state().numpy().copy() for name, stream in self._streams().items()}

    def set_random_state(self, state: Mapping[str, NDArray[np.uint8]]) -> None:
        """Put the streams where they stood. Raises RuntimeError for a damaged state, KeyError where one is missing."""
        for name, stream in self._streams().items():
            stream.set_state(torch.from_numpy(state[name]))

    def _streams(self) -> dict[str, torch.Generator]:
        return {STREAMS[0]: self.generator} | ({} if self.dropout is None else {STREAMS[1]: self.dropout})


def start(config: Config, vocabulary: Vocabulary | None = None) -> Start:
    """Load the data and draw the parameters. Raises MakemoreError for what the user can mend."""
    config = resolve(config)
    dataset = data.load(config.data, config.model.context_length, vocabulary)
    sizes = sizes_of(config, len(dataset.vocabulary))
    check_room(sizes, config)
    parameters, generator = initialise(sizes, config.train.seed)
    parameters = parameters.to(dtype=getattr(torch, config.train.dtype), device=config.train.device)
    dropout = None
    if config.train.context_dropout:
        # A stream of its own, so that the batches stay the lecture's.
        dropout = torch.Generator().manual_seed((config.train.seed + DROPOUT_OFFSET) % 2**63)
    return Start(config, dataset, parameters, generator, dropout)


def check_room(sizes: Sizes, config: Config) -> None:
    """Refuse a network that this machine's memory can't hold. Raises MakemoreError.

    A system that promises more memory than it has would end the process without a word, when it takes it.
    """
    rows = config.train.batch_size * (2 * sizes.context * sizes.embedding + 4 * sizes.hidden + 2 * sizes.vocabulary)
    needed = ((3 + len(config.optim.kept)) * sizes.parameters + rows) * np.dtype(config.train.dtype).itemsize
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # a system that doesn't say
        return
    if needed > memory:
        raise MakemoreError(
            f"this network takes about {needed / 1e9:,.0f} GB of memory, and the machine has {memory / 1e9:,.0f}; try "
            f"a smaller batch_size, hidden_size, embedding_size or context_length"
        )


# What may be other when a run goes on: none of it changes what is trained, but for the engine's last digits.
MAY_CHANGE = {"data.path", "train.steps", "train.engine", "train.device"} | {
    f"train.{what}_every" for what in ("checkpoint", "eval", "sample", "diagnose")
}


def check_settings(config: Config, saved: Checkpoint, folder: Path) -> None:
    """Make sure that a run goes on as it began. Raises MakemoreError, which names the setting that is other."""
    before, now = flatten(saved.config.model_dump()), flatten(config.model_dump())
    for key in before.keys() | now.keys():
        if key not in MAY_CHANGE and before.get(key) != now.get(key):
            raise MakemoreError(
                f"{folder}: {key} is {before.get(key)} in this run, and can't become {now.get(key)} when it goes on; "
                f"train another run with --out"
            )
    if config.train.steps < saved.step:
        raise MakemoreError(f"{folder}: stands at step {saved.step:,} already; give as many --steps or more")
    if not set(training_names(config)) <= set(saved.training):
        raise MakemoreError(f"{folder}: its checkpoint can be sampled from, but not gone on with; train another run")


def check_data(begun: Start, saved: Checkpoint, folder: Path) -> None:
    """Make sure that a run goes on with the data that it began with. Raises MakemoreError."""
    if begun.dataset.sha256 != saved.data_sha256 or begun.dataset.vocabulary != saved.vocabulary:
        raise MakemoreError(
            f"{begun.dataset.path}: is not the file that {folder} was trained on, or has changed; give that one by "
            f"--data, or train another run with --out"
        )


def resolve(config: Config) -> Config:
    """The configuration with every `auto` decided and the data's path made absolute. Raises MakemoreError."""
    path = config.data.path
    if path not in data.NAMED:
        path = os.path.abspath(data.resolve(path))  # noqa: PTH100 (without .. and without following links)
    device, engine = resolve_device(config.train.device), config.train.engine
    if engine == "auto":
        engine = (
            "kernel"
            if device == "cpu" and config.model.hidden_size <= LARGEST_KERNEL_HIDDEN_SIZE and compiles()
            else "tensor"
        )
    elif engine == "kernel" and config.model.hidden_size > LARGEST_KERNEL_HIDDEN_SIZE:
        raise MakemoreError(
            f"engine kernel: takes at most {LARGEST_KERNEL_HIDDEN_SIZE:,} hidden units; use --engine tensor"
        )
    elif engine == "kernel" and device != "cpu":
        raise MakemoreError(f"engine kernel: runs on the CPU only; for --device {device} use --engine tensor")
    elif engine == "kernel" and not compiles():
        raise MakemoreError(f"engine kernel: can't be compiled, for {NO_JIT} is set; unset it, or use --engine tensor")
    train = {"device": device, "engine": engine}
    return config.model_copy(
        update={
            "data": config.data.model_copy(update={"path": path}),
            "train": config.train.model_copy(update=train),
        }
    )


def without_kernel(config: Config) -> str | None:
    """What to say if a configuration that leaves the engine open can't have the kernel, though the network fits it."""
    if compiles() or config.train.engine != "auto" or config.model.hidden_size > LARGEST_KERNEL_HIDDEN_SIZE:
        return None
    if resolve_device(config.train.device) != "cpu":
        return None
    return f"{NO_JIT} is set, so the kernel can't be compiled: engine tensor takes its place, which is slower"


def resolve_device(name: str) -> str:
    """The device that auto, cpu, cuda or cuda:N means here. Raises MakemoreError where there is none such."""
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda" if available else "cpu"
    if name != "cpu":
        if available == 0:
            raise MakemoreError(f"device {name}: PyTorch finds no CUDA device here; use --device cpu")
        if int(name.partition(":")[2] or 0) >= available:
            raise MakemoreError(f"device {name}: there are only {available}, numbered from 0")
    return name
