"""The other ranks of a shared training run. They draw the same batches as rank 0, and train their own examples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from makemore_cli.config.load import flatten, override
from makemore_cli.config.schema import Config
from makemore_cli.distributed.exchange import Exchange
from makemore_cli.distributed.meeting import LostRankError, Meeting
from makemore_cli.distributed.place import Place
from makemore_cli.errors import MakemoreError, ToldElsewhereError
from makemore_cli.network.parameters import Parameters
from makemore_cli.network.threads import threads
from makemore_cli.training.engines import TensorEngine, running_statistics
from makemore_cli.training.optimisers import Optimiser
from makemore_cli.training.ranks import BYE, STOP, VERSIONS, SharedEngine, as_json, data_facts, use_own_gpu
from makemore_cli.training.schedules import learning_rates
from makemore_cli.training.setup import TrainingSetup, resolve, set_up

KEPT_PIECES = 4  # batches of the last calls, of which some may be trained again to find a failure


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
    own = None if config is None else {key: as_json(value) for key, value in flatten(config.model_dump()).items()}
    meeting.tell(f"hello/{rank}", {"versions": VERSIONS, "config": own})
    agreed = Config.model_validate(meeting.hear("config", 0))
    use_own_gpu(meeting.place, agreed.train.device)
    if config is not None or data_path is not None:
        agreed = override(agreed, data__path=data_path if config is None else config.data.path)
    setup = set_up(agreed, names=names)
    meeting.tell(f"ready/{rank}", data_facts(setup))
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
