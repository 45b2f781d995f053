"""Training by several processes: rank 0 leads, and the others follow.

Rank 0 runs the training loop. It alone evaluates, logs and saves; its engine tells the other ranks which steps to
train. They draw the same batches, and each trains its own examples of them.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from makemore_cli.errors import MakemoreError, StoppedError, ToldElsewhereError
from makemore_cli.network.parameters import Parameters
from makemore_cli.network.threads import threads
from makemore_cli.training.engines import TensorEngine, running_statistics
from makemore_cli.training.optimisers import Optimiser
from makemore_cli.training.schedules import learning_rates
from makemore_cli.training.setup import TrainingSetup, resolve, set_up

BYE = "bye"
DISMISSAL_SECONDS = 5.0  # for the other ranks to end; meanwhile they may need the meeting point, which rank 0 may keep
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


class Leader:
    """Rank 0's side of training together, as a context manager, which at its end dismisses the other ranks."""

    def __init__(self, place: Place) -> None:
        """Raises LostRankError if the ranks can't meet."""
        use_own_gpu(place)
        self.meeting = Meeting(place)
        self.others = range(1, place.ranks)
        self.exchange: Exchange | None = None
        self._orders = 0

    def __enter__(self) -> Self:
        return self

    def agree(self, config: Config) -> None:
        """Tell the other ranks the configuration. Raises MakemoreError if one has another, or another version."""
        ours = flatten(config.model_dump())
        for rank in self.others:
            told = self.meeting.hear(f"hello/{rank}", rank)
            name = self.meeting.name(rank)
            if told["version"] != __version__:
                raise MakemoreError(
                    f"{name}: has makemore {told['version']}, but rank 0 has {__version__}; install the same version"
                )
            theirs = told["config"]
            different = [key for key in ours if theirs is not None and theirs.get(key) != _plain(ours[key])]
            if wrong := [key for key in different if key not in MAY_DIFFER]:
                raise MakemoreError(
                    f"{name}: {wrong[0]} is {theirs.get(wrong[0])}, but {ours[wrong[0]]} on rank 0; start all ranks "
                    f"with the same command and configuration"
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
        self.meeting.forget(f"order/{self._orders - 1}")  # all have done that one

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if error is not None and not isinstance(error, StoppedError):
                self.meeting.fail(str(error))
            elif self.exchange is None:
                self.meeting.tell("start", None)  # there is nothing to train
            else:
                self.order("end")
            if not isinstance(error, LostRankError):
                self.meeting.await_all([f"{BYE}/{rank}" for rank in self.others], DISMISSAL_SECONDS)
        except MakemoreError:  # the meeting point is gone
            pass
        finally:
            if self.exchange is not None:
                self.exchange.close()
            self.meeting.close()


def use_own_gpu(place: Place) -> None:
    """Let the device cuda be the GPU of this process, if there are GPUs."""
    if torch.cuda.is_available():
        torch.cuda.set_device(place.local_rank % torch.cuda.device_count())


def follow(place: Place, config: Config | None, data_path: str | None, names: bytes | None) -> None:
    """Train as another rank than 0, until rank 0 has no more orders.

    `config` is what this rank was started with; None if a run is resumed, whose configuration rank 0 has. `data_path`
    is this machine's file of names, if it is not rank 0's. Raises ToldElsewhereError if training fails and another
    rank says why, or LostRankError if that is rank 0 itself.
    """
    use_own_gpu(place)
    meeting = Meeting(place)
    try:
        _follow(meeting, config, data_path, names)
    except LostRankError as error:
        survivors = [rank for rank in range(place.ranks) if rank not in error.lost]
        if 0 in error.lost and place.rank == min(survivors):
            raise
        raise ToldElsewhereError(str(error)) from None
    except MakemoreError as error:
        meeting.fail(str(error))
        raise ToldElsewhereError(str(error)) from None
    finally:
        meeting.leave(f"{BYE}/{place.rank}")


def _follow(meeting: Meeting, config: Config | None, data_path: str | None, names: bytes | None) -> None:
    rank = meeting.place.rank
    config = None if config is None else resolve(config)
    own = None if config is None else {key: _plain(value) for key, value in flatten(config.model_dump()).items()}
    meeting.tell(f"hello/{rank}", {"version": __version__, "config": own})
    agreed = Config.model_validate(meeting.hear("config", 0))
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
            _obey(meeting, setup, engine, start["step"])
    finally:
        exchange.close()


def _engine(setup: TrainingSetup) -> SharedEngine:
    config, parameters = setup.config, setup.parameters
    optimiser = Optimiser(config.optim, config.train.steps, parameters.flat)
    running = running_statistics(config, parameters.flat)
    return SharedEngine(parameters, running, config.model.batchnorm.epsilon, optimiser, config.train.label_smoothing)


def _obey(meeting: Meeting, setup: TrainingSetup, engine: SharedEngine, step: int) -> None:
    """Do what rank 0 orders."""
    config, orders = setup.config, 0
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
                return


def _data(setup: TrainingSetup) -> dict[str, str]:
    dataset = setup.dataset
    return {"sha256": dataset.sha256, "vocabulary": dataset.vocabulary.letters}


def _plain(value: Any) -> Any:
    """As it comes out of JSON."""
    return list(value) if isinstance(value, tuple) else value
