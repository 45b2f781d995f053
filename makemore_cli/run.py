"""The run folder: `config.yaml`, `metrics.jsonl`, `checkpoint.safetensors` and `summary.json`.

Every file but the metrics, to which lines are added, is written whole or not at all.

A checkpoint is one safetensors file that holds all that sampling needs: the parameters by name, the batchnorm
statistics, and, as JSON in its metadata, the vocabulary, the configuration and the number of steps. Nothing in it
depends on when or under which name it was made, so equal runs give equal bytes. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from makemore_cli import config as configuration
from makemore_cli.config import Config
from makemore_cli.dataset import Vocabulary
from makemore_cli.errors import MakemoreError
from makemore_cli.model import Model, Sizes

CONFIG, METRICS, CHECKPOINT, SUMMARY = "config.yaml", "metrics.jsonl", "checkpoint.safetensors", "summary.json"
FILES = (CONFIG, METRICS, CHECKPOINT, SUMMARY)
FORMAT = "makemore/1"


@dataclass(frozen=True)
class Checkpoint:
    """A trained model and what belongs to it."""

    model: Model
    vocabulary: Vocabulary
    config: Config
    step: int
    data_sha256: str  # of the file of names that it was trained on


class Run:
    """A folder that one training run owns."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def create(cls, folder: Path, *, overwrite: bool = False) -> Run:
        """Take a new folder, or with `overwrite` one that holds a run, whose files are removed.

        Raises MakemoreError where anything else would be lost.
        """
        try:
            if folder.exists() and not folder.is_dir():
                raise MakemoreError(f"{folder}: is a file; give the run another folder with --out")
            if folder.is_dir() and any(folder.iterdir()):
                if not any((folder / name).is_file() for name in FILES):
                    raise MakemoreError(f"{folder}: holds other things than a run; give another folder with --out")
                if not overwrite:
                    kind = "a run" if (folder / SUMMARY).is_file() else "an unfinished run"
                    raise MakemoreError(
                        f"{folder}: holds {kind} already; give another folder with --out, or --overwrite it"
                    )
            folder.mkdir(parents=True, exist_ok=True)
            for name in FILES:  # all of them, lest old and new ones be taken for one run
                (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise MakemoreError(f"{folder}: can't make the run folder: {error.strerror}") from None
        return cls(folder)

    def save_config(self, config: Config) -> None:
        """Write the resolved configuration."""
        write_atomically(self.folder / CONFIG, configuration.dump(config).encode())

    def start_metrics(self) -> None:
        """Begin the metrics anew."""
        write_atomically(self.folder / METRICS, b"")

    def append_steps(self, first: int, losses: Sequence[float], learning_rates: Sequence[float]) -> None:
        """Add a record for each step from `first` on. All numbers must be finite."""
        rows = enumerate(zip(losses, learning_rates, strict=True), start=first)
        # Six times as fast as json.dumps, which would take a second for 200,000 steps.
        ends = {lr: f', "lr": {lr!r}}}\n' for lr in set(learning_rates)}
        self._append("".join([f'{{"step": {step}, "loss": {loss!r}{ends[lr]}' for step, (loss, lr) in rows]))

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        """Add a record to the metrics, one JSON object a line."""
        self._append(json.dumps(record) + "\n")

    def _append(self, lines: str) -> None:
        try:
            with (self.folder / METRICS).open("a") as file:
                file.write(lines)
        except OSError as error:
            raise MakemoreError(f"{self.folder / METRICS}: can't write: {error.strerror}") from None

    def save_summary(self, summary: Mapping[str, Any]) -> None:
        """Write what the run came to."""
        text = json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
        write_atomically(self.folder / SUMMARY, text.encode(errors="backslashreplace"))

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint; the one before stays until this one is whole."""
        write_atomically(self.folder / CHECKPOINT, to_bytes(checkpoint))


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that at no moment is there half of it under its name. Raises MakemoreError."""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o666 & ~_umask())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise MakemoreError(f"{path}: can't write: {error.strerror}") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def to_bytes(checkpoint: Checkpoint) -> bytes:
    """The checkpoint's file. The same checkpoint gives the same bytes."""
    from safetensors.numpy import save

    model = checkpoint.model
    tensors = {**model.parameters, "bnmean": model.bnmean, "bnvar": model.bnvar}
    about = {
        "format": FORMAT,
        "letters": checkpoint.vocabulary.letters,
        "step": checkpoint.step,
        "data_sha256": checkpoint.data_sha256,
        "config": checkpoint.config.model_dump(),
    }
    # One entry, since safetensors writes several in an order that changes.
    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    return save(contiguous, {"makemore": json.dumps(about, ensure_ascii=False)})


def load_checkpoint(run: str | Path) -> Checkpoint:
    """Read a checkpoint, given its file or its run folder. Raises MakemoreError, which names the file."""
    path = Path(run)
    try:
        if path.is_dir():
            path = path / CHECKPOINT
        content = path.read_bytes()
    except FileNotFoundError:
        if path == Path(run):
            reason = "no such run; give a run folder that `makemore train` left, or a checkpoint"
        elif (path.parent / CONFIG).is_file():
            reason = f"holds no {CHECKPOINT}, since the run was not finished; train it again"
        else:
            reason = f"holds no {CHECKPOINT}; give a run folder that `makemore train` left"
        raise MakemoreError(f"{run}: {reason}") from None
    except OSError as error:
        raise MakemoreError(f"{path}: can't be read: {error.strerror}") from None
    return from_bytes(content, path)


def from_bytes(content: bytes, path: Path) -> Checkpoint:
    """The checkpoint in a file's bytes. Raises MakemoreError, which names `path`."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise MakemoreError(f"{path}: not a whole safetensors checkpoint ({error}){_hint(content)}") from None
    about = _about(content, path)
    config = configuration.validate(about.get("config"), f"{path}: its configuration")
    letters = about.get("letters")
    if not (isinstance(letters, str) and letters and list(letters) == sorted(set(letters))):
        raise MakemoreError(f"{path}: its vocabulary is missing or not in order; the checkpoint is damaged")
    step, digest = about.get("step"), about.get("data_sha256")
    if not (isinstance(step, int) and isinstance(digest, str)):
        raise MakemoreError(f"{path}: its step or its data's checksum is missing; the checkpoint is damaged")

    sizes = sizes_of(config, len(letters) + 1)
    expected = {**sizes.shapes(), "bnmean": (1, sizes.hidden), "bnvar": (1, sizes.hidden)}
    for name, shape in expected.items():
        tensor = tensors.get(name)
        if tensor is None:
            raise MakemoreError(f"{path}: has no tensor {name}; the checkpoint is damaged")
        if tensor.shape != shape or tensor.dtype != config.train.dtype:
            found = f"{tensor.shape} {tensor.dtype}"
            raise MakemoreError(
                f"{path}: tensor {name} is {found}, but its configuration says {shape} {config.train.dtype}"
            )
        if not np.isfinite(tensor).all():
            raise MakemoreError(f"{path}: tensor {name} holds numbers that are not finite; take an earlier checkpoint")
    if (tensors["bnvar"] < 0).any():
        raise MakemoreError(f"{path}: tensor bnvar holds negative variances; the checkpoint is damaged")
    parameters = {name: tensors[name] for name in sizes.shapes()}
    model = Model(sizes, parameters, tensors["bnmean"], tensors["bnvar"], config.model.batchnorm.epsilon)
    return Checkpoint(model, Vocabulary(letters), config, step, digest)


def _about(content: bytes, path: Path) -> dict[str, Any]:
    """The JSON that `to_bytes` put into the metadata of a safetensors file, whose header is known to be sound."""
    length = int.from_bytes(content[:8], "little")
    try:
        about = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["makemore"])
        if about["format"] == FORMAT:
            return dict(about)
    except (KeyError, TypeError, ValueError):
        pass
    raise MakemoreError(f"{path}: a safetensors file, but not a checkpoint of makemore ({FORMAT})")


def _hint(content: bytes) -> str:
    """What a file that is no safetensors file looks like."""
    if content[:2] == b"PK" or content[:1] == b"\x80":
        return "; it looks like a pickle, which is never loaded"
    return ""


def sizes_of(config: Config, vocabulary: int) -> Sizes:
    """The network's sizes, given how many letters there are (the sign included)."""
    m = config.model
    return Sizes(vocabulary, m.context_length, m.embedding_size, m.hidden_size, m.first_bias)
