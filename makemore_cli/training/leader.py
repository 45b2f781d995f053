"""Rank 0 of a shared training run.

It runs the training loop, and alone evaluates, logs and saves; its engine tells the other ranks which steps to train.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from torch import Tensor

from makemore_cli.backprop.fused import Pass
from makemore_cli.checks.network import NetworkProblem
from makemore_cli.checks.sources import Gradients, Source
from makemore_cli.config.load import flatten
from makemore_cli.config.schema import Config
from makemore_cli.distributed.exchange import Exchange
from makemore_cli.distributed.meeting import LostRankError, Meeting
from makemore_cli.distributed.place import Place
from makemore_cli.errors import MakemoreError, StoppedError
from makemore_cli.training.observer import Observer
from makemore_cli.training.ranks import BYE, STOP, VERSIONS, SharedEngine, as_json, data_facts, use_own_gpu
from makemore_cli.training.setup import TrainingSetup

DISMISSAL_SECONDS = 60.0  # for the other ranks to end; meanwhile they may need the store, which rank 0 may keep
UNSET = "unset"
MAY_DIFFER = {"data.path"}  # keys of the configuration; the data itself is compared


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
        ours = {key: as_json(value) for key, value in flatten(config.model_dump()).items()}
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
            if told != data_facts(setup):
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
