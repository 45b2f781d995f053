"""The run folder: `config.yaml`, `metrics.jsonl`, two checkpoints and `summary.json`.

Metrics are appended; every other file is written atomically. `checkpoint.safetensors` holds all that
resuming needs. So a process may end at any moment, and another one can resume the run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from makemore_cli.config import load as configuration
from makemore_cli.config.schema import Config
from makemore_cli.errors import MakemoreError, WriteError
from makemore_cli.runs.checkpoint import Checkpoint, to_bytes
from makemore_cli.runs.file_names import (
    BEST,
    CHECKPOINT,
    CONFIG,
    EVENTS,
    FILES,
    METRICS,
    NAMES,
    PLAY,
    PLOTS,
    REPORT,
    SUMMARY,
)
from makemore_cli.runs.metrics import end_of_step
from makemore_cli.runs.summary import Summary
from makemore_cli.system.files import is_open_at, is_ours, lock, open_log, partial, write_atomically

OURS = {METRICS, CHECKPOINT, BEST, SUMMARY, *(partial(Path(name)).name for name in FILES)}  # files that only a run has


class Run:
    """A folder that belongs to one training run, and to one process at a time."""

    def __init__(self, folder: Path, *, resumed: bool = False) -> None:
        self.folder, self._resumed = folder, resumed
        self._metrics: IO[bytes] | None = None

    @classmethod
    def create(cls, folder: Path, *, overwrite: bool = False) -> Run:
        """Take a new folder, or with `overwrite` one that holds a run, which stays until `begin`.

        Raises MakemoreError if anything else would be lost, or if another process has the folder.
        """
        run = cls(folder)
        try:
            if (folder.exists() or folder.is_symlink()) and not folder.is_dir():
                raise MakemoreError(f"{folder}: is not a folder; choose another one", parameters=("folder",))
            run._lock()
            found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
            if found and not found & OURS:
                raise MakemoreError(
                    f"{folder}: holds files that are not a run's; choose another folder", parameters=("folder",)
                )
            if found & set(FILES) and not overwrite and not run._is_blank(found):
                kind = "a run" if SUMMARY in found else "an unfinished run"
                resume = "resume it, " if CONFIG in found else ""
                raise MakemoreError(
                    f"{folder}: holds {kind} already; {resume}overwrite it, or choose another folder",
                    parameters=("resume", "overwrite", "folder") if resume else ("overwrite", "folder"),
                )
            folder.mkdir(parents=True, exist_ok=True)
            run._lock(create=True)
        except BaseException as error:
            run.close()
            if isinstance(error, OSError):
                raise MakemoreError(f"{folder}: can't create the run folder: {error.strerror}") from None
            raise
        return run

    @classmethod
    def resume(cls, folder: Path) -> Run:
        """Take a folder that holds a run. Raises MakemoreError if there is none, or if another process has it."""
        run = cls(folder, resumed=True)
        try:
            if not holds_run(folder):
                raise MakemoreError(f"{folder}: there is no run to resume here; give a run folder")
            run._lock()
            if run.has(SUMMARY) and not run.has(CHECKPOINT):
                raise MakemoreError(
                    f"{folder}: has lost its {CHECKPOINT}; restore it, or overwrite the run", parameters=("overwrite",)
                )
        except BaseException as error:
            run.close()
            if isinstance(error, OSError):
                raise MakemoreError(f"{folder}: can't be opened: {error.strerror}") from None
            raise
        return run

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the folder."""
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None

    def _lock(self, *, create: bool = False) -> None:
        """Open the metrics, if there are any, and lock them: the folder is ours while they are open."""
        path = self.folder / METRICS
        if self._metrics is None and (create or path.exists() or path.is_symlink()):
            self._metrics = open_log(path)
            if not lock(self._metrics):
                self.close()
                raise MakemoreError(
                    f"{self.folder}: another process is training in this folder; wait for it, or choose another folder",
                    parameters=("folder",),
                )

    def _is_blank(self, found: set[str]) -> bool:
        """Whether the run ended before it wrote anything."""
        return not found & (set(FILES) - {METRICS}) and (self.folder / METRICS).stat().st_size == 0

    def begin(self, config: Config, names: bytes | None = None) -> None:
        """Start: remove the files of an earlier run, and write the resolved configuration.

        `names` is the content of the run's own file of names, if it has one.
        """
        try:
            # All, so that old and new files are not taken for one run; another run's configuration first, so that it is
            # not resumed. The configuration of a resumed run without a checkpoint stays until it is written again.
            for name in (SUMMARY, CHECKPOINT, BEST) if self._resumed else (CONFIG, SUMMARY, CHECKPOINT, BEST):
                (self.folder / name).unlink(missing_ok=True)
            self._clean()
            self._remove_drawn()
            self._log.truncate(0)
            if not self._trains_on_own_names(config):
                (self.folder / NAMES).unlink(missing_ok=True)
        except OSError as error:
            raise WriteError(f"{self.folder}: can't start a run: {error.strerror}") from None
        self.save_config(config, names)

    def _trains_on_own_names(self, config: Config) -> bool:
        try:
            return (self.folder / NAMES).samefile(config.data.path)
        except OSError:  # one of them does not exist
            return False

    def end_of_step(self, step: int) -> int:
        """The byte at which a step's record ends in the metrics. Raises MakemoreError if they lack the step."""
        path = self.folder / METRICS
        try:
            end = end_of_step(path, step)
        except OSError as error:
            raise MakemoreError(f"{path}: can't be read: {error.strerror}") from None
        if end is None:
            raise MakemoreError(
                f"{path}: lacks step {step:,}, the checkpoint's step; restore the file, or start another run"
            )
        return end

    def resume_after(self, step: int, config: Config, names: bytes | None = None) -> None:
        """Remove what was written after a step, and write the resolved configuration, and the names as `begin` does."""
        end = self.end_of_step(step)
        try:
            self._clean()
            (self.folder / SUMMARY).unlink(missing_ok=True)  # of a run with an earlier goal
            self._log.truncate(end)
        except OSError as error:
            raise WriteError(f"{self.folder}: can't resume: {error.strerror}") from None
        self.save_config(config, names)

    def _clean(self) -> None:
        """Remove the half-written files of a process that was killed."""
        for name in FILES:
            partial(self.folder / name).unlink(missing_ok=True)

    def _remove_drawn(self) -> None:
        """Remove plots, report and event files of an earlier run."""
        drawn = [*(self.folder / PLOTS).glob("*"), self.folder / REPORT, self.folder / PLAY]
        for path in [path for path in drawn if path.is_file() and is_ours(path)]:
            path.unlink()
        for path in (self.folder / EVENTS).glob("events.out.tfevents.*"):
            path.unlink()

    @property
    def _log(self) -> IO[bytes]:
        assert self._metrics is not None
        return self._metrics

    def save_config(self, config: Config, names: bytes | None = None) -> None:
        if names is not None:
            self._write(NAMES, names)
        self._write(CONFIG, configuration.dump(config).encode())

    def append_steps(self, start: int, losses: Sequence[float], learning_rates: Sequence[float]) -> None:
        """Add a record for each of the steps that follow `start` steps. All numbers must be finite."""
        rows = enumerate(zip(losses, learning_rates, strict=True), start=start + 1)
        # Six times as fast as json.dumps, which would take a second for 200,000 steps.
        ends = {lr: f', "lr": {lr!r}}}\n' for lr in set(learning_rates)}
        self._append("".join([f'{{"step": {step}, "loss": {loss!r}{ends[lr]}' for step, (loss, lr) in rows]))

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        """Add a record to the metrics, one JSON object per line."""
        self._append(json.dumps(record) + "\n")

    def _append(self, lines: str) -> None:
        path, rest = self.folder / METRICS, memoryview(lines.encode())
        try:
            self._check_place()
            while rest:
                rest = rest[self._log.write(rest) :]
        except OSError as error:
            raise WriteError(f"{path}: can't write: {error.strerror}") from None

    def _check_place(self) -> None:
        """Check that the folder is still the one that was taken. Raises WriteError or OSError."""
        if not is_open_at(self._log, self.folder / METRICS):
            raise WriteError(f"{self.folder / METRICS}: is gone; it or its folder was moved or removed")

    def _write(self, name: str, content: bytes) -> None:
        path = self.folder / name
        try:
            self._check_place()
        except OSError as error:
            raise WriteError(f"{path}: can't write: {error.strerror}") from None
        write_atomically(path, content)

    def save_summary(self, summary: Summary) -> None:
        text = json.dumps(summary.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
        self._write(SUMMARY, text.encode(errors="backslashreplace"))

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Write the last checkpoint; the previous one stays until this one is complete."""
        try:
            os.fsync(self._log.fileno())  # the metrics must reach at least as far
        except OSError as error:
            raise WriteError(f"{self.folder / METRICS}: can't write: {error.strerror}") from None
        self._write(CHECKPOINT, to_bytes(checkpoint))

    def save_best(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint of lowest validation loss."""
        self._write(BEST, to_bytes(checkpoint))

    def has(self, name: str) -> bool:
        """Whether the folder has a file of this name."""
        return (self.folder / name).is_file()


def holds_run(folder: Path) -> bool:
    """Whether a folder holds a run that has at least begun, and so can be resumed."""
    try:
        return (folder / CONFIG).is_file() and any((folder / name).is_file() for name in (METRICS, CHECKPOINT))
    except (OSError, ValueError):
        return False
