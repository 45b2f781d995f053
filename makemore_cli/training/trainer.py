"""A training run from its start, or from where it was left, to its summary."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import torch

from makemore_cli.config.schema import Config
from makemore_cli.errors import MakemoreError, StoppedError, WriteError
from makemore_cli.gradcheck.sources import SOURCES
from makemore_cli.inference.sample import default_seed, sample
from makemore_cli.network.parameters import Parameters
from makemore_cli.network.threads import threads
from makemore_cli.runs.checkpoint import Checkpoint, load_checkpoint
from makemore_cli.runs.file_names import CHECKPOINT
from makemore_cli.runs.run_folder import Run
from makemore_cli.runs.summary import Summary, load_summary
from makemore_cli.system.environment import environment
from makemore_cli.system.signals import Held, Watch
from makemore_cli.training.engines import ENGINES, RunningStatistics
from makemore_cli.training.loop import SAMPLED_NAMES, Loop
from makemore_cli.training.optimisers import Optimiser
from makemore_cli.training.progress_display import Display
from makemore_cli.training.setup import Start, check_data, check_settings, resolve, start, without_kernel

STOPPING = "stopping: the present step or evaluation comes to its end first, and then all is saved"


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
    slower = without_kernel(config)
    if slower:
        display.say(slower)
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
    optimiser = Optimiser(config.optim, config.train.steps, parameters.flat)
    if saved is not None:
        _take_up(saved, begun, running, optimiser, run.folder)
    display.say(
        f"{len(dataset.train):,} / {len(dataset.val):,} / {len(dataset.test):,} examples for training, validation and "
        f"test"
    )
    display.say(
        f"{len(dataset.vocabulary.letters)} letters, {parameters.flat.numel():,} parameters, "
        f"engine {config.train.engine} on {config.train.device}"
    )
    eps, smoothing = config.model.batchnorm.epsilon, config.train.label_smoothing
    engine = ENGINES[config.train.engine](parameters, running, eps, optimiser, smoothing)
    with display, threads(parameters, config.train.batch_size):
        engine.prepare(config.train.batch_size, display.say)
        if saved is None:
            run.begin(config)
        else:
            run.go_on(config, saved.step)
            before, now = saved.config.train.steps, config.train.steps
            goal = f"; its goal was {before:,}, and is now {now:,}" if before != now else ""
            display.say(f"going on after step {saved.step:,}{goal}")
        step = 0 if saved is None else saved.step
        display.begin(run.folder, step)
        loop = Loop(begun, engine, run, display, crosscheck_every, step)
        try:
            with Held(Watch(STOPPING, display.tell)) as signals:
                loop.run_to_end(signals)
                summary = _summary(loop)
                run.save_summary(summary)
            if signals.caught:
                raise StoppedError(f"stopped after the last of its steps; {run.folder} holds all of it", signals.caught)
        except WriteError as error:
            raise WriteError(f"{error}; {loop.advice()}") from None
    if crosscheck_every:
        of = SOURCES[engine.source]
        display.say(f"{loop.crosschecks:,} crosschecks, all agree: {of.about}, against {SOURCES[of.witness].about}")
    return summary


def _summary(loop: Loop) -> Summary:
    """Evaluate, sample, and say what the run came to."""
    config, (model, loss) = loop.config, loop.finish()
    return Summary(
        run=str(loop.run.folder),
        engine=config.train.engine,
        device=config.train.device,
        steps=loop.step,
        parameters=model.sizes.parameters,
        resumed_at=loop.begun_at,
        seconds=round(loop.seconds, 3),
        steps_per_second=round((loop.step - loop.begun_at) / max(loop.seconds, 1e-9), 1),
        loss=loss,
        samples=sample(model, loop.dataset.vocabulary, SAMPLED_NAMES, default_seed(config)),
        date=datetime.now(timezone.utc).replace(microsecond=0),
        environment=environment(),
    )


def _finished(run: Run, config: Config) -> Summary | None:
    """What a run came to, if it has nothing left to do."""
    summary = load_summary(run.folder)
    if summary is None or summary.steps != config.train.steps:
        return None
    return summary.model_copy(update={"run": str(run.folder)})


def _running(config: Config, like: torch.Tensor) -> RunningStatistics | None:
    if config.model.batchnorm.statistics == "calibrated":
        return None
    hidden = config.model.hidden_size
    return RunningStatistics(like.new_zeros((1, hidden)), like.new_ones((1, hidden)), config.model.batchnorm.momentum)


def _take_up(
    saved: Checkpoint, begun: Start, running: RunningStatistics | None, optimiser: Optimiser, folder: Path
) -> None:
    """Put everything where it stood when the checkpoint was made."""
    model = saved.model
    flat = Parameters.from_arrays(model.sizes, model.parameters).flat
    begun.parameters.flat.copy_(optimiser.take_up(flat, saved.training, saved.step))
    if running is not None:
        running.mean.copy_(torch.from_numpy(model.bnmean))
        running.var.copy_(torch.from_numpy(model.bnvar))
    try:
        begun.set_random_state(saved.training)
    except RuntimeError:
        raise MakemoreError(f"{folder}: its random numbers' state is damaged; train another run") from None
