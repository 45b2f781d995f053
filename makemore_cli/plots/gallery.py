"""All pictures by their names, and what each is made from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from makemore_cli.checkpoint import Checkpoint, load_checkpoint
from makemore_cli.diagnostics import Look, look_at_run
from makemore_cli.errors import MakemoreError
from makemore_cli.metrics import Metrics, load_metrics
from makemore_cli.plots.letters import embedding_picture, next_letter_picture
from makemore_cli.plots.network import (
    activations_picture,
    dlogits_picture,
    gradients_picture,
    saturation_picture,
    weight_gradients_picture,
)
from makemore_cli.plots.style import FORMATS, Picture, save
from makemore_cli.plots.training import loss_picture, ratios_picture


class Subject:
    """A run to be drawn: its parts are read when they are first needed."""

    def __init__(self, run: Path) -> None:
        self.run = run

    @property
    def folder(self) -> Path:
        """The run's folder; what was given may be a checkpoint in it."""
        return self.run.parent if self.run.is_file() else self.run

    @property
    def name(self) -> str:
        """What the run is called."""
        return self.folder.absolute().name

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """Its last one."""
        return load_checkpoint(self.run)

    @cached_property
    def metrics(self) -> Metrics:
        """Its log."""
        return load_metrics(self.folder)

    @cached_property
    def seen(self) -> Look:
        """Its network, on a batch of its data."""
        return look_at_run(self.run)

    @property
    def caption(self) -> str:
        """What stands beneath its pictures."""
        return f"{self.run} · step {self.checkpoint.step:,}"


@dataclass(frozen=True)
class Kind:
    """A picture that can be asked for."""

    about: str
    make: Callable[[Subject], Picture]


KINDS: dict[str, Kind] = {
    "loss": Kind(
        "loss over the training, of one run or several",
        lambda s: loss_picture({s.name: s.metrics}, f"{s.folder} · step {s.metrics.steps:,}"),
    ),
    "ratios": Kind(
        "gradients and updates beside the parameters, over the training",
        lambda s: ratios_picture(s.metrics, s.folder, f"{s.folder} · step {s.metrics.steps:,}"),
    ),
    "saturation": Kind("where tanh is saturated, and dead neurons", lambda s: saturation_picture(s.seen, s.caption)),
    "activations": Kind("histograms of the activations", lambda s: activations_picture(s.seen, s.caption)),
    "gradients": Kind("histograms of their gradients", lambda s: gradients_picture(s.seen, s.caption)),
    "weight-gradients": Kind(
        "histograms of the parameters' gradients", lambda s: weight_gradients_picture(s.seen, s.caption)
    ),
    "dlogits": Kind("the gradient of the logits, row by row", lambda s: dlogits_picture(s.seen, s.caption)),
    "embedding": Kind("the letters in two dimensions", lambda s: embedding_picture(s.checkpoint, s.caption)),
    "next-letter": Kind(
        "what comes after a name's first letter", lambda s: next_letter_picture(s.checkpoint, s.caption)
    ),
}


def kinds(what: str) -> list[str]:
    """Names of pictures, from a list with commas. Raises MakemoreError for one that there isn't."""
    names = list(dict.fromkeys(name.strip() for name in what.split(",")))
    for name in names:
        if name not in KINDS:
            raise MakemoreError(f"--what {name}: there is no such picture; there are {', '.join(KINDS)}")
    return names


def pictures(
    subject: Subject, names: Iterable[str], left_out: dict[str, list[str]] | None
) -> Iterator[tuple[str, Picture]]:
    """Pictures of a run, by name.

    Those that can't be drawn have their names put into `left_out`, by the reason; where that is None, it is raised.
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


def plot(
    runs: Sequence[Path], what: str | None, out: Path | None, format: str, left_out: dict[str, list[str]]
) -> Iterator[Path]:
    """Draw pictures of a run, or the losses of several in one, and say where they are as they come.

    Without `out` they go to the folder `plots` in the run's, or for several runs in the present one. Where `what` is
    None, what can't be drawn goes to `left_out` (see `pictures`). Raises MakemoreError.
    """
    if format not in FORMATS:
        raise MakemoreError(f"--format {format}: there are {' and '.join(FORMATS)}")
    subjects = [Subject(run) for run in runs]
    if len(runs) > 1:
        for name in [] if what is None else kinds(what):
            if name != "loss":
                raise MakemoreError(f"--what {name}: is a picture of one run; only losses go into one picture")
        yield save(together(subjects), "loss", out or Path("plots"), format)
        return
    (subject,) = subjects
    asked, missing = (KINDS, left_out) if what is None else (kinds(what), None)
    drawn = False
    for name, picture in pictures(subject, asked, missing):
        yield save(picture, name, out or subject.folder / "plots", format)
        drawn = True
    if not drawn:
        raise MakemoreError(next(iter(left_out)))


def together(subjects: Sequence[Subject]) -> Picture:
    """The losses of several runs in one picture."""
    names = [subject.name for subject in subjects]
    if len(set(names)) < len(names):
        names = [str(subject.folder) for subject in subjects]
    runs = {name: subject.metrics for name, subject in zip(names, subjects, strict=True)}
    return loss_picture(runs, ", ".join(str(subject.folder) for subject in subjects))
