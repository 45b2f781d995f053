"""A training run from its start, or from its last checkpoint, to its summary."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from makemore_cli.checks.network import SOURCES
from makemore_cli.config.schema import Config
from makemore_cli.distributed.meeting import LostRankError
from makemore_cli.errors import MakemoreError, StoppedError, WriteError
from makemore_cli.inference.sample import default_seed, sample
from makemore_cli.network.threads import threads
from makemore_cli.runs.checkpoint import Checkpoint, load_checkpoint
from makemore_cli.runs.file_names import CHECKPOINT
from makemore_cli.runs.run_folder import Run
from makemore_cli.runs.summary import Summary
from makemore_cli.system.environment import environment
from makemore_cli.system.signals import Held, Watch
from makemore_cli.training.engines import ENGINES, running_statistics
from makemore_cli.training.leader import Leader, LeadingEngine
from makemore_cli.training.loop import SAMPLED_NAMES, Loop
from makemore_cli.training.observer import Observer
from makemore_cli.training.optimisers import Optimiser
from makemore_cli.training.resume import check_data, check_settings, finished, restore
from makemore_cli.training.setup import TrainingSetup, require_float64, resolve, set_up, without_kernel
from makemore_cli.training.timetable import Timetable

STOPPING = "stopping: finishing the current step or evaluation, then saving"


def train(
    config: Config,
    folder: Path,
    observer: Observer | None = None,
    *,
    crosscheck_every: int = 0,
    overwrite: bool = False,
    resume: bool = False,
    names: bytes | None = None,
    leader: Leader | None = None,
) -> Summary:
    """Train a configuration, and save the run in `folder`; with `resume`, resume the run that is there.

    Every `crosscheck_every` steps, the training gradients are compared with those of an independent source. `names` is
    the content of the configuration's file of names, if it is still to be written into the folder. Nothing is written
    before the data, the device and the folder have been checked. With a `leader`, other processes train along.

    Raises MakemoreError for a user's mistake, CheckFailedError if gradients disagree, StoppedError after a signal or if
    the observer stops the run, and WriteError.
    """
    observer = observer or Observer()
    slower = without_kernel(config)
    if slower:
        observer.message(slower)
    if crosscheck_every:
        require_float64(resolve(config))
    if leader is not None:
        leader.agree(resolve(config))
    if not resume:
        setup = set_up(config, names=names)
        with Run.create(folder, overwrite=overwrite) as run:
            return _train(setup, None, run, observer, crosscheck_every, names, leader)
    with Run.resume(folder) as run:
        if not run.has(CHECKPOINT):
            observer.message(f"{folder}: there is no checkpoint yet; starting from the beginning")
            return _train(set_up(config, names=names), None, run, observer, crosscheck_every, names, leader)
        saved = load_checkpoint(folder)
        check_settings(resolve(config), saved, folder)
        setup = set_up(config, names=names)
        check_data(setup, saved, folder)
        run.end_of_step(saved.step)
        summary = finished(run, setup.config)
        if summary is not None:
            observer.message(f"all {summary.steps:,} steps are already trained; increase train.steps to train more")
            return summary
        return _train(setup, saved, run, observer, crosscheck_every, names, leader)


def _train(
    setup: TrainingSetup,
    saved: Checkpoint | None,
    run: Run,
    observer: Observer,
    crosscheck_every: int,
    names: bytes | None,
    leader: Leader | None,
) -> Summary:
    config, dataset, parameters = setup.config, setup.dataset, setup.parameters
    running = running_statistics(config, parameters.flat)
    optimiser = Optimiser(config.optim, config.train.steps, parameters.flat)
    if saved is not None:
        restore(saved, setup, running, optimiser, run.folder)
    observer.message(
        f"{len(dataset.train):,} / {len(dataset.val):,} / {len(dataset.test):,} examples for training, validation and "
        f"test"
    )
    observer.message(
        f"{len(dataset.vocabulary.letters)} characters, {parameters.flat.numel():,} parameters, "
        f"engine {config.train.engine} on {config.train.device}"
    )
    eps, smoothing = config.model.batchnorm.epsilon, config.train.label_smoothing
    count = None if config.train.threads == "auto" else config.train.threads
    kind = ENGINES[config.train.engine] if leader is None else LeadingEngine
    engine = kind(parameters, running, eps, optimiser, smoothing, count)
    # With the kernel, PyTorch's own threads stay as they are, so that the diagnostics stay the same to the last digit.
    of_torch = None if config.train.engine == "kernel" else count
    with closing(observer), threads(parameters, config.train.batch_size, of_torch):
        engine.prepare(config.train.batch_size, observer.message)
        step = 0 if saved is None else saved.step
        if leader is not None and isinstance(engine, LeadingEngine):
            leader.start(setup, engine, step)
        if saved is None:
            run.begin(config, names)
        else:
            run.resume_after(step, config, names)
            before, now = saved.config.train.steps, config.train.steps
            goal = f"; train.steps was {before:,} and is now {now:,}" if before != now else ""
            observer.message(f"resuming after step {step:,}{goal}")
        observer.started(run.folder, step)
        loop = Loop(setup, engine, run, observer, Timetable(config.train, crosscheck_every), step)
        try:
            with Held(Watch(STOPPING, observer.stopping)) as signals:
                loop.run_to_end(signals)
                summary = _summary(loop)
                run.save_summary(summary)
            if signals.caught:
                raise StoppedError(f"stopped after the last step; {run.folder} has the complete run", signals.caught)
        except (WriteError, LostRankError) as error:
            raise _with_last_checkpoint(error, loop) from None
    if crosscheck_every:
        of = engine.training_source
        observer.message(
            f"{loop.crosschecks:,} crosschecks, all agree: {of.about}, against {SOURCES[of.witness].about}"
        )
    return summary


def _summary(loop: Loop) -> Summary:
    config, (model, loss), seconds = loop.config, loop.finish(), loop.pace.seconds
    return Summary(
        run=str(loop.run.folder),
        engine=config.train.engine,
        device=config.train.device,
        steps=loop.step,
        parameters=model.sizes.parameters,
        resumed_at=loop.resumed_at,
        seconds=round(seconds, 3),
        steps_per_second=round((loop.step - loop.resumed_at) / max(seconds, 1e-9), 1),
        loss=loss,
        samples=sample(model, loop.dataset.vocabulary, SAMPLED_NAMES, default_seed(config)),
        date=datetime.now(UTC).replace(microsecond=0),
        environment=environment(),
    )


def _with_last_checkpoint(error: MakemoreError, loop: Loop) -> MakemoreError:
    """The error, with the step from which the run can be resumed."""
    saved = loop.saver.saved_step
    if saved is None:
        return type(error)(f"{error}; there is no checkpoint yet")
    told = type(error)(f"{error}; the last checkpoint is from step {saved:,}")
    told.resume = loop.run.folder
    return told
