"""Training by several processes: rank 0 leads, and the others follow.

Rank 0 runs the training loop. It alone evaluates, logs and saves; its engine tells the other ranks which steps to
train. They draw the same batches, and each trains its own examples of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from makemore_cli import __version__
from makemore_cli.backprop.fused import Pass, training_pass
from makemore_cli.checks.network import NetworkProblem
from makemore_cli.checks.sources import Gradients, Source
from makemore_cli.config.load import flatten, override
from makemore_cli.config.schema import Config
from makemore_cli.distributed.exchange import Exchange
from makemore_cli.distributed.meeting import LostRankError, Meeting
from makemore_cli.distributed.place import Place
from makemore_cli.distributed.shared_batch import SharedBatch
from makemore_cli.errors import MakemoreError, ParameterError, StoppedError, ToldElsewhereError
from makemore_cli.network.parameters import Parameters
from makemore_cli.network.threads import threads
from makemore_cli.training.engines import TensorEngine, running_statistics
from makemore_cli.training.observer import Observer
from makemore_cli.training.optimisers import Optimiser
from makemore_cli.training.schedules import learning_rates
from makemore_cli.training.setup import TrainingSetup, resolve, set_up

BYE, STOP = "bye", "stop"
DISMISSAL_SECONDS = 60.0  # for the other ranks to end; meanwhile they may need the store, which rank 0 may keep
UNSET = "unset"
VERSIONS = {"makemore": __version__, "torch": torch.__version__.partition("+")[0], "numpy": np.__version__}
KEPT_PIECES = 4  # batches of the last calls, of which some may be trained again to find a failure
MAY_DIFFER = {"data.path"}  # keys of the configuration; the data itself is compared


class SharedEngine(TensorEngine):
    """The tensor engine for one rank's examples of each batch."""

    def join(self, exchange: Exchange, batch_size: int) -> None:
        """Train together with the other ranks from now on."""
        self.exchange, self.batch = exchange, SharedBatch(exchange, batch_size)
        self.rows = self.batch.rows

    def pass_over(self, p: Parameters, X: Tensor, Y: Tensor) -> Pass:
        """The pass of the whole batch X, Y, which all ranks have, at any parameters."""
        batch = SharedBatch(self.exchange, len(X))
        return training_pass(p, X[batch.rows], Y[batch.rows], self.eps, self.smoothing, batch=batch)


class LeadingEngine(SharedEngine):
    """Rank 0's engine: it has the others train each chunk too."""

    leader: Leader

    def run(self, X: Tensor, Y: Tensor, learning_rates: Sequence[float], start: int = 0) -> Tensor:
        self.leader.order("train", start=start, steps=len(X))
        return super().run(X[:, self.rows], Y[:, self.rows], learning_rates, start)

    def restore(self, state: Sequence[Tensor]) -> None:
        super().restore(state)
        self.leader.order("restore")
        self.exchange.broadcast(self._changing())

    @property
    def training_source(self) -> Source:
        about = f"the hand-written training pass, shared by {self.exchange.ranks} processes"
        return Source("distributed", about, self._gradients, losses=lambda one: {about: float(self._pass(one).loss)})

    def _gradients(self, problem: NetworkProblem) -> Gradients:
        return self._pass(problem).gradients.views

    def _pass(self, problem: NetworkProblem) -> Pass:
        flat, X, Y = problem.p.flat.contiguous(), problem.X.contiguous(), problem.Y.contiguous()
        self.leader.order("pass", examples=len(X), dtype=str(flat.dtype).removeprefix("torch."))
        self.exchange.broadcast([flat, X, Y])
        return self.pass_over(problem.p, X, Y)


class StopsForOthers(Observer):
    """Stops the run if another rank asks for it, since its machine is told to stop."""

    def __init__(self, leader: Leader) -> None:
        self._leader = leader

    def should_stop(self) -> bool:
        return self._leader.exchange is not None and self._leader.meeting.has(STOP)


class Leader:
    """Rank 0's side of training together, as a context manager, which at its end dismisses the other ranks."""

    def __init__(self, place: Place) -> None:
        """Raises LostRankError if the ranks can't meet."""
        self.meeting = Meeting(place)
        self.others = range(1, place.ranks)
        self.exchange: Exchange | None = None
        self._orders = 0

    def __enter__(self) -> Self:
        return self

    def agree(self, config: Config) -> None:
        """Tell the other ranks the configuration. Raises MakemoreError if one has another, or another version."""
        use_own_gpu(self.meeting.place, config.train.device)
        ours = {key: _plain(value) for key, value in flatten(config.model_dump()).items()}
        for rank in self.others:
            told = self.meeting.hear(f"hello/{rank}", rank)
            name = self.meeting.name(rank)
            for package, version in VERSIONS.items():
                if told["versions"][package] != version:
                    raise MakemoreError(
                        f"{name}: has {package} {told['versions'][package]}, but rank 0 has {version}; install the "
                        f"same version"
                    )
            theirs = ours if told["config"] is None else told["config"]
            keys = [key for key in dict.fromkeys([*ours, *theirs]) if key not in MAY_DIFFER]
            if wrong := [key for key in keys if ours.get(key, UNSET) != theirs.get(key, UNSET)]:
                raise MakemoreError(
                    f"{name}: {wrong[0]} is {theirs.get(wrong[0], UNSET)}, but {ours.get(wrong[0], UNSET)} on rank 0; "
                    f"start all ranks with the same command and configuration"
                )
        self.meeting.tell("config", config.model_dump(mode="json"))

    def start(self, setup: TrainingSetup, engine: LeadingEngine, step: int) -> None:
        """Have all ranks begin after `step` steps, from rank 0's state. Raises MakemoreError if one has other data."""
        for rank in self.others:
            told = self.meeting.hear(f"ready/{rank}", rank)
            if told != _data(setup):
                raise MakemoreError(
                    f"{self.meeting.name(rank)}: its data differs from rank 0's; give all ranks the same file of names",
                    parameters=("data.path",),
                )
        random = {name: state.tobytes().hex() for name, state in setup.random_state().items()}
        self.meeting.tell("start", {"step": step, "random": random, "began": engine.optimiser.began})
        self.exchange = Exchange(self.meeting, setup.parameters.flat.device.type)
        engine.leader = self
        engine.join(self.exchange, setup.config.train.batch_size)
        self.exchange.broadcast(engine._changing())

    def order(self, what: str, **about: Any) -> None:
        """Tell the other ranks what to do next."""
        self._orders += 1
        self.meeting.tell(f"order/{self._orders}", {"what": what, **about})
        # All ranks have read the last but one: since then, one exchange at least has needed all of them.
        self.meeting.forget(f"order/{self._orders - 2}")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if error is not None and (self.exchange is None or not isinstance(error, StoppedError)):
                self.meeting.fail(str(error) or type(error).__name__)
            elif self.exchange is None:
                self.meeting.tell("start", None)  # there is nothing to train
            else:
                self.order("end", stopped=error is not None)
            if not isinstance(error, LostRankError):
                self.meeting.await_from(BYE, self.others, DISMISSAL_SECONDS)
        except MakemoreError:  # the meeting point is gone
            pass
        finally:
            if self.exchange is not None:
                self.exchange.close()
            self.meeting.close()


def use_own_gpu(place: Place, device: str) -> None:
    """Let the device cuda be the GPU of this process. Raises ParameterError for a device that ranks can't share."""
    if device == "cpu":
        return
    if device != "cuda":
        raise ParameterError("train.device", f"must be cpu or cuda when processes share each batch, got {device}")
    gpus = torch.cuda.device_count()
    gpu = place.local_rank or 0
    if gpu >= gpus:
        raise ParameterError(
            "train.device",
            f"needs a GPU for each rank, but this machine has {gpus}; start fewer ranks, or use cpu",
        )
    torch.cuda.set_device(gpu)


def follow(
    place: Place,
    config: Config | None,
    data_path: str | None,
    names: bytes | None,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Train as another rank than 0, until rank 0 has no more orders.

    `config` is what this rank was started with; None if a run is resumed, whose configuration rank 0 has. `data_path`
    is this machine's file of names, if it is not rank 0's. If `should_stop`, rank 0 saves and stops the run. Raises
    ToldElsewhereError if training fails or stops, and another rank says why, or LostRankError if rank 0 can't.
    """
    meeting = Meeting(place)
    try:
        _follow(meeting, config, data_path, names, should_stop)
    except ToldElsewhereError:
        raise
    except LostRankError as error:
        if 0 in error.lost and _speaks(meeting):
            raise
        raise ToldElsewhereError(str(error)) from None
    except MakemoreError as error:
        meeting.fail(str(error))
        raise ToldElsewhereError(str(error)) from None
    except BaseException as error:
        meeting.fail(f"{type(error).__name__}: {error}")
        raise
    finally:
        meeting.leave(f"{BYE}/{place.rank}")


def _speaks(meeting: Meeting) -> bool:
    """Whether this rank says that rank 0 is lost: the first of those that live, as far as they can know."""
    try:
        lost = meeting.lost().lost
    except LostRankError:  # the store is gone too, and with it all contact
        return meeting.place.rank == 1 or meeting.place.local_rank == 0
    return meeting.place.rank == min(rank for rank in range(meeting.place.ranks) if rank not in {0, *lost})


def _follow(
    meeting: Meeting,
    config: Config | None,
    data_path: str | None,
    names: bytes | None,
    should_stop: Callable[[], bool],
) -> None:
    rank = meeting.place.rank
    config = None if config is None else resolve(config)
    own = None if config is None else {key: _plain(value) for key, value in flatten(config.model_dump()).items()}
    meeting.tell(f"hello/{rank}", {"versions": VERSIONS, "config": own})
    agreed = Config.model_validate(meeting.hear("config", 0))
    use_own_gpu(meeting.place, agreed.train.device)
    if config is not None or data_path is not None:
        agreed = override(agreed, data__path=data_path if config is None else config.data.path)
    setup = set_up(agreed, names=names)
    meeting.tell(f"ready/{rank}", _data(setup))
    start = meeting.hear("start", 0)
    if start is None:
        return
    random = {name: np.frombuffer(bytes.fromhex(state), np.uint8).copy() for name, state in start["random"].items()}
    setup.set_random_state(random)
    exchange = Exchange(meeting, setup.parameters.flat.device.type)
    try:
        engine = _engine(setup)
        engine.optimiser.began = start["began"]
        engine.join(exchange, agreed.train.batch_size)
        exchange.broadcast(engine._changing())
        count = None if agreed.train.threads == "auto" else agreed.train.threads
        with threads(setup.parameters, agreed.train.batch_size, count):
            _obey(meeting, setup, engine, start["step"], should_stop)
    finally:
        exchange.close()


def _engine(setup: TrainingSetup) -> SharedEngine:
    config, parameters = setup.config, setup.parameters
    optimiser = Optimiser(config.optim, config.train.steps, parameters.flat)
    running = running_statistics(config, parameters.flat)
    return SharedEngine(parameters, running, config.model.batchnorm.epsilon, optimiser, config.train.label_smoothing)


def _obey(
    meeting: Meeting, setup: TrainingSetup, engine: SharedEngine, step: int, should_stop: Callable[[], bool]
) -> None:
    """Do what rank 0 orders. Raises ToldElsewhereError if the run is stopped."""
    config, orders, asked = setup.config, 0, False
    pieces: list[tuple[int, Tensor, Tensor]] = []
    while True:
        orders += 1
        order = meeting.hear(f"order/{orders}", 0)
        match order["what"]:
            case "train":
                start, steps = order["start"], order["steps"]
                if start == step:
                    pieces = [*pieces[1 - KEPT_PIECES :], (start, *setup.batches(steps, engine.rows))]
                    step += steps
                first, X, Y = next(piece for piece in pieces if piece[0] <= start < piece[0] + len(piece[1]))
                here = slice(start - first, start - first + steps)
                rates = learning_rates(config.optim, start, steps, config.train.steps)
                TensorEngine.run(engine, X[here], Y[here], rates, start)
            case "restore":
                engine.exchange.broadcast(engine._changing())
            case "pass":
                p = engine.parameters
                flat = torch.empty_like(p.flat, dtype=getattr(torch, order["dtype"]))
                X = torch.empty((order["examples"], p.sizes.context), dtype=torch.int64, device=flat.device)
                Y = torch.empty(order["examples"], dtype=torch.int64, device=flat.device)
                engine.exchange.broadcast([flat, X, Y])
                engine.pass_over(Parameters(p.sizes, flat), X, Y)
            case "end":
                if order["stopped"]:
                    raise ToldElsewhereError("the run is stopped, and saved")
                return
        if should_stop() and not asked:
            meeting.tell(STOP, meeting.place.rank)
            asked = True


def _data(setup: TrainingSetup) -> dict[str, str]:
    dataset = setup.dataset
    return {"sha256": dataset.sha256, "vocabulary": dataset.vocabulary.letters}


def _plain(value: Any) -> Any:
    """As it comes out of JSON."""
    return list(value) if isinstance(value, tuple) else value
