"""The checkpoint: one safetensors file with everything that sampling and resuming need.

It holds the parameters by name (their average, if one is kept), the batchnorm statistics, and the states of the random
number generators and the optimiser. Its metadata hold, as JSON, the vocabulary, the configuration and the number of
steps. Nothing in it depends on when or under which name it was made, so equal runs give equal bytes. Nothing is ever
unpickled.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from makemore_cli.config import load as configuration
from makemore_cli.config.schema import Config, MeanAverage
from makemore_cli.errors import MakemoreError
from makemore_cli.names.vocabulary import LARGEST_VOCABULARY_LETTERS, Vocabulary, fault
from makemore_cli.network.model import Model, Sizes
from makemore_cli.runs.file_names import CHECKPOINT, CONFIG
from makemore_cli.system.files import check_plain

FORMAT = "makemore/1"
LARGEST_HEADER_BYTES = 1 << 24  # a large vocabulary and a long configuration take less than a hundredth of it
LARGEST_STATE_BYTES = 1 << 16  # of a random number generator
STREAMS = ("generator", "dropout")  # random number generators: of the batches, and of the context dropout
TRAINING = "training."  # prefix of tensors that only training needs
DTYPES = {"float32": "F32", "float64": "F64"}  # safetensors' names


@dataclass(frozen=True)
class Checkpoint:
    """A trained model, and everything needed to sample from it and to resume its training."""

    model: Model
    vocabulary: Vocabulary
    config: Config
    step: int
    data_sha256: str  # of the file of names that it was trained on
    training: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # what resuming needs, by name
    loss: float | None = None  # of the validation split, if it was the lowest so far


def to_bytes(checkpoint: Checkpoint) -> bytes:
    """The bytes of a checkpoint's file. Equal checkpoints give equal bytes."""
    from safetensors.numpy import save

    model = checkpoint.model
    tensors = {**model.parameters, "bnmean": model.bnmean, "bnvar": model.bnvar}
    tensors |= {f"{TRAINING}{name}": tensor for name, tensor in checkpoint.training.items()}
    about = {
        "format": FORMAT,
        "letters": checkpoint.vocabulary.letters,
        "step": checkpoint.step,
        "data_sha256": checkpoint.data_sha256,
        "config": checkpoint.config.model_dump(),
    }
    if checkpoint.loss is not None:
        about["loss"] = checkpoint.loss
    # One entry, since safetensors writes several in an order that changes.
    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    return save(contiguous, {"makemore": json.dumps(about, ensure_ascii=False)})


def load_checkpoint(run: str | Path) -> Checkpoint:
    """Read a checkpoint, given its file or its run folder. Raises MakemoreError, which names the file.

    Nothing is read into memory before its size is checked against the configuration.
    """
    from safetensors import SafetensorError, safe_open

    path, resume = Path(run), None
    try:
        if path.is_dir():
            path = path / CHECKPOINT
        check_plain(path, sys.maxsize)
        with path.open("rb") as file:
            start = file.read(8)
        if len(start) == 8 and int.from_bytes(start, "little") > LARGEST_HEADER_BYTES:
            raise MakemoreError(f"{path}: not a valid safetensors checkpoint (its header is too long){_hint(start)}")
        with safe_open(path, framework="numpy") as tensors:
            return _read(tensors, path)
    except FileNotFoundError:
        if path == Path(run):
            reason = "no such run; give a run folder or a checkpoint"
        elif (path.parent / CONFIG).is_file():
            reason, resume = f"has no {CHECKPOINT} yet, since its training was stopped early", path.parent
        else:
            reason = f"has no {CHECKPOINT}; give a run folder or a checkpoint"
        raise MakemoreError(f"{run}: {reason}", resume=resume) from None
    except OSError as error:
        raise MakemoreError(f"{path}: can't be read: {error.strerror or error}") from None
    except (SafetensorError, ValueError) as error:
        raise MakemoreError(f"{path}: not a valid safetensors checkpoint ({error}){_hint(start)}") from None


def _in_order(letters: str) -> bool:
    sane = list(letters) == sorted(set(letters)) and not any(fault(letter) for letter in letters)
    return sane and 0 < len(letters) <= LARGEST_VOCABULARY_LETTERS


def _is_loss(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isfinite(value))


def _read(tensors: Any, path: Path) -> Checkpoint:
    about = _about(tensors.metadata(), path)
    config = configuration.validate(about.get("config"), f"{path}: its configuration")
    letters = about.get("letters")
    if not (isinstance(letters, str) and _in_order(letters)):
        raise MakemoreError(f"{path}: its vocabulary is missing or invalid; the checkpoint is damaged")
    step, digest, loss = about.get("step"), about.get("data_sha256"), about.get("loss")
    if not (type(step) is int and step >= 0 and isinstance(digest, str) and _is_loss(loss)):
        raise MakemoreError(f"{path}: its step, data checksum or loss is missing or invalid; the checkpoint is damaged")

    sizes = sizes_of(config, len(letters) + 1)
    expected = {**sizes.shapes(), "bnmean": (1, sizes.hidden), "bnvar": (1, sizes.hidden)}
    names = set(tensors.keys())
    for name, shape in expected.items():
        if name not in names:
            raise MakemoreError(f"{path}: has no tensor {name}; the checkpoint is damaged")
        found = tensors.get_slice(name)
        if tuple(found.get_shape()) != shape or found.get_dtype() != DTYPES[config.train.dtype]:
            raise MakemoreError(
                f"{path}: tensor {name} is {tuple(found.get_shape())} {found.get_dtype()}, but its configuration says "
                f"{shape} {DTYPES[config.train.dtype]}"
            )
    loaded = {name: tensors.get_tensor(name) for name in expected}
    for name, tensor in loaded.items():
        if not np.isfinite(tensor).all():
            raise MakemoreError(f"{path}: tensor {name} holds numbers that are not finite; use an earlier checkpoint")
    if (loaded["bnvar"] < 0).any():
        raise MakemoreError(f"{path}: tensor bnvar holds negative variances; the checkpoint is damaged")
    training = {}
    for name in training_names(config):
        if f"{TRAINING}{name}" not in names:
            continue
        found = tensors.get_slice(f"{TRAINING}{name}")
        if name in STREAMS:
            if found.get_dtype() != "U8" or math.prod(found.get_shape()) > LARGEST_STATE_BYTES:
                raise MakemoreError(f"{path}: its random number generator state is damaged; use an earlier checkpoint")
        elif name == "began":
            if found.get_shape() != [1] or found.get_dtype() != "I64":
                raise MakemoreError(f"{path}: the start of its average is damaged; use an earlier checkpoint")
        elif found.get_shape() != [sizes.parameters] or found.get_dtype() != DTYPES[config.train.dtype]:
            raise MakemoreError(f"{path}: its optimiser's state ({name}) is damaged; use an earlier checkpoint")
        training[name] = tensors.get_tensor(f"{TRAINING}{name}")
        if not np.isfinite(training[name]).all():
            raise MakemoreError(f"{path}: {name} holds numbers that are not finite; use an earlier checkpoint")
    parameters = {name: loaded[name] for name in sizes.shapes()}
    model = Model(sizes, parameters, loaded["bnmean"], loaded["bnvar"], config.model.batchnorm.epsilon)
    return Checkpoint(model, Vocabulary(letters), config, step, digest, training, loss)


def training_names(config: Config) -> tuple[str, ...]:
    """Names of what resuming needs: the states of the random number generators and of the optimiser.

    If the parameters are averaged, the model is the average, and the parameters themselves are among these.
    """
    kept = tuple("parameters" if name == "average" else name for name in config.optim.kept)
    began = ("began",) if isinstance(config.optim.average, MeanAverage) else ()
    return STREAMS[: 1 + bool(config.train.context_dropout)] + kept + began


def _about(metadata: Mapping[str, str] | None, path: Path) -> dict[str, Any]:
    """The JSON that `to_bytes` put into the metadata of a safetensors file."""
    try:
        about = json.loads((metadata or {})["makemore"])
        if about["format"] == FORMAT:
            return dict(about)
    except (KeyError, TypeError, ValueError, RecursionError):
        pass
    raise MakemoreError(f"{path}: a safetensors file, but not a makemore checkpoint ({FORMAT})")


def _hint(content: bytes) -> str:
    """A hint at the kind of a file that is not a safetensors file, from its first bytes."""
    if content[:2] == b"PK" or content[:1] == b"\x80":
        return "; it looks like a pickle, which is never loaded"
    return ""


def sizes_of(config: Config, vocabulary: int) -> Sizes:
    """The network's sizes, given the number of tokens (including the end-of-word token)."""
    m = config.model
    return Sizes(vocabulary, m.context_length, m.embedding_size, m.hidden_size, m.first_bias)
