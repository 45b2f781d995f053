"""Read the log of a run: the loss of each step, evaluations and diagnostics."""

from __future__ import annotations

import json
import math
import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from makemore_cli.errors import MakemoreError
from makemore_cli.runs.file_names import METRICS
from makemore_cli.system.files import check_plain

CHUNK_LINES = 50_000  # read at a time
LARGEST_METRICS_BYTES = 1 << 36  # some billion steps

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Metrics:
    """A run's log. Losses are in nats per character."""

    loss: Floats  # (steps,): of each step's batch
    lr: Floats  # (steps,)
    evaluations: list[tuple[int, dict[str, float]]]  # step, and the loss over each split that was evaluated
    diagnoses: list[tuple[int, dict[str, Any]]]  # step, and the result of `step_statistics.diagnose`

    @property
    def steps(self) -> int:
        return len(self.loss)

    def smoothed(self, most: int = 1000) -> tuple[Floats, Floats]:
        """Steps, and the mean loss of the batches around each: `most`, as in the lecture, or fewer in short runs.

        A last part that is shorter than the others is left out.
        """
        length = max(1, min(most, self.steps // 100))
        count = self.steps // length
        middle = (np.arange(count) + 0.5) * length + 0.5
        return middle.astype(np.float64), np.mean(self.loss[: count * length].reshape(count, length), axis=1)


def load_metrics(run: Path) -> Metrics:
    """Read a run's metrics; an incomplete last line is ignored.

    Raises MakemoreError, which names the file and the line.
    """
    path = run / METRICS
    loss, lr = [np.empty(0)], [np.empty(0)]
    evaluations: list[tuple[int, dict[str, float]]] = []
    diagnoses: list[tuple[int, dict[str, Any]]] = []
    done = 0
    try:
        check_plain(path, LARGEST_METRICS_BYTES)
        with path.open("rb") as file:
            for number, records in _records(file, path):
                steps = [record for record in records if "loss" in record]
                if [record["step"] for record in steps] != list(range(done + 1, done + len(steps) + 1)):
                    line = number + _first_out_of_order(records, done)
                    raise MakemoreError(
                        f"{path}, line {line}: steps are missing, repeated or out of order; the file is damaged"
                    )
                done += len(steps)
                try:
                    loss.append(np.array([float(record["loss"]) for record in steps]))
                    lr.append(np.array([float(record["lr"]) for record in steps]))
                    for record in records:
                        if "loss" not in record:
                            _read_other(record, evaluations, diagnoses)
                except WRONG:
                    line = number + next((n for n, record in enumerate(records) if not _is_readable(record)), 0)
                    raise _damaged(path, line) from None
    except FileNotFoundError:
        raise MakemoreError(f"{run}: holds no {METRICS}; give a run folder") from None
    except OSError as error:
        raise MakemoreError(f"{path}: can't be read: {error.strerror}") from None
    return Metrics(np.concatenate(loss), np.concatenate(lr), evaluations, diagnoses)


# What reading a malformed record can raise.
WRONG = (KeyError, TypeError, ValueError, AttributeError, OverflowError)


def _read_other(
    record: Mapping[str, Any],
    evaluations: list[tuple[int, dict[str, float]]],
    diagnoses: list[tuple[int, dict[str, Any]]],
) -> None:
    """Add a record's evaluation or diagnosis to the lists. Raises one of WRONG."""
    if "eval" in record:
        losses = {str(split): float(value) for split, value in record["eval"].items()}
        evaluations.append((int(record["step"]), losses))
    elif "diagnose" in record:
        diagnoses.append((int(record["step"]), _checked(record["diagnose"])))


def _is_readable(record: Mapping[str, Any]) -> bool:
    try:
        if "loss" in record:
            float(record["loss"]), float(record["lr"])
        else:
            _read_other(record, [], [])
    except WRONG:
        return False
    return True


def _first_out_of_order(records: Sequence[Mapping[str, Any]], done: int) -> int:
    """The index of the first step record that is out of order, after `done` steps."""
    for number, record in enumerate(records):
        if "loss" in record:
            done += 1
            if record["step"] != done:
                return number
    return 0


def _records(file: IO[bytes], path: Path) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Blocks of records, each with the number of its first line."""
    first = 1
    while lines := list(islice(file, CHUNK_LINES)):
        if not lines[-1].endswith(b"\n"):
            lines.pop()
        try:
            records = json.loads(b"[%b]" % b",".join(lines))
            whole = len(records) == len(lines) and all(
                isinstance(record, dict) and type(record.get("step")) is int for record in records
            )
        except (ValueError, RecursionError):
            whole = False
        if not whole:
            raise _damaged(path, first + next((n for n, line in enumerate(lines) if not _is_record(line)), 0))
        yield first, records
        first += len(lines)


def _checked(found: Mapping[str, Any]) -> dict[str, Any]:
    """A diagnosis: the saturated fraction, and numbers or None by the parameters' names."""
    by_name = {key: found[key] for key in ("grad_norm", "grad_data", "update_data")}
    for key, numbers in by_name.items():
        by_name[key] = {str(name): None if value is None else float(value) for name, value in numbers.items()}
    return {"saturated": float(found["saturated"]), **by_name}


def _is_record(line: bytes) -> bool:
    try:
        record = json.loads(line.decode())
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and type(record.get("step")) is int


def _damaged(path: Path, line: int) -> MakemoreError:
    return MakemoreError(f"{path}, line {line}: is not a training record; the file is damaged")


@dataclass(frozen=True)
class Ending:
    """The end of a log."""

    step: int  # the last one, or 0 if there is none
    loss: dict[str, float]  # of the last evaluation, by split; empty if there is none


def load_ending(run: Path) -> Ending:
    """Read only the end of a run's log. Raises MakemoreError if it can't be read."""
    path, step, loss = run / METRICS, 0, dict[str, float]()
    try:
        with _mapped(path) as text:
            for record in _backwards(text, b', "loss": '):
                step = record["step"]
                break
            for record in _backwards(text, b', "eval": '):
                loss = {str(split): float(value) for split, value in record["eval"].items()}
                break
    except OSError as error:
        raise MakemoreError(f"{path}: can't be read: {error.strerror}") from None
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise MakemoreError(f"{path}: its last lines are not training records; the file is damaged") from None
    return Ending(step, {split: value for split, value in loss.items() if math.isfinite(value)})


def _backwards(text: bytes | mmap.mmap, mark: bytes) -> Iterator[dict[str, Any]]:
    """Complete records that contain a mark, the last one first."""
    at = len(text)
    while (at := text.rfind(mark, 0, at)) >= 0:
        start, end = text.rfind(b"\n", 0, at) + 1, text.find(b"\n", at)
        line = text[start : max(end, 0)]
        if end >= 0 and _is_record(line):
            yield json.loads(line)
        at = start


def end_of_step(metrics: Path, step: int) -> int | None:
    """The byte at which a step's record ends in a log, or None if the log has no such step. Raises OSError."""
    record = b'{"step": %d, "loss": ' % step
    with _mapped(metrics) as text:
        at = 0 if text[: len(record)] == record else text.rfind(b"\n" + record) + 1
        if at == 0 and text[: len(record)] != record:
            return None
        return text.find(b"\n", at) + 1 or None


@contextmanager
def _mapped(path: Path) -> Iterator[bytes | mmap.mmap]:
    """A file's content, mapped into memory. Raises OSError."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:  # an empty file can't be mapped
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            yield text


def positive(value: object) -> float:
    """A number for a logarithmic axis: NaN if it has no logarithm."""
    number = float(value) if isinstance(value, (int, float)) else math.nan
    return number if 0 < number < math.inf else math.nan
