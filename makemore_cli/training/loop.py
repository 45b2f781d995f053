"""The training loop: chunks of steps by an engine, and between them the log, the checks, and the checkpoint."""

from __future__ import annotations

import math
import shlex
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from makemore_cli.errors import MakemoreError, StoppedError
from makemore_cli.gradcheck.check import crosscheck
from makemore_cli.gradcheck.problem import Problem
from makemore_cli.gradcheck.sources import SOURCES
from makemore_cli.inference import evaluate
from makemore_cli.inference.sample import default_seed, sample
from makemore_cli.names.dataset import SPLITS
from makemore_cli.network.model import Model
from makemore_cli.network.parameters import Parameters
from makemore_cli.runs.checkpoint import Checkpoint, load_checkpoint
from makemore_cli.runs.file_names import BEST
from makemore_cli.runs.run_folder import Run
from makemore_cli.system.signals import Held
from makemore_cli.training.engines import Engine
from makemore_cli.training.failures import find_failure
from makemore_cli.training.progress_display import Display, Status
from makemore_cli.training.schedules import learning_rates
from makemore_cli.training.setup import Start
from makemore_cli.training.step_statistics import diagnose, saturated

CHUNK_SECONDS = 0.1  # what a chunk is to take: long enough to cost nothing, short enough for a lively display
LONGEST_CHUNK_STEPS = 2000  # steps in a chunk
SMOOTHING_STEPS = 1000  # steps that the smoothed loss is the mean of
SPEED_SECONDS = 1.0  # seconds that the present speed is measured over
SAMPLED_NAMES = 10  # names at a time
SAVE_SECONDS = 60.0  # seconds after which a run is saved, whatever is due
FIRST_SAVE_SECONDS = 5.0  # seconds after which it is saved for the first time
FIRST_LOOK_STEPS = 1000  # steps after which, and ten times as many and so on, a network is looked at for signs of death


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
    last_step: tuple[Parameters, Parameters] | None  # the parameters before and after it, where it is to be diagnosed


class Loop:
    """One run in progress."""

    def __init__(
        self, begun: Start, engine: Engine, run: Run, display: Display, crosscheck_every: int, step: int
    ) -> None:
        self.begun, self.config, self.dataset = begun, begun.config, begun.dataset
        self.engine, self.run, self.display = engine, run, display
        self.crosscheck_every = crosscheck_every
        self.step = self.begun_at = step
        self.saved_at: int | None = step or None  # the step of the last checkpoint
        self.saved_time = time.monotonic() - SAVE_SECONDS + FIRST_SAVE_SECONDS
        self.best = _best_loss(run, display) if step else None
        self.random_state = begun.random_state()  # before batches were drawn that are not trained yet
        self.seconds = 0.0  # spent in training steps
        self.lately = (0.0, 0.0)  # steps and seconds, those long ago counted less and less
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
                if stop or not chunk or time.monotonic() > self.saved_time + SAVE_SECONDS:
                    due.add("checkpoint")
                if due or not unlogged.finite:
                    self._log(unlogged)
                    self._do(due, unlogged.chunk)
                    unlogged = None
                if stop:
                    steps = f"{self.step:,} of {self.config.train.steps:,}"
                    raise StoppedError(f"stopped after step {steps}, and saved; {self.advice()}", stop)

    def finish(self) -> tuple[Model, dict[str, float]]:
        """Evaluate all splits. Returns the network, and its losses in nats per character."""
        model = self.model()
        loss = {name: evaluate.loss(model, self.dataset.splits[name]) for name in SPLITS}
        self.run.append_metrics({"step": self.step, "eval": loss})
        self.display.ended(self.step, loss)
        self._keep_if_best(model, loss["val"])
        return model, loss

    def advice(self) -> str:
        """How to go on after the training has ended early."""
        if self.saved_at is None:
            return "there is no checkpoint yet"
        after = "" if self.saved_at == self.step else f"after step {self.saved_at:,} "
        return f"go on {after}with: makemore train --resume {shlex.quote(str(self.run.folder))}"

    def _draw(self) -> _Chunk | None:
        """The steps to come, for about CHUNK_SECONDS, up to where something is due. Their number changes no result."""
        train = self.config.train
        ends = [train.steps, _next_look(self.step)]
        periods = (train.checkpoint_every, train.eval_every, train.sample_every, train.diagnose_every)
        for every in (self.crosscheck_every, *periods):
            if every:
                ends.append((self.step // every + 1) * every)
        length = min(self.length, min(ends) - self.step)
        self.random_state = self.begun.random_state()
        if length == 0:
            return None
        lrs = learning_rates(self.config.optim, self.step, length, self.config.train.steps)
        return _Chunk(self.step + 1, *self.begun.batches(length), lrs)

    def _crosscheck(self, chunk: _Chunk) -> None:
        """Check the gradients of the first step, where that is due."""
        if self.crosscheck_every and (chunk.first - 1) % self.crosscheck_every == 0:
            self.crosschecks += 1
            engine, x, y = self.engine, chunk.X[0], chunk.Y[0]
            problem = Problem(engine.parameters, x, y, engine.eps, engine.smoothing)
            crosscheck(problem, chunk.first, SOURCES[engine.source])

    def _train(self, chunk: _Chunk) -> _Trained:
        every, engine = self.config.train.diagnose_every, self.engine
        before, started = engine.state(), time.perf_counter()
        if every and chunk.last % every == 0:
            # What the last step does is looked at later: the next chunk trains by then.
            losses = [self._run(chunk, slice(0, -1))] if len(chunk.lrs) > 1 else []
            p = engine.parameters.to()
            losses.append(self._run(chunk, slice(len(chunk.lrs) - 1, None)))
            last_step = (p, engine.parameters.to())
        else:
            losses, last_step = [self._run(chunk, slice(None))], None
        seconds = time.perf_counter() - started
        finite = all(np.isfinite(part).all() for part in losses) and engine.is_finite()
        return _Trained(chunk, before, np.concatenate(losses), finite, seconds, last_step)

    def _run(self, chunk: _Chunk, steps: slice) -> NDArray[np.float64]:
        first = chunk.first - 1 + (steps.start or 0)
        losses = self.engine.run(chunk.X[steps], chunk.Y[steps], chunk.lrs[steps], first)
        return losses.double().cpu().numpy()

    def _pace(self, trained: _Trained) -> None:
        """Take the time, and choose the length of the chunks to come."""
        self.seconds += trained.seconds
        steps, fade = len(trained.losses), math.exp(-trained.seconds / SPEED_SECONDS)
        self.lately = (fade * self.lately[0] + steps, fade * self.lately[1] + trained.seconds)
        if 2 * steps >= self.length:  # one that was cut short tells little
            self.length = min(LONGEST_CHUNK_STEPS, 4 * steps, max(1, int(CHUNK_SECONDS * steps / trained.seconds)))

    def _log(self, trained: _Trained) -> None:
        """Write the steps of a chunk. Raises MakemoreError for one that was not finite."""
        chunk, losses = trained.chunk, trained.losses
        if not trained.finite:
            raise self._failure(trained)
        if trained.last_step is None:
            self.run.append_steps(chunk.first, losses.tolist(), chunk.lrs)
        else:
            found = diagnose(*trained.last_step, chunk.X[-1], chunk.Y[-1], self.engine.eps, self.engine.smoothing)
            self.run.append_steps(chunk.first, losses[:-1].tolist(), chunk.lrs[:-1])
            # Before its step's own record: a run that goes on after that can't find it again.
            self.run.append_metrics({"step": chunk.last, "diagnose": found})
            self.run.append_steps(chunk.last, losses[-1:].tolist(), chunk.lrs[-1:])
            self.display.diagnosed(chunk.last, found)
        self.first = np.concatenate([self.first, losses])[: SMOOTHING_STEPS // 10]
        self.recent = np.concatenate([self.recent, losses])[-SMOOTHING_STEPS:]
        rate = self.lately[0] / max(self.lately[1], 1e-9)
        smoothed = float(self.recent.mean())
        self.display.update(Status(chunk.last, self.config.train.steps, losses, smoothed, chunk.lrs[-1], rate))

    def _failure(self, trained: _Trained) -> MakemoreError:
        """What to say of a chunk with numbers that are not finite, whose good steps are written."""
        chunk = trained.chunk
        failure = find_failure(
            self.engine, trained.before, chunk.X, chunk.Y, chunk.lrs, chunk.first - 1, self.dataset.vocabulary
        )
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
        if self.step in (_next_look(self.step - 1), train.steps) and self.step >= FIRST_LOOK_STEPS:
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
            self.display.evaluated(self.step, loss)
        if "sample" in due:
            names = sample(model, self.dataset.vocabulary, SAMPLED_NAMES, default_seed(self.config))
            self.display.sampled(self.step, names)

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
        p, running, eps = self.engine.averaged, self.engine.running, self.config.model.batchnorm.epsilon
        if running is None:
            model = evaluate.calibrate(p.sizes, p.arrays(), self.dataset.train, eps)
        else:
            model = Model(p.sizes, p.arrays(), running.mean.cpu().numpy(), running.var.cpu().numpy(), eps)
        if not (np.isfinite(model.bnmean).all() and np.isfinite(model.bnvar).all()):
            raise self._too_far(
                f"step {self.step:,}: the mean or the variance of hprebn over the training split is not finite",
                learning_rates(self.config.optim, self.step - 1, 1, self.config.train.steps)[0],
            )
        return model

    def _checkpoint(self, model: Model, loss: float | None = None) -> Checkpoint:
        vocabulary, digest = self.dataset.vocabulary, self.dataset.sha256
        training = {**self.random_state, **self.engine.optimiser.state(self.engine.parameters.flat)}
        return Checkpoint(model, vocabulary, self.config, self.step, digest, training, loss)

    def _save(self, model: Model) -> None:
        self.run.save_checkpoint(self._checkpoint(model))
        self.saved_at, self.saved_time = self.step, time.monotonic()

    def _keep_if_best(self, model: Model, loss: float) -> None:
        if self.best is None or loss < self.best:
            self.best = loss
            self.run.save_best(self._checkpoint(model, loss))


def _next_look(step: int) -> int:
    look = FIRST_LOOK_STEPS
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
