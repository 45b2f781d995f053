"""The training loop: chunks of steps, and logging, evaluations and checkpoints between them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from makemore_cli.checks.check import crosscheck
from makemore_cli.checks.network import NetworkProblem
from makemore_cli.errors import MakemoreError, StoppedError
from makemore_cli.inference import evaluate
from makemore_cli.inference.sample import default_seed, sample
from makemore_cli.names.splits import SPLITS
from makemore_cli.network.model import Model
from makemore_cli.runs.run_folder import Run
from makemore_cli.system.signals import Held
from makemore_cli.training.chunk import Chunk, TrainedChunk, train_chunk
from makemore_cli.training.engines import Engine
from makemore_cli.training.failures import diverged, find_failure, not_learning
from makemore_cli.training.observer import Observer
from makemore_cli.training.pace import Pace
from makemore_cli.training.saver import Saver
from makemore_cli.training.schedules import learning_rates
from makemore_cli.training.setup import TrainingSetup
from makemore_cli.training.step_log import StepLog
from makemore_cli.training.timetable import Event, Timetable

SAMPLED_NAMES = 10


class Loop:
    """Trains a run from step `resumed_at` to its end."""

    def __init__(
        self, setup: TrainingSetup, engine: Engine, run: Run, observer: Observer, timetable: Timetable, resumed_at: int
    ) -> None:
        self.setup, self.config, self.dataset = setup, setup.config, setup.dataset
        self.engine, self.run, self.observer, self.timetable = engine, run, observer, timetable
        self.step = self.resumed_at = resumed_at
        self.pace = Pace()
        self.log = StepLog(run, engine, observer, self.config.train.steps)
        self.saver = Saver(run, setup, engine, observer, resumed_at)
        self.crosschecks = 0
        self._random_state = setup.random_state()  # after the batches of `step` steps were drawn
        self._warned = False

    def run_to_end(self, signals: Held) -> None:
        """Train all steps. While a second thread trains a chunk, this one logs the previous chunk and draws the next.

        Raises StoppedError, after saving, if a signal or the observer stops it.
        """
        with ThreadPoolExecutor(1) as thread:
            # The process that saved the checkpoint may have ended before the other events of that step.
            self._do(self.timetable.due(self.step) - {"save", "check learning"})
            chunk, unlogged = self._draw(), None
            if not chunk:  # no steps are left; the checkpoint may hold another value of train.steps
                self._save()
            while chunk:
                self._crosscheck(chunk)
                diagnose = self.timetable.diagnoses(chunk.stop)
                training = thread.submit(train_chunk, self.engine, chunk, diagnose=diagnose)
                if unlogged:
                    self._log(unlogged)
                self.step = chunk.stop
                chunk, trained = self._draw(), training.result()
                self.pace.record(len(trained.losses), trained.seconds)
                due = self.timetable.due(self.step)
                if signals.caught or not chunk or self.saver.is_overdue:
                    due.add("save")
                unlogged = trained
                if due or not trained.finite:
                    self._log(trained)
                    self._do(due, trained)
                    unlogged = None
                if signals.caught or self.observer.should_stop():
                    self._stop(unlogged, signals.caught)

    def _stop(self, unlogged: TrainedChunk | None, signal: int | None) -> None:
        """Save the run, and raise StoppedError."""
        if unlogged:
            self._log(unlogged)
        if self.saver.saved_step != self.step:
            self._save()
        steps = f"{self.step:,} of {self.config.train.steps:,}"
        raise StoppedError(f"stopped after step {steps}, and saved", signal, resume=self.run.folder)

    def finish(self) -> tuple[Model, dict[str, float]]:
        """Evaluate all splits. Returns the network, and its losses in nats per character."""
        model = self.model()
        loss = {name: evaluate.loss(model, self.dataset.splits[name]) for name in SPLITS}
        self.run.append_metrics({"step": self.step, "eval": loss})
        self.observer.finished(self.step, loss)
        self.saver.save_if_best(model, self.step, self._random_state, loss["val"])
        return model, loss

    def _draw(self) -> Chunk | None:
        """Draw the next chunk, up to the next event; None at the end of the run."""
        length = min(self.pace.chunk_steps, self.timetable.next(self.step) - self.step)
        self._random_state = self.setup.random_state()
        if length == 0:
            return None
        rates = learning_rates(self.config.optim, self.step, length, self.config.train.steps)
        return Chunk(self.step, *self.setup.batches(length), rates)

    def _crosscheck(self, chunk: Chunk) -> None:
        """Check the gradients of a chunk's first step if a crosscheck is due. Raises CheckFailedError."""
        if self.timetable.crosschecks(chunk.start):
            self.crosschecks += 1
            engine = self.engine
            problem = NetworkProblem(engine.parameters, chunk.X[0], chunk.Y[0], engine.eps, engine.smoothing)
            crosscheck(problem, chunk.start + 1, engine.training_source)

    def _log(self, trained: TrainedChunk) -> None:
        """Log a chunk. Raises MakemoreError for numbers that are not finite, after logging the steps before them."""
        if trained.finite:
            self.log.write(trained, self.pace.steps_per_second)
            return
        chunk = trained.chunk
        failure = find_failure(self.engine, trained, self.dataset.vocabulary)
        good = failure.step - 1 - chunk.start
        self.run.append_steps(chunk.start, trained.losses[:good].tolist(), chunk.learning_rates[:good])
        fact = f"step {failure.step:,}: the loss is {failure.loss:.4g}: {failure.text}"
        raise diverged(fact, chunk.learning_rates[good], self.saver.saved_step)

    def _do(self, due: set[Event], trained: TrainedChunk | None = None) -> None:
        """Handle the events due after a step. `trained` is its chunk, or None before the first chunk."""
        if "check learning" in due and trained:
            self._check_learning(trained.chunk)
        if not due - {"crosscheck", "check learning"}:
            return
        model = self.model()
        if "save" in due:
            self._save(model)
        if "evaluate" in due:
            loss = {name: evaluate.loss(model, self.dataset.splits[name]) for name in ("train", "val")}
            self.run.append_metrics({"step": self.step, "eval": loss})
            self.saver.save_if_best(model, self.step, self._random_state, loss["val"])
            self.observer.evaluated(self.step, loss)
        if "sample" in due:
            names = sample(model, self.dataset.vocabulary, SAMPLED_NAMES, default_seed(self.config))
            self.observer.sampled(self.step, names)

    def _save(self, model: Model | None = None) -> None:
        self.saver.save(model or self.model(), self.step, self._random_state)

    def _check_learning(self, chunk: Chunk) -> None:
        """Warn once if the network is not learning."""
        if not self._warned:
            first = self.log.first if self.resumed_at == 0 else None
            told = not_learning(self.engine, chunk, first, self.log.recent)
            if told:
                self.observer.warning(f"step {self.step:,}: {told}")
                self._warned = True

    def model(self) -> Model:
        """The current network, with batchnorm statistics for inference.

        Raises MakemoreError if they are not finite.
        """
        p, running, eps = self.engine.averaged, self.engine.running, self.config.model.batchnorm.epsilon
        if running is None:
            model = evaluate.calibrate(p.sizes, p.arrays(), self.dataset.train, eps)
        else:
            model = Model(p.sizes, p.arrays(), running.mean.cpu().numpy(), running.var.cpu().numpy(), eps)
        if not (np.isfinite(model.bnmean).all() and np.isfinite(model.bnvar).all()):
            raise self._diverged_statistics()
        return model

    def _diverged_statistics(self) -> MakemoreError:
        fact = f"step {self.step:,}: the mean or the variance of hprebn over the training split is not finite"
        rate = learning_rates(self.config.optim, self.step - 1, 1, self.config.train.steps)[0]
        return diverged(fact, rate, self.saver.saved_step)
