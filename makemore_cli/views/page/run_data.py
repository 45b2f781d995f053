"""What a page knows about a run: its parameters, its settings and its names."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from makemore_cli.config.schema import Schedule, SgdConfig, StepsSchedule
from makemore_cli.inference.score import SHADES, meanings
from makemore_cli.names.dataset import Dataset
from makemore_cli.names.splits import SPLITS, Split
from makemore_cli.network.model import Sizes
from makemore_cli.network.parameters import initialise
from makemore_cli.runs.checkpoint import Checkpoint
from makemore_cli.views.page.page import encoded

LARGEST_INITIAL = 1 << 18  # parameters; initial ones double the page, so larger networks go without them
LARGEST_NAMES_LETTERS = 1 << 20  # of each split in a page, end-of-word tokens included


def run_data(name: str, checkpoint: Checkpoint, dataset: Dataset | None) -> dict[str, Any]:
    """What the views Play and Train read: `data.run`, and `data.shades`, the colours of probabilities.

    A run has its sizes and settings, its parameters as trained and as they began (None for a large network), and the
    names of each split.

    `dataset` is None if the data is missing or has changed; the page then can't tell new names, nor train on them.
    """
    model, config = checkpoint.model, checkpoint.config
    sizes = model.sizes
    run = {
        "name": name,
        "step": checkpoint.step,
        "letters": checkpoint.vocabulary.letters,  # token 0 is the end-of-word token, and token 1 the first of these
        "sizes": {"V": sizes.vocabulary, "T": sizes.context, "E": sizes.embedding, "H": sizes.hidden},
        "epsilon": model.epsilon,
        "smoothing": config.train.label_smoothing,
        "batch_size": config.train.batch_size,
        "learning_rate": (config.optim if isinstance(config.optim, SgdConfig) else SgdConfig()).lr,  # the page has SGD
        "schedule": schedule_of(config.optim.schedule),
        "parameters": {name: encoded(array) for name, array in model.parameters.items()},
        "initial": _initial(sizes, config.train.seed),
        "bnmean": encoded(model.bnmean),
        "bnvar": encoded(model.bnvar),
        "names": None if dataset is None else {split: _names(dataset.splits[split]) for split in SPLITS},
    }
    return {"run": run, "shades": shades()}


def schedule_of(schedule: Schedule | None) -> dict[str, Any]:
    """The milestones at which the learning rate is multiplied by gamma: the lecture's if the run has another kind."""
    has_steps = schedule is None or isinstance(schedule, StepsSchedule)
    steps = schedule if isinstance(schedule, StepsSchedule) else StepsSchedule()
    return {
        "milestones": [] if schedule is None else steps.milestones,
        "gamma": steps.gamma,
        "instead_of": None if schedule is None or has_steps else schedule.name,
    }


def _initial(sizes: Sizes, seed: int) -> dict[str, Any] | None:
    if sizes.parameters > LARGEST_INITIAL:
        return None
    return {name: encoded(array) for name, array in initialise(sizes, seed)[0].arrays().items()}


def _names(split: Split) -> dict[str, Any]:
    """A split's names as one text, or the first of them if there are too many for a page."""
    tokens = split.tokens[:LARGEST_NAMES_LETTERS]
    ends = np.flatnonzero(tokens == 0)
    tokens = tokens[: int(ends[-1]) + 1] if len(ends) else tokens[:0]
    return {"text": split.vocabulary.text(tokens)[:-1], "complete": len(tokens) == len(split)}


def shades() -> list[dict[str, Any]]:
    """The colours of probabilities as in `makemore score`: each is for those below a bound, the last for all others."""
    return [
        {"below": below if math.isfinite(below) else None, "colour": colour, "meaning": meaning}
        for (below, colour), (meaning, _) in zip(SHADES, meanings(), strict=True)
    ]
