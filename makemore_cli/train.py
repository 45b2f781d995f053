"""The training loop: chunks of steps by an engine, and between them the log, the checks, and the checkpoint."""

from __future__ import annotations

import json
import shlex
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from makemore_cli import evaluate
from makemore_cli.checkpoint import CHECKPOINT, Checkpoint, load_checkpoint
from makemore_cli.config import LARGEST, Config
from makemore_cli.dataset import SPLITS
from makemore_cli.diagnostics import diagnose
from makemore_cli.engine import ENGINES, Engine, RunningStatistics, threads
from makemore_cli.environment import environment
from makemore_cli.errors import MakemoreError, StoppedError, WriteError
from makemore_cli.files import read
from makemore_cli.gradcheck.check import crosscheck
from makemore_cli.model import Model
from makemore_cli.optim import learning_rates
from makemore_cli.parameters import Parameters
from makemore_cli.progress import Display, Status, duration
from makemore_cli.run import BEST, SUMMARY, Run
from makemore_cli.sample import default_seed, sample
from makemore_cli.signals import Held
from makemore_cli.start import Start, check_data, check_settings, resolve, start
from makemore_cli.trouble import find_failure, saturated

SECONDS = 0.1  # what a chunk is to take: long enough to cost nothing, short enough for a lively display
LONGEST = 2000  # steps in a chunk
SMOOTH = 1000  # steps that the smoothed loss is the mean of
SAMPLES = 10  # names in the summary
SAVED = 60.0  # seconds after which a run is saved, whatever is due
SOON = 5.0  # seconds after which it is saved for the first time
LOOK = 1000  # steps after which, and ten times as many and so on, a network is looked at for signs of death


@dataclass(frozen=True)
class Summary:
    """What a run came to."""

    run: str
    engine: str
    device: str
    steps: int
    parameters: int
    resumed_at: int  # the step after which the run was last taken up, or 0
    seconds: float  # spent in training steps since then
    steps_per_second: float
    loss: dict[str, float]  # train, val, test; nats a letter
    samples: list[str]
    date: str = ""  # when it ended, ISO 8601
    environment: dict[str, str] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The summary to read."""
        rows = [(f"{split} loss", f"{loss:.4f}") for split, loss in self.loss.items()]
        last = f", the last {self.steps - self.resumed_at:,}" if 0 < self.resumed_at < self.steps else ""
        rows += [
            ("steps", f"{self.steps:,}{last} in {duration(self.seconds)} ({self.steps_per_second:,.0f} a second)"),
            ("parameters", f"{self.parameters:,}"),
            ("engine", f"{self.engine} on {self.device}"),
            ("run folder", self.run),
        ]
        rows += [("" if row else "samples", name) for row, name in enumerate(self.samples)]
        return [f"{label:<12}{value}" for label, value in rows]


def train(
    config: Config,
    folder: Path,
    display: Display,
    *,
    crosscheck_every: int = 0,
    overwrite: bool = False,
    resume: bool = False,
) -> Summary:
    """Train as a configuration says, and leave a run in `folder`; with `resume`, go on with the run that it holds.

    Nothing is written before the data, the device and the folder are known to be good.
    Raises MakemoreError for what the user can mend, CheckFailedError where `crosscheck_every` finds a wrong gradient,
    StoppedError where a signal ended it.
    """
    if not resume:
        begun = start(config)
        with Run.create(folder, overwrite=overwrite) as run:
            return _train(begun, None, run, display, crosscheck_every)
    with Run.reopen(folder) as run:
        if not run.has(CHECKPOINT):
            display.say(f"{folder}: there is no checkpoint yet; beginning again")
            return _train(start(config), None, run, display, crosscheck_every)
        saved = load_checkpoint(folder)
        check_settings(resolve(config), saved, folder)
        begun = start(config)
        check_data(begun, saved, folder)
        run.end_of_step(saved.step)
        finished = _finished(run, begun.config)
        if finished is not None:
            display.say(f"all of its {finished.steps:,} steps are trained; more with --steps N")
            return finished
        return _train(begun, saved, run, display, crosscheck_every)


def _train(begun: Start, saved: Checkpoint | None, run: Run, display: Display, crosscheck_every: int) -> Summary:
    config, dataset, parameters = begun.config, begun.dataset, begun.parameters
    running = _running(config, parameters.flat)
    if saved is not None:
        _take_up(saved, begun, running, run.folder)
    display.say(
        f"{len(dataset.train):,} / {len(dataset.val):,} / {len(dataset.test):,} examples for training, validation and "
        f"test"
    )
    display.say(
        f"{len(dataset.vocabulary.letters)} letters, {parameters.flat.numel():,} parameters, "
        f"engine {config.train.engine} on {config.train.device}"
    )
    engine = ENGINES[config.train.engine](parameters, running, config.model.batchnorm.epsilon)
    with display, threads(parameters, config.train.batch_size):
        engine.prepare(config.train.batch_size, display.say)
        if saved is None:
            run.begin(config)
        else:
            run.go_on(config, saved.step)
            before, now = saved.config.train.steps, config.train.steps
            goal = f"; its goal was {before:,}, and is now {now:,}" if before != now else ""
            display.say(f"going on after step {saved.step:,}{goal}")
        loop = _Loop(begun, engine, run, display, crosscheck_every, 0 if saved is None else saved.step)
        try:
            with Held() as signals:
                loop.run_to_end(signals)
                summary = loop.finish()
            if signals.caught:
                raise StoppedError(f"stopped after the last of its steps; {run.folder} holds all of it", signals.caught)
        except WriteError as error:
            raise WriteError(f"{error}; {loop.advice()}") from None
    if crosscheck_every:
        display.say(f"{loop.crosschecks:,} crosschecks, all agree")
    return summary


def _finished(run: Run, config: Config) -> Summary | None:
    """What a run came to, if it has nothing left to do."""
    try:
        summary = Summary(**json.loads(read(run.folder / SUMMARY, LARGEST)))
        summary.lines()  # what is not of its type can't be shown
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, MakemoreError):
        return None
    return replace(summary, run=str(run.folder)) if summary.steps == config.train.steps else None


def _running(config: Config, like: torch.Tensor) -> RunningStatistics | None:
    if config.model.batchnorm.statistics == "calibrated":
        return None
    hidden = config.model.hidden_size
    return RunningStatistics(like.new_zeros((1, hidden)), like.new_ones((1, hidden)), config.model.batchnorm.momentum)


def _take_up(saved: Checkpoint, begun: Start, running: RunningStatistics | None, folder: Path) -> None:
    """Put everything where it stood when the checkpoint was made."""
    model = saved.model
    begun.parameters.flat.copy_(Parameters.from_arrays(model.sizes, model.parameters).flat)
    if running is not None:
        running.mean.copy_(torch.from_numpy(model.bnmean))
        running.var.copy_(torch.from_numpy(model.bnvar))
    try:
        begun.generator.set_state(torch.from_numpy(saved.training["generator"]))
    except RuntimeError:
        raise MakemoreError(f"{folder}: its random numbers' state is damaged; train another run") from None


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
    before: list[Tensor]  # the engine's state
    losses: NDArray[np.float64]
    finite: bool  # the losses and the parameters
    seconds: float
    diagnosis: dict[str, Any] | None  # of its only step, where that is due


class _Loop:
    """One run in progress."""

    def __init__(
        self, begun: Start, engine: Engine, run: Run, display: Display, crosscheck_every: int, step: int
    ) -> None:
        self.begun, self.config, self.dataset = begun, begun.config, begun.dataset
        self.engine, self.run, self.display = engine, run, display
        self.crosscheck_every = crosscheck_every
        self.step = self.begun_at = step
        self.saved_at: int | None = step or None  # the step of the last checkpoint
        self.saved_time = time.monotonic() - SAVED + SOON
        self.best = _best_loss(run, display) if step else None
        self.generator = begun.generator.get_state()  # before batches were drawn that are not trained yet
        self.seconds = 0.0
        self.length = 10  # of the next chunk, where nothing is due within it
        self.crosschecks = 0
        self.first: NDArray[np.float64] = np.empty(0)  # losses of the first steps, and of the last
        self.recent: NDArray[np.float64] = np.empty(0)
        self.warned = False

    def run_to_end(self, signals: Held) -> None:
        """Train all steps: each chunk in a second thread, while this one logs the one before and draws the next.

        Raises StoppedError where a signal ends it; then all that was trained is saved.
        """
        with ThreadPoolExecutor(1) as thread:
            # What was due when the checkpoint was saved may not have been done, and was taken out of the metrics.
            self._do(self._due())
            chunk, unlogged = self._draw(), None
            if not chunk:  # the goal is where the checkpoint stands, which may have had another
                self._save(self.model())
            while chunk:
                self._crosscheck(chunk)
                training = thread.submit(self._train, chunk)
                if unlogged:
                    self._log(unlogged)
                self.step = chunk.last
                chunk, unlogged = self._draw(), training.result()
                self._pace(unlogged)
                due, stop = self._due(), signals.caught
                if stop or not chunk or time.monotonic() > self.saved_time + SAVED:
                    due.add("checkpoint")
                if due or not unlogged.finite:
                    self._log(unlogged)
                    self._do(due, unlogged.chunk)
                    unlogged = None
                if stop:
                    steps = f"{self.step:,} of {self.config.train.steps:,}"
                    raise StoppedError(f"stopped after step {steps}, and saved; {self.advice()}", stop)

    def finish(self) -> Summary:
        """Evaluate, sample, and write the summary."""
        config, dataset, model = self.config, self.dataset, self.model()
        summary = Summary(
            run=str(self.run.folder),
            engine=config.train.engine,
            device=config.train.device,
            steps=self.step,
            parameters=model.sizes.parameters,
            resumed_at=self.begun_at,
            seconds=round(self.seconds, 3),
            steps_per_second=round((self.step - self.begun_at) / max(self.seconds, 1e-9), 1),
            loss={name: evaluate.loss(model, dataset.splits[name]) for name in SPLITS},
            samples=sample(model, dataset.vocabulary, SAMPLES, default_seed(config)),
            date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            environment=environment(),
        )
        self.run.append_metrics({"step": self.step, "eval": summary.loss})
        self._keep_if_best(model, summary.loss["val"])
        self.run.save_summary(vars(summary))
        return summary

    def advice(self) -> str:
        """How to go on after the training has ended early."""
        if self.saved_at is None:
            return "there is no checkpoint yet"
        after = "" if self.saved_at == self.step else f"after step {self.saved_at:,} "
        return f"go on {after}with: makemore train --resume {shlex.quote(str(self.run.folder))}"

    def _draw(self) -> _Chunk | None:
        """The steps to come, about SECONDS long, ending where something is due. How many they are changes no result."""
        train = self.config.train
        ends = [train.steps, _next_look(self.step)]
        for every in (self.crosscheck_every, train.checkpoint_every, train.eval_every, train.sample_every):
            if every:
                ends.append((self.step // every + 1) * every)
        if train.diagnose_every:  # that step is a chunk by itself
            end = (self.step // train.diagnose_every + 1) * train.diagnose_every
            ends.append(end if end == self.step + 1 else end - 1)
        length = min(self.length, min(ends) - self.step)
        self.generator = self.begun.generator.get_state()
        if length == 0:
            return None
        lrs = learning_rates(self.config.optim, self.step, length)
        return _Chunk(self.step + 1, *self.begun.batches(length), lrs)

    def _crosscheck(self, chunk: _Chunk) -> None:
        """Check the gradients of the first step, where that is due."""
        if self.crosscheck_every and (chunk.first - 1) % self.crosscheck_every == 0:
            self.crosschecks += 1
            eps = self.config.model.batchnorm.epsilon
            crosscheck(self.engine.parameters, chunk.X[0], chunk.Y[0], eps, chunk.first, self.engine.source)

    def _train(self, chunk: _Chunk) -> _Trained:
        before, started = self.engine.state(), time.perf_counter()
        losses = self.engine.run(chunk.X, chunk.Y, chunk.lrs).double().cpu().numpy()
        seconds = time.perf_counter() - started
        finite = bool(np.isfinite(losses).all()) and self.engine.is_finite()
        every, diagnosis, p = self.config.train.diagnose_every, None, self.engine.parameters
        if finite and every and chunk.last % every == 0:
            diagnosis = diagnose(Parameters(p.sizes, before[0]), p, chunk.X[0], chunk.Y[0], self.engine.eps)
        return _Trained(chunk, before, losses, finite, seconds, diagnosis)

    def _pace(self, trained: _Trained) -> None:
        """Take the time, and choose the length of the chunks to come."""
        self.seconds += trained.seconds
        steps = len(trained.losses)
        if 2 * steps >= self.length:  # one that was cut short tells little
            self.length = min(LONGEST, 4 * steps, max(1, int(SECONDS * steps / trained.seconds)))

    def _log(self, trained: _Trained) -> None:
        """Write the steps of a chunk. Raises MakemoreError for one that was not finite."""
        chunk, losses = trained.chunk, trained.losses
        if not trained.finite:
            raise self._failure(trained)
        if trained.diagnosis is not None:
            # Before its step: it can't be found again by a run that goes on after that.
            self.run.append_metrics({"step": chunk.last, "diagnose": trained.diagnosis})
        self.run.append_steps(chunk.first, losses.tolist(), chunk.lrs)
        self.first = np.concatenate([self.first, losses])[: SMOOTH // 10]
        self.recent = np.concatenate([self.recent, losses])[-SMOOTH:]
        rate = len(losses) / trained.seconds
        status = Status(chunk.last, self.config.train.steps, float(self.recent.mean()), chunk.lrs[-1], rate)
        self.display.update(status)

    def _failure(self, trained: _Trained) -> MakemoreError:
        """What to say of a chunk with numbers that are not finite, whose good steps are written."""
        chunk = trained.chunk
        failure = find_failure(self.engine, trained.before, chunk.X, chunk.Y, chunk.lrs, self.dataset.vocabulary)
        self.run.append_steps(chunk.first, trained.losses[: failure.index].tolist(), chunk.lrs[: failure.index])
        return self._too_far(
            f"step {chunk.first + failure.index:,}: the loss is {failure.loss:.4g}: {failure.text}",
            chunk.lrs[failure.index],
        )

    def _too_far(self, what: str, lr: float) -> MakemoreError:
        """What to say of numbers that are no longer finite."""
        last = "there is no checkpoint yet"
        if self.saved_at is not None:
            last = f"the last good checkpoint is that of step {self.saved_at:,}"
        return MakemoreError(
            f"{what}; try a smaller learning rate (it is {lr:g}) with --overwrite or another --out; {last}"
        )

    def _due(self) -> set[str]:
        """What is to be done at this step; the end has an evaluation of its own."""
        train = self.config.train
        every = {"eval": train.eval_every, "sample": train.sample_every, "checkpoint": train.checkpoint_every}
        every["crosscheck"] = self.crosscheck_every
        due = {
            what for what, steps in every.items() if steps and 0 < self.step < train.steps and self.step % steps == 0
        }
        # A checkpoint that was asked for is evaluated too: the best of them is kept.
        due |= {"eval"} if "checkpoint" in due else set()
        if self.step in (_next_look(self.step - 1), train.steps) and self.step >= LOOK:
            due.add("look")
        return due

    def _do(self, due: set[str], chunk: _Chunk | None = None) -> None:
        """Do what is due after a chunk, or again what was due before the first one, which is saved already."""
        if "look" in due and chunk:
            self._look(chunk)
        if not due - {"look", "crosscheck"}:
            return
        model = self.model()
        if "checkpoint" in due and chunk:
            self._save(model)
        if "eval" in due:
            loss = {name: evaluate.loss(model, self.dataset.splits[name]) for name in ("train", "val")}
            self.run.append_metrics({"step": self.step, "eval": loss})
            self._keep_if_best(model, loss["val"])
            self.display.say(f"step {self.step:,}: loss {loss['train']:.4f} train, {loss['val']:.4f} val")
        if "sample" in due:
            names = sample(model, self.dataset.vocabulary, SAMPLES, default_seed(self.config))
            self.display.say(f"step {self.step:,}: {' '.join(names)}")

    def _look(self, chunk: _Chunk) -> None:
        """Warn, once, of a network that does not learn."""
        if self.warned:
            return
        share = saturated(self.engine.parameters, chunk.X[-1], self.config.model.batchnorm.epsilon)
        first, recent = float(self.first.mean()), float(self.recent[-len(self.first) :].mean())
        if share > 0.99:
            self.display.warn(
                f"step {self.step:,}: {share:.0%} of tanh's outputs are saturated, so hardly any gradient comes "
                f"through; try a smaller learning rate (it is {chunk.lrs[-1]:g})"
            )
        elif self.begun_at == 0 and recent > 0.99 * first:
            try_this = "a smaller" if recent > 1.01 * first else "another"
            self.display.warn(
                f"step {self.step:,}: the loss is {recent:.4g}, and it began at {first:.4g}: the network does not "
                f"learn; try {try_this} learning rate (it is {chunk.lrs[-1]:g})"
            )
        else:
            return
        self.warned = True

    def model(self) -> Model:
        """The network as it is now, with the statistics that stand in for a batch's.

        Raises MakemoreError where these are not finite.
        """
        p, running, eps = self.engine.parameters, self.engine.running, self.config.model.batchnorm.epsilon
        if running is None:
            model = evaluate.calibrate(p.sizes, p.arrays(), self.dataset.train, eps)
        else:
            model = Model(p.sizes, p.arrays(), running.mean.cpu().numpy(), running.var.cpu().numpy(), eps)
        if not (np.isfinite(model.bnmean).all() and np.isfinite(model.bnvar).all()):
            raise self._too_far(
                f"step {self.step:,}: the mean or the variance of hprebn over the training split is not finite",
                learning_rates(self.config.optim, self.step - 1, 1)[0],
            )
        return model

    def _checkpoint(self, model: Model, loss: float | None = None) -> Checkpoint:
        state = {"generator": self.generator.numpy()}
        return Checkpoint(model, self.dataset.vocabulary, self.config, self.step, self.dataset.sha256, state, loss)

    def _save(self, model: Model) -> None:
        self.run.save_checkpoint(self._checkpoint(model))
        self.saved_at, self.saved_time = self.step, time.monotonic()

    def _keep_if_best(self, model: Model, loss: float) -> None:
        if self.best is None or loss < self.best:
            self.best = loss
            self.run.save_best(self._checkpoint(model, loss))


def _next_look(step: int) -> int:
    look = LOOK
    while look <= step:
        look *= 10
    return look


def _best_loss(run: Run, display: Display) -> float | None:
    """The least validation loss of a run so far, which its best checkpoint tells."""
    if not run.has(BEST):
        return None
    try:
        return load_checkpoint(run.folder / BEST).loss
    except MakemoreError as error:
        display.warn(f"{error}; the next evaluation replaces it")
        return None
