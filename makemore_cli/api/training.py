"""Train from Python, with the options of `makemore train`."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from makemore_cli.api.given_names import as_file
from makemore_cli.config import load as configuration
from makemore_cli.config.load import Settings
from makemore_cli.config.schema import CONFIG, Config
from makemore_cli.distributed.place import Place, place
from makemore_cli.errors import MakemoreError, ParameterError, StoppedError, whole
from makemore_cli.runs.file_names import NAMES
from makemore_cli.runs.run_folder import holds_run
from makemore_cli.system.environment import compiles
from makemore_cli.system.progress import shown_by
from makemore_cli.system.signals import Held, Watch

if TYPE_CHECKING:
    from makemore_cli.api.trained_run import Run
    from makemore_cli.training.leader import Leader
    from makemore_cli.training.observer import Observer


def train(
    config: str | Path | None = None,
    *,
    data: str | Path | Iterable[str] | None = None,
    steps: int | None = None,
    seed: int | None = None,
    settings: Settings = (),
    out: str | Path | None = None,
    resume: bool | str | Path = False,
    overwrite: bool = False,
    device: str | None = None,
    engine: str | None = None,
    crosscheck: int = 0,
    tensorboard: bool = False,
    quiet: bool = False,
    observer: Observer | None = None,
) -> Run:
    """Train a model, and save everything in a run folder. An existing run is never lost by accident.

    `config` is a YAML file or the name of a bundled configuration; the default is quickstart. `data` is a file of
    names, `"bundled"`, `"lecture"`, or the names themselves, which are then kept in the run folder. `steps`, `seed`,
    `device` and `engine` override the configuration, and so do `settings`, such as `{"optim.lr": 0.05}`. The run folder
    `out` is runs/NAME by default, where NAME is the configuration's.

    `resume` is a run folder to resume. If it is true, the run in `out` is resumed, or started if there is none.
    `overwrite` replaces a run that is there. Every `crosscheck` steps, the gradients are compared with those of an
    independent source. `tensorboard` also writes event files. `quiet` shows no progress. An `observer` is told of it in
    any case.

    Interrupting it (Ctrl-C, or a notebook's stop button) saves the run and raises KeyboardInterrupt; `resume` then
    continues. If the observer stops it, it is saved too, and raises StoppedError. Raises MakemoreError for invalid
    parameters or data, an existing run, or a diverged one, and CheckFailedError if gradients disagree.

    Under `torchrun`, all processes call this, and share each batch. Rank 0 shows and saves the run. On the other ranks
    it returns a run whose folder may be on another machine, and whose summary is None.

    >>> import makemore_cli as mm
    >>> run = mm.train("tiny", steps=300, settings={"optim.lr": 0.1}, quiet=True)
    >>> run.step
    300
    """
    given = dict(locals())  # all parameters, as they are
    here, leader = place(), None
    with ExitStack() as stack:
        if quiet or (here is not None and not here.is_leader):
            stack.enter_context(shown_by(None))
        if here is not None and here.is_leader:
            from makemore_cli.training.leader import Leader

            leader = stack.enter_context(Leader(here))  # first of all, so that the other ranks learn of any mistake
        return _train(here, leader, **given)


def _train(
    here: Place | None,
    leader: Leader | None,
    *,
    config: str | Path | None,
    data: str | Path | Iterable[str] | None,
    steps: int | None,
    seed: int | None,
    settings: Settings,
    out: str | Path | None,
    resume: bool | str | Path,
    overwrite: bool,
    device: str | None,
    engine: str | None,
    crosscheck: int,
    tensorboard: bool,
    quiet: bool,
    observer: Observer | None,
) -> Run:
    folder, content = None if out is None else Path(out), None
    follows = here is not None and not here.is_leader
    resumed = Path(resume) if isinstance(resume, (str, Path)) else None
    if resumed is not None:
        if config is not None:
            raise ParameterError("config", "must not be given to resume a run, which keeps its own")
        if folder is not None:
            raise ParameterError("out", "must not be given to resume a run, which stays in its own folder")
        if not follows and not holds_run(resumed):
            raise MakemoreError(f"{resumed}: there is no run to resume here; give a run folder")
    if resume and overwrite:
        raise ParameterError("overwrite", "replaces a run, but resume continues it; give only one of them")
    crosscheck = whole("crosscheck", crosscheck, 0)
    if here is not None and engine not in (None, "auto", "tensor"):
        raise ParameterError("engine", f"must be tensor when several processes share each batch, got {engine}")
    if here is not None and follows and resume:
        return _follow(here, None, resumed or folder or Path("runs"), data)
    file = configuration.find(None if config is None else str(config)) if resumed is None else resumed / CONFIG
    folder = resumed or folder or Path("runs") / configuration.name(file)
    continues = resumed is not None or (bool(resume) and holds_run(folder))
    if data is not None and not isinstance(data, (str, Path)):
        content, data = as_file(data), (folder / NAMES).absolute()
    settings = configuration.as_texts(settings)
    resolved = configuration.load(
        file,
        settings,
        data__path=None if data is None else str(data),
        train__device=device,
        train__engine=engine,
        train__seed=seed,
        train__steps=steps,
    )
    if here is None:
        _begin_to_compile(resolved)
    else:
        if resolved.train.engine not in ("auto", "tensor") and not continues:
            raise ParameterError(
                "train.engine", f"must be tensor when several processes share each batch, got {resolved.train.engine}"
            )
        resolved = configuration.override(resolved, train__engine="tensor")
        if follows:
            return _follow(here, resolved, folder, content)
    from makemore_cli.api.trained_run import Run
    from makemore_cli.training import trainer
    from makemore_cli.training.leader import StopsForOthers
    from makemore_cli.training.observer import Observers
    from makemore_cli.training.progress_display import suitable_display
    from makemore_cli.training.resume import keep_steps

    if continues and steps is None and "train.steps" not in {text.partition("=")[0].strip() for text in settings}:
        resolved = keep_steps(resolved, folder)
    observers = [suitable_display(quiet=quiet), *([] if observer is None else [observer])]
    if tensorboard:
        from makemore_cli.training.tensorboard_events import TensorBoardObserver

        observers.append(TensorBoardObserver(observers[0].message))
    if leader is not None and here is not None:
        observers.append(StopsForOthers(leader))
        many = f"{here.ranks} processes share" if here.ranks > 1 else "1 process has"
        observers[0].message(f"{many} each batch, with the engine tensor")
    try:
        summary = trainer.train(
            resolved,
            folder,
            Observers(*observers),
            crosscheck_every=crosscheck,
            overwrite=overwrite,
            resume=continues,
            names=content,
            leader=leader,
        )
    except StoppedError as stopped:
        if stopped.signal is not None and not Watch.exits:
            observers[0].message(str(stopped))
            _deliver(stopped)
        raise
    run = Run(folder, summary)
    run.checkpoint  # noqa: B018 (read now, before another run may take the folder)
    return run


def _follow(here: Place, config: Config | None, folder: Path, data: str | Path | Iterable[str] | bytes | None) -> Run:
    """Train as another rank than 0, which has its own resolved configuration unless a run is resumed."""
    from makemore_cli.api.trained_run import Run
    from makemore_cli.training.follower import follow

    with Held(Watch("", tell=lambda _: None)) as signals:  # rank 0 says when to stop
        path = names = None
        if isinstance(data, bytes):
            names = data
        elif isinstance(data, (str, Path)):
            path = str(data)
        elif data is not None:
            names = as_file(data)
        follow(here, config, path, names, lambda: signals.caught is not None)
    run = Run(folder)
    run.summary = None
    return run


def _deliver(stopped: StoppedError) -> None:
    """Handle the signal that stopped a run as the program would have without us: Ctrl-C raises KeyboardInterrupt."""
    assert stopped.signal is not None
    if signal.getsignal(stopped.signal) is signal.default_int_handler:
        raise KeyboardInterrupt(str(stopped)) from None
    signal.raise_signal(stopped.signal)


def _begin_to_compile(config: Config) -> None:
    """Start compiling the kernel, if it may be needed, while PyTorch is imported and the data is loaded.

    Compilation continues if training fails early or finds a GPU, so the next run finds the kernel compiled.
    """
    train = config.train
    if train.engine in ("auto", "kernel") and train.device in ("auto", "cpu") and config.optim.in_kernel and compiles():
        from makemore_cli.backprop.kernel.kernel import begin_to_compile

        begin_to_compile(train.dtype)
