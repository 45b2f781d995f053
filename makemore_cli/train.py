"""The training loop: chunks of steps by an engine, and between them the log, the checks, and the checkpoint."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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


@dataclass(frozen=True)
class _Chunk:
    """Steps that are trained in one go."""

    first: int  # step, counted from 1
    X: Tensor
    Y: Tensor
    lrs: list[float]

    @property
    def last(self) -> int:
        return self.first + len(self.lrs) - 1


@dataclass(frozen=True)
class _Trained:
    """What came of a chunk."""

    chunk: _Chunk
    losses: NDArray[np.float64]
    seconds: float


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
        self.length = 10  # of the next chunk, where nothing is due within it
        self.crosschecks = 0
        self.recent: NDArray[np.float64] = np.empty(0)

    def run_to_end(self) -> None:
        """Train all steps: each chunk in a second thread, while this one logs the one before and draws the next."""
        with ThreadPoolExecutor(1) as thread:
            chunk, unlogged = self._draw(), None
            while chunk:
                self._crosscheck(chunk)
                training = thread.submit(self._train, chunk)
                if unlogged:
                    self._log(unlogged)
                self.step = chunk.last
                chunk, unlogged = self._draw(), training.result()
                self._pace(unlogged)
                due = self._due()
                if due or not chunk or not np.isfinite(unlogged.losses).all():
                    self._log(unlogged)
                    unlogged = None
                self._do(due)

    def _draw(self) -> _Chunk | None:
        """The steps to come, about SECONDS long, ending where something is due. How many they are changes no result."""
        train = self.config.train
        ends = [train.steps]
        for every in (self.crosscheck_every, train.checkpoint_every, train.eval_every, train.sample_every):
            if every:
                ends.append((self.step // every + 1) * every)
        length = min(self.length, min(ends) - self.step)
        if length == 0:
            return None
        return _Chunk(self.step + 1, *self.batches(length), learning_rates(self.config.optim, self.step, length))

    def _crosscheck(self, chunk: _Chunk) -> None:
        """Check the gradients of the first step, where that is due."""
        if self.crosscheck_every and (chunk.first - 1) % self.crosscheck_every == 0:
            self.crosschecks += 1
            eps = self.config.model.batchnorm.epsilon
            crosscheck(self.engine.parameters, chunk.X[0], chunk.Y[0], eps, chunk.first, self.engine.source)

    def _train(self, chunk: _Chunk) -> _Trained:
        started = time.perf_counter()
        losses = self.engine.run(chunk.X, chunk.Y, chunk.lrs).double().cpu().numpy()
        return _Trained(chunk, losses, time.perf_counter() - started)

    def _pace(self, trained: _Trained) -> None:
        """Take the time, and choose the length of the chunks to come."""
        self.seconds += trained.seconds
        steps = len(trained.losses)
        self.length = min(LONGEST, 4 * steps, max(1, int(SECONDS * steps / trained.seconds)))

    def _log(self, trained: _Trained) -> None:
        first, lrs, losses = trained.chunk.first, trained.chunk.lrs, trained.losses
        finite = np.isfinite(losses)
        good = len(losses) if finite.all() else int(np.argmin(finite))
        self.run.append_steps(first, losses[:good].tolist(), lrs[:good])
        if good < len(losses):
            raise MakemoreError(
                f"step {first + good}: the loss is {losses[good]}; try a smaller learning rate (it is {lrs[good]:g})"
            )
        self.recent = np.concatenate([self.recent, losses])[-SMOOTH:]
        rate = len(losses) / trained.seconds
        status = Status(trained.chunk.last, self.config.train.steps, float(self.recent.mean()), lrs[-1], rate)
        self.display.update(status)

    def _due(self) -> list[str]:
        """What is to be done at this step; the end has its own."""
        train = self.config.train
        every = {"eval": train.eval_every, "sample": train.sample_every, "checkpoint": train.checkpoint_every}
        return [what for what, steps in every.items() if steps and self.step % steps == 0 and self.step < train.steps]

    def _do(self, due: list[str]) -> None:
        if not due:
            return
        model = self.model()
        if "eval" in due:
            loss = {name: evaluate.loss(model, self.dataset.splits[name]) for name in ("train", "val")}
            self.run.append_metrics({"step": self.step, "eval": loss})
            self.display.say(f"step {self.step:,}: loss {loss['train']:.4f} train, {loss['val']:.4f} val")
        if "sample" in due:
            names = sample(model, self.dataset.vocabulary, SAMPLES, default_seed(self.config))
            self.display.say(f"step {self.step:,}: {' '.join(names)}")
        if "checkpoint" in due:
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
