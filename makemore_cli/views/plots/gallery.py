"""All plots by name, and what each is made from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from makemore_cli.errors import MakemoreError, ParameterError
from makemore_cli.names.dataset import Dataset
from makemore_cli.runs.checkpoint import Checkpoint, load_checkpoint
from makemore_cli.runs.file_names import PLOTS
from makemore_cli.runs.metrics import Metrics, load_metrics
from makemore_cli.views.diagnostics import Look, load_data, look
from makemore_cli.views.plots.letters import embedding_picture, next_letter_picture
from makemore_cli.views.plots.network import (
    activations_picture,
    dlogits_picture,
    gradients_picture,
    saturation_picture,
    weight_gradients_picture,
)
from makemore_cli.views.plots.style import FORMATS, Picture, save
from makemore_cli.views.plots.training import loss_picture, ratios_picture


class Subject:
    """A run to plot. Its parts are read when they are first needed."""

    def __init__(self, run: Path) -> None:
        """Raises MakemoreError if `run` is neither a folder nor a file."""
        if not os.path.exists(run):  # noqa: PTH110 (False for a path that is too long)
            raise MakemoreError(f"{run}: no such run; give a run folder or a checkpoint")
        self.run = run

    @property
    def folder(self) -> Path:
        """The run folder, also if `run` is a checkpoint in it."""
        return self.run.parent if self.run.is_file() else self.run

    @property
    def name(self) -> str:
        return self.folder.absolute().name

    @cached_property
    def checkpoint(self) -> Checkpoint:
        return load_checkpoint(self.run)

    @cached_property
    def metrics(self) -> Metrics:
        return load_metrics(self.folder)

    @cached_property
    def seen(self) -> Look:
        """The run's network on a batch of its data."""
        return look(self.checkpoint, self.dataset)

    @cached_property
    def dataset(self) -> Dataset:
        return load_data(self.checkpoint)

    @property
    def remarks(self) -> list[str]:
        """Remarks on what was read so far."""
        return self.seen.remarks if "seen" in self.__dict__ else []

    @property
    def caption(self) -> str:
        """The caption of plots of the network."""
        return f"{self.run} · step {self.checkpoint.step:,}"

    @property
    def batch_caption(self) -> str:
        """The caption of plots of the network on a batch."""
        return f"{self.caption} · {len(self.seen.X):,} training examples"


@dataclass(frozen=True)
class Kind:
    """A kind of plot."""

    explained: str  # in a sentence or two
    make: Callable[[Subject], Picture]


KINDS: dict[str, Kind] = {
    "loss": Kind(
        "The line is the mean loss of the training batches; the marks are losses over whole splits.",
        lambda s: loss_picture({s.name: s.metrics}, f"{s.folder} · step {s.metrics.steps:,}"),
    ),
    "ratios": Kind(
        "The upper plot has the gradient-to-parameter ratio, the lower one the update-to-parameter ratio (log10 of "
        "standard deviations, on single training batches). An update-to-parameter ratio of about 10⁻³ (−3) is healthy.",
        lambda s: ratios_picture(s.metrics, s.folder, f"{s.folder} · step {s.metrics.steps:,}"),
    ),
    "saturation": Kind(
        "Where the output of tanh is near −1 or 1, almost no gradient passes through. A neuron that is saturated on "
        "every example is dead: it no longer learns.",
        lambda s: saturation_picture(s.seen, s.batch_caption),
    ),
    "activations": Kind(
        "The distribution of the output of each layer.",
        lambda s: activations_picture(s.seen, s.batch_caption),
    ),
    "gradients": Kind(
        "The distribution of the gradient of each layer's output. Gradients should neither vanish nor explode.",
        lambda s: gradients_picture(s.seen, s.batch_caption),
    ),
    "weight-gradients": Kind(
        "The distribution of each parameter's gradient.", lambda s: weight_gradients_picture(s.seen, s.batch_caption)
    ),
    "dlogits": Kind(
        "Each row is one example: its probabilities, minus 1 at the target. The worse the prediction, the larger the "
        "gradient.",
        lambda s: dlogits_picture(s.seen, s.batch_caption),
    ),
    "embedding": Kind(
        "The learned embedding of each character. If it has more than two dimensions, the plot shows the first two "
        "principal components.",
        lambda s: embedding_picture(s.checkpoint, s.caption),
    ),
    "next-letter": Kind(
        "Each row has the predicted probabilities of the character that follows a name's first character; the top row, "
        "those of the first character itself. Rows of characters that no training name begins with mean little.",
        lambda s: next_letter_picture(s.checkpoint, s.caption),
    ),
}


def kinds(what: str) -> list[str]:
    """Names of plots, from a comma-separated list. Raises ParameterError for an unknown name."""
    names = list(dict.fromkeys(name.strip() for name in what.split(",") if name.strip()))
    for name in names:
        if name not in KINDS:
            raise ParameterError("what", f"must be one or more of {', '.join(KINDS)}, got {name}")
    return names


def pictures(
    subject: Subject, names: Iterable[str], left_out: dict[str, list[str]] | None
) -> Iterator[tuple[str, Picture]]:
    """Plots of a run, with their names.

    The name of a plot that can't be drawn is added to `left_out` under the reason. If `left_out` is None, the error is
    raised.
    """
    for name in names:
        try:
            picture = KINDS[name].make(subject)
        except MakemoreError as error:
            if left_out is None:
                raise
            left_out.setdefault(str(error), []).append(name)
        else:
            yield name, picture


class Plots:
    """Plot files, drawn while one iterates over them; after that, the remarks are complete."""

    def __init__(self, paths: Iterator[Path], subjects: Sequence[Subject], left_out: Mapping[str, list[str]]) -> None:
        self._paths, self._subjects, self._left_out = paths, subjects, left_out

    def __iter__(self) -> Iterator[Path]:
        """Draw, and yield each file's path."""
        return self._paths

    def remarks(self) -> list[str]:
        """Remarks on changed data, and on the plots that could not be drawn."""
        return [
            *(remark for subject in self._subjects for remark in subject.remarks),
            *(f"left out: {', '.join(names)}: {reason}" for reason, names in self._left_out.items()),
        ]


def plot(runs: Sequence[Path], what: str | None, out: Path | None, format: str) -> Plots:
    """Draw plots of a run, or the losses of several runs in one plot.

    `what` is a comma-separated list of names. If it is None, all plots are drawn, except those that can't be. The
    default for `out` is the folder `plots` in the run folder, or in the current folder for several runs. Raises
    MakemoreError, also during iteration.
    """
    subjects = [Subject(run) for run in {run.absolute(): run for run in runs}.values()]
    left_out: dict[str, list[str]] = {}
    return Plots(_plot(subjects, what, out, format, left_out), subjects, left_out)


def _plot(
    subjects: Sequence[Subject], what: str | None, out: Path | None, format: str, left_out: dict[str, list[str]]
) -> Iterator[Path]:
    if format not in FORMATS:
        raise ParameterError("format", f"must be {' or '.join(FORMATS)}, got {format}")
    if len(subjects) > 1:
        for name in [] if what is None else kinds(what):
            if name != "loss":
                raise ParameterError("what", f"must be loss for several runs, got {name}")
        yield save(together(subjects), "loss", out or Path(PLOTS), format)
        return
    (subject,) = subjects
    asked, missing = (KINDS, left_out) if what is None else (kinds(what), None)
    drawn = False
    for name, picture in pictures(subject, asked, missing):
        yield save(picture, name, out or subject.folder / PLOTS, format)
        drawn = True
    if not drawn:
        raise MakemoreError(next(iter(left_out)))


def together(subjects: Sequence[Subject]) -> Picture:
    names = [subject.name for subject in subjects]
    if len(set(names)) < len(names):
        names = [str(subject.folder) for subject in subjects]
    runs = {name: subject.metrics for name, subject in zip(names, subjects, strict=True)}
    return loss_picture(runs, ", ".join(str(subject.folder) for subject in subjects))
