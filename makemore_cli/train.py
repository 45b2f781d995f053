"""The training loop: chunks of steps by an engine, and between them the log, the checks, and the checkpoint."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from makemore_cli import evaluate
from makemore_cli.config import Config
from makemore_cli.dataset import SPLITS
from makemore_cli.engine import ENGINES, Engine, RunningStatistics, threads
from makemore_cli.errors import MakemoreError
from makemore_cli.gradcheck.check import crosscheck
from makemore_cli.model import Model
from makemore_cli.optim import learning_rates
from makemore_cli.progress import Display, Status, duration
from makemore_cli.run import Checkpoint, Run
from makemore_cli.sample import default_seed, sample
from makemore_cli.start import Start, start

SECONDS = 0.1  # what a chunk is to take: long enough to cost nothing, short enough for a lively display
LONGEST = 2000  # steps in a chunk
SMOOTH = 1000  # steps that the smoothed loss is the mean of
SAMPLES = 10  # names in the summary


@dataclass(frozen=True)
class Summary:
    """What a run came to."""

    run: str
    engine: str
    device: str
    steps: int
    parameters: int
    seconds: float  # spent in training steps
    steps_per_second: float
    loss: dict[str, float]  # train, val, test; nats a letter
    samples: list[str]

    def lines(self) -> list[str]:
        """The summary to read."""
        rows = [(f"{split} loss", f"{loss:.4f}") for split, loss in self.loss.items()]
        rows += [
            ("steps", f"{self.steps:,} in {duration(self.seconds)} ({self.steps_per_second:,.0f} a second)"),
            ("parameters", f"{self.parameters:,}"),
            ("engine", f"{self.engine} on {self.device}"),
            ("run folder", self.run),
        ]
        rows += [("" if row else "samples", name) for row, name in enumerate(self.samples)]
        return [f"{label:<12}{value}" for label, value in rows]


def train(
    config: Config, folder: Path, display: Display, *, crosscheck_every: int = 0, overwrite: bool = False
) -> Summary:
    """Train as a configuration says, and leave a run in `folder`.

    Nothing is written before the data, the device and the folder are known to be good.
    Raises MakemoreError for what the user can mend, CheckFailedError where `crosscheck_every` finds a wrong gradient.
    """
    begun = start(config)
    config, dataset, parameters = begun.config, begun.dataset, begun.parameters
    engine = ENGINES[config.train.engine](parameters, _running(config, parameters.flat), config.model.batchnorm.epsilon)

    run = Run.create(folder, overwrite=overwrite)
    run.save_config(config)
    run.start_metrics()
    display.say(
        f"{len(dataset.train):,} / {len(dataset.val):,} / {len(dataset.test):,} examples for training, validation and "
        f"test"
    )
    display.say(
        f"{len(dataset.vocabulary.letters)} letters, {parameters.flat.numel():,} parameters, "
        f"engine {config.train.engine} on {config.train.device}"
    )
    loop = _Loop(begun, engine, run, display, crosscheck_every)
    with display, threads(parameters, config.train.batch_size):
        engine.prepare(config.train.batch_size, display.say)
        loop.run_to_end()
    if crosscheck_every:
        display.say(f"{loop.crosschecks:,} crosschecks, all agree")

    model = loop.model()
    loop.save(model)  # before anything else that could fail
    summary = Summary(
        run=str(folder),
        engine=config.train.engine,
        device=config.train.device,
        steps=config.train.steps,
        parameters=parameters.flat.numel(),
        seconds=round(loop.seconds, 3),
        steps_per_second=round(config.train.steps / loop.seconds, 1),
        loss={name: evaluate.loss(model, dataset.splits[name]) for name in SPLITS},
        samples=sample(model, dataset.vocabulary, SAMPLES, default_seed(config)),
    )
    run.append_metrics({"step": config.train.steps, "eval": summary.loss})
    run.save_summary(vars(summary))
    return summary


def _running(config: Config, like: torch.Tensor) -> RunningStatistics | None:
    if config.model.batchnorm.statistics == "calibrated":
        return None
    hidden = config.model.hidden_size
    return RunningStatistics(like.new_zeros((1, hidden)), like.new_ones((1, hidden)), config.model.batchnorm.momentum)


class _Loop:
    """One run in progress."""

    def __init__(
        self,
        start: Start,
        engine: Engine,
        run: Run,
        display: Display,
        crosscheck_every: int,
    ) -> None:
        self.config, self.dataset, self.batches = start.config, start.dataset, start.batches
        self.engine, self.run, self.display = engine, run, display
        self.crosscheck_every = crosscheck_every
        self.step = 0
        self.seconds = 0.0
        self.crosschecks = 0
        self.recent: NDArray[np.float64] = np.empty(0)

    def run_to_end(self) -> None:
        """Train all steps."""
        for length in self._chunks():
            X, Y = self.batches(length)
            lrs = learning_rates(self.config.optim, self.step, length)
            if self.crosscheck_every and self.step % self.crosscheck_every == 0:
                self.crosschecks += 1
                eps = self.config.model.batchnorm.epsilon
                crosscheck(self.engine.parameters, X[0], Y[0], eps, self.step + 1, self.engine.source)

            start = time.perf_counter()
            losses = self.engine.run(X, Y, lrs).double().cpu().numpy()
            elapsed = time.perf_counter() - start

            self.seconds += elapsed
            self._log(losses, lrs, length / elapsed)
            self._due()

    def _chunks(self) -> Iterator[int]:
        """Lengths of chunks: about SECONDS each, and ending where something is due. They change no result."""
        train = self.config.train
        length = 10
        while self.step < train.steps:
            ends = [train.steps]
            for every in (self.crosscheck_every, train.checkpoint_every, train.eval_every, train.sample_every):
                if every:
                    ends.append((self.step // every + 1) * every)
            started, seconds = self.step, self.seconds
            yield min(length, min(ends) - self.step)
            rate = (self.step - started) / (self.seconds - seconds)
            length = min(LONGEST, 4 * length, max(1, int(SECONDS * rate)))

    def _log(self, losses: NDArray[np.float64], lrs: list[float], rate: float) -> None:
        first, finite = self.step + 1, np.isfinite(losses)
        good = len(losses) if finite.all() else int(np.argmin(finite))
        self.run.append_steps(first, losses[:good].tolist(), lrs[:good])
        if good < len(losses):
            raise MakemoreError(
                f"step {first + good}: the loss is {losses[good]}; try a smaller learning rate (it is {lrs[good]:g})"
            )
        self.step += len(losses)
        self.recent = np.concatenate([self.recent, losses])[-SMOOTH:]
        self.display.update(Status(self.step, self.config.train.steps, float(self.recent.mean()), lrs[-1], rate))

    def _due(self) -> None:
        """What is to be done at this step; the end has its own."""
        train = self.config.train
        if self.step == train.steps:
            return

        def due(every: int) -> bool:
            return every > 0 and self.step % every == 0

        if due(train.eval_every) or due(train.sample_every) or due(train.checkpoint_every):
            model = self.model()
        if due(train.eval_every):
            loss = {name: evaluate.loss(model, self.dataset.splits[name]) for name in ("train", "val")}
            self.run.append_metrics({"step": self.step, "eval": loss})
            self.display.say(f"step {self.step:,}: loss {loss['train']:.4f} train, {loss['val']:.4f} val")
        if due(train.sample_every):
            names = sample(model, self.dataset.vocabulary, SAMPLES, default_seed(self.config))
            self.display.say(f"step {self.step:,}: {' '.join(names)}")
        if due(train.checkpoint_every):
            self.save(model)

    def model(self) -> Model:
        """The network as it is now, with the statistics that stand in for a batch's.

        Raises MakemoreError where the last update has made it useless.
        """
        p, running, eps = self.engine.parameters, self.engine.running, self.config.model.batchnorm.epsilon
        if not p.flat.isfinite().all():
            raise MakemoreError(f"step {self.step}: a parameter is no longer finite; try a smaller learning rate")
        if running is not None:
            return Model(p.sizes, p.arrays(), running.mean.cpu().numpy(), running.var.cpu().numpy(), eps)
        return evaluate.calibrate(p.sizes, p.arrays(), self.dataset.train, eps)

    def save(self, model: Model) -> None:
        """Write the checkpoint."""
        self.run.save_checkpoint(
            Checkpoint(model, self.dataset.vocabulary, self.config, self.step, self.dataset.sha256)
        )
