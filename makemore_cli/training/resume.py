"""Resuming a run: which settings may change, and how its state is restored."""

from __future__ import annotations

from pathlib import Path

import torch

from makemore_cli.config.load import flatten, load, override
from makemore_cli.config.schema import Config
from makemore_cli.errors import MakemoreError
from makemore_cli.network.parameters import Parameters
from makemore_cli.runs.checkpoint import Checkpoint, training_names
from makemore_cli.runs.file_names import CONFIG
from makemore_cli.runs.run_folder import Run
from makemore_cli.runs.summary import Summary, load_summary
from makemore_cli.training.engines import RunningStatistics
from makemore_cli.training.optimisers import Optimiser
from makemore_cli.training.setup import TrainingSetup

# Keys that may change when a run is resumed. They do not affect the steps already trained. Another number of steps
# changes the learning rates of later steps, and another engine the last digits.
MAY_CHANGE = {"data.path", "train.steps", "train.engine", "train.device", "train.threads"} | {
    f"train.{what}_every" for what in ("checkpoint", "eval", "sample", "diagnose")
}


def keep_steps(config: Config, folder: Path) -> Config:
    """The configuration, with at least as many training steps as that of the run in `folder`."""
    return override(config, train__steps=max(config.train.steps, load(folder / CONFIG).train.steps))


def check_settings(config: Config, saved: Checkpoint, folder: Path) -> None:
    """Check that a run can be resumed with a configuration. Raises MakemoreError, which names the key that differs."""
    before, now = flatten(saved.config.model_dump()), flatten(config.model_dump())
    for key in before.keys() | now.keys():
        if key not in MAY_CHANGE and before.get(key) != now.get(key):
            raise MakemoreError(
                f"{folder}: {key} is {before.get(key)} in this run, and can't change to {now.get(key)} when it is "
                f"resumed; start a new run",
                parameters=("folder",),
            )
    if config.train.steps < saved.step:
        raise MakemoreError(
            f"{folder}: train.steps is {config.train.steps:,}, but {saved.step:,} steps are already trained; set it "
            f"to {saved.step:,} or more",
            parameters=("train.steps",),
        )
    if not set(training_names(config)) <= set(saved.training):
        raise MakemoreError(f"{folder}: its checkpoint can be sampled from, but not resumed; start a new run")


def check_data(setup: TrainingSetup, saved: Checkpoint, folder: Path) -> None:
    """Check that the data is what the run was trained on. Raises MakemoreError."""
    if setup.dataset.sha256 != saved.data_sha256 or setup.dataset.vocabulary != saved.vocabulary:
        raise MakemoreError(
            f"{setup.dataset.path}: is not the file that {folder} was trained on, or has changed; use that file, or "
            f"start a new run",
            parameters=("data.path", "folder"),
        )


def finished(run: Run, config: Config) -> Summary | None:
    """The summary of a run that has no steps left to train, otherwise None."""
    summary = load_summary(run.folder)
    if summary is None or summary.steps != config.train.steps:
        return None
    return summary.model_copy(update={"run": str(run.folder)})


def restore(
    saved: Checkpoint, setup: TrainingSetup, running: RunningStatistics | None, optimiser: Optimiser, folder: Path
) -> None:
    """Restore the parameters, the averages, the optimiser's state and the random number generators.

    Raises MakemoreError if a generator's state is damaged.
    """
    model = saved.model
    flat = Parameters.from_arrays(model.sizes, model.parameters).flat
    setup.parameters.flat.copy_(optimiser.resume(flat, saved.training, saved.step))
    if running is not None:
        running.mean.copy_(torch.from_numpy(model.bnmean))
        running.var.copy_(torch.from_numpy(model.bnvar))
    try:
        setup.set_random_state(saved.training)
    except RuntimeError:
        raise MakemoreError(f"{folder}: its random number generator state is damaged; start a new run") from None
