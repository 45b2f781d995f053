"""A trained model, and the run that it comes from."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from makemore_cli.api.columns import Columns
from makemore_cli.api.given_names import as_file
from makemore_cli.errors import ParameterError, whole
from makemore_cli.inference import score as scoring
from makemore_cli.inference.next_letters import Options, next_probabilities
from makemore_cli.inference.sample import sample_run
from makemore_cli.inference.score import Score
from makemore_cli.names.splits import SPLITS
from makemore_cli.names.vocabulary import END
from makemore_cli.runs.checkpoint import Checkpoint, load_checkpoint
from makemore_cli.runs.metrics import Metrics, load_metrics
from makemore_cli.runs.summary import Summary, load_summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from makemore_cli.inference.evaluate import Evaluation
    from makemore_cli.views.plots.gallery import Subject


class Run:
    """A trained model, read from its run folder or from one checkpoint file.

    `path` is what was read, and `folder` the run folder. The model stays as it was read: after more training, load the
    run again.
    """

    def __init__(self, path: str | Path, summary: Summary | None = None) -> None:
        """`summary` is read from the run folder if it is None."""
        self.path = Path(path).absolute()  # the current folder may change
        self.folder = self.path if self.path.is_dir() else self.path.parent
        if summary is not None:
            self.summary = summary
        self._evaluations: dict[str | None, Evaluation] = {}

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """Everything in the checkpoint. Raises MakemoreError if it can't be read."""
        return load_checkpoint(self.path)

    @cached_property
    def summary(self) -> Summary | None:
        """The results that `train` printed at the end; None if the run is unfinished."""
        return load_summary(self.folder)

    @property
    def step(self) -> int:
        """The number of steps trained."""
        return self.checkpoint.step

    @property
    def config(self) -> dict[str, Any]:
        """The configuration, as sections of keys and values."""
        return self.checkpoint.config.model_dump()

    @property
    def vocabulary(self) -> str:
        """The characters in the order of their tokens, beginning with `.` (token 0), which ends a name."""
        return END + self.checkpoint.vocabulary.letters

    @cached_property
    def parameters(self) -> dict[str, NDArray[np.floating]]:
        """Copies of the trained parameters by the lecture's names.

        C (V, E), W1 (T·E, H), b1 (H,), W2 (H, V), b2 (V,), bngain (1, H), bnbias (1, H). The statistics that batchnorm
        uses at inference, bnmean and bnvar (1, H), are in `batchnorm`.
        """
        return {name: np.array(array) for name, array in self.checkpoint.model.parameters.items()}

    @cached_property
    def batchnorm(self) -> dict[str, NDArray[np.floating]]:
        """Copies of the mean and the unbiased variance that batchnorm uses at inference: bnmean and bnvar, (1, H)."""
        model = self.checkpoint.model
        return {"bnmean": np.array(model.bnmean), "bnvar": np.array(model.bnvar)}

    def sample(
        self,
        n: int = 20,
        *,
        seed: int | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        prefix: str = "",
        only_new: bool = False,
        max_length: int = 100,
        lecture: bool = False,
    ) -> list[str]:
        """Draw n names, the same as `makemore sample` with the same options.

        `seed` is the run's seed + 10 if it is None. `temperature` below 1 gives more typical names, and 0 always takes
        the most likely character. Only the `top_k` most likely characters are drawn. Every name begins with `prefix`.
        `only_new` leaves out names of the data and repetitions, so there may be fewer than n. Names are cut off after
        `max_length` characters. `lecture` draws exactly as the lecture does, with the same random numbers.

        Raises ParameterError for an invalid value, and MakemoreError if the model doesn't know a character of `prefix`.

        >>> names = run.sample(5, prefix="ma", temperature=0.8)
        >>> all(name.startswith("ma") for name in names)
        True
        """
        top_k = None if top_k is None else whole("top_k", top_k, 1)
        options = Options(temperature, top_k, prefix, whole("max_length", max_length, 1))
        n = whole("n", n, 0)
        return sample_run(self.checkpoint, n, seed, options, only_new=only_new, lecture=lecture).names()

    def score(self, names: str | Iterable[str]) -> list[Score]:
        """Score a name, or several: each has its `loss` in nats per character and its characters' `probabilities`.

        Raises MakemoreError for a character that the model doesn't know.

        >>> run.score(["emma", "olivia"])
        [Score('emma', loss=...), Score('olivia', loss=...)]
        >>> len(run.score("emma")[0].probabilities)  # of four characters and the end
        5
        """
        names = [names] if isinstance(names, str) else names
        return list(scoring.score(self.checkpoint.model, self.checkpoint.vocabulary, names))

    def probabilities(self, prefix: str = "") -> dict[str, float]:
        """The probability of each next character after a prefix, the most likely first; `.` ends the name.

        Raises MakemoreError for a character that the model doesn't know.

        >>> likely = run.probabilities("em")
        >>> round(sum(likely.values()), 6)
        1.0
        """
        model, T = self.checkpoint.model, self.checkpoint.model.sizes.context
        context = np.array([([0] * T + self.checkpoint.vocabulary.encode(prefix))[-T:]])
        (found,) = next_probabilities(model.logits(context), Options())
        return {self.vocabulary[token]: float(found[token]) for token in np.argsort(-found, kind="stable")}

    def loss(self, split: str = "val", data: str | Path | Iterable[str] | None = None) -> float:
        """The mean loss over a split (train, val or test) in nats per character, as `makemore eval` prints it.

        `data` is another file of names, or the names themselves, split in the same way. Warns if the model's own data
        has changed since it was trained. Raises ParameterError for an unknown split, and MakemoreError if the data
        can't be read.

        >>> run.loss("val") < 3.30  # guessing
        True
        """
        if split not in SPLITS:
            raise ParameterError("split", f"must be {', '.join(SPLITS[:-1])} or {SPLITS[-1]}, got {split}")
        from makemore_cli.inference.evaluate import evaluate_checkpoint

        if data is not None and not isinstance(data, (str, Path)):
            return evaluate_checkpoint(self.checkpoint, content=as_file(data)).loss[split]
        key = None if data is None else str(data)
        if key not in self._evaluations:
            self._evaluations[key] = evaluate_checkpoint(self.checkpoint, key)
            for remark in self._evaluations[key].remarks:
                warnings.warn(remark, stacklevel=2)
        return self._evaluations[key].loss[split]

    def plot(self, what: str = "loss") -> Figure:
        """Draw one of the plots of `makemore plot`, as a Matplotlib figure.

        Raises ParameterError for an unknown name, and MakemoreError if the run lacks what the plot shows.

        >>> run.plot("embedding").savefig("embedding.png")
        """
        from makemore_cli.views.plots.gallery import KINDS

        if what not in KINDS:
            raise ParameterError("what", f"must be one of {', '.join(KINDS)}, got {what}")
        return KINDS[what].make(self._subject).shown()

    @cached_property
    def _subject(self) -> Subject:
        from makemore_cli.views.plots.gallery import Subject

        return Subject(self.path)

    @cached_property
    def _log(self) -> Metrics:
        return load_metrics(self.folder)

    @cached_property
    def metrics(self) -> Columns:
        """The training log, a row for each step: step, loss of its batch in nats per character, lr (learning rate).

        Raises MakemoreError if the run folder has no log.

        >>> run.metrics
        <300 rows of step, loss, lr>
        >>> run.metrics["loss"].mean() < 3.30
        True
        """
        return Columns({"step": np.arange(1, self._log.steps + 1), "loss": self._log.loss, "lr": self._log.lr})

    @cached_property
    def evaluations(self) -> Columns:
        """The losses over whole splits, a row for each evaluation: step, train, val, test; NaN if not evaluated."""
        return _columns(self._log.evaluations, SPLITS)

    @cached_property
    def diagnoses(self) -> Columns:
        """Statistics of single steps: step, saturated, and grad_norm, grad_data and update_data of each parameter.

        `saturated` is the fraction of tanh outputs beyond ±0.97, `grad_norm` the norm of a gradient, `grad_data` the
        gradient-to-parameter ratio, and `update_data` the update-to-parameter ratio. NaN stands for undefined ratios.
        """
        flat = [
            (
                step,
                {
                    key if name is None else f"{key}.{name}": number
                    for key, found in statistics.items()
                    for name, number in (found.items() if isinstance(found, Mapping) else [(None, found)])
                },
            )
            for step, statistics in self._log.diagnoses
        ]
        return _columns(flat, dict.fromkeys(name for _, statistics in flat for name in statistics))

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def _repr_html_(self) -> str:
        """The results, for a notebook."""
        if self.summary is None:
            return f"<p>{escape(repr(self))}, unfinished</p>"
        rows = "".join(
            f"<tr><td>{escape(label)}</td><td>{escape(value)}</td></tr>" for label, value in self.summary.rows()
        )
        return f"<table>{rows}</table>"


def load(path: str | Path) -> Run:
    """Load a trained model from its run folder, or from a checkpoint file.

    Raises MakemoreError if there is none, or it is damaged. Nothing in it is executed.

    >>> run = mm.load("runs/tiny")
    >>> run
    Run('.../runs/tiny')
    """
    run = Run(path)
    run.checkpoint  # noqa: B018 (read now, so that a mistake is reported here)
    return run


def _columns(rows: Iterable[tuple[int, Mapping[str, float | None]]], names: Iterable[str]) -> Columns:
    rows = list(rows)
    columns: dict[str, NDArray[Any]] = {"step": np.array([step for step, _ in rows], dtype=np.int64)}
    for name in names:
        column = [found.get(name) for _, found in rows]
        columns[name] = np.array([np.nan if number is None else number for number in column], dtype=np.float64)
    return Columns(columns)
