"""Processes on this machine that compute the training pass together, to check it."""

from __future__ import annotations

import atexit
import multiprocessing
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import cache
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from makemore_cli.backprop.fused import training_pass
from makemore_cli.distributed.exchange import Exchange, exchange
from makemore_cli.distributed.meeting import Meeting
from makemore_cli.distributed.place import Place, prepare
from makemore_cli.distributed.shared_batch import SharedBatch
from makemore_cli.errors import MakemoreError
from makemore_cli.network.model import Sizes
from makemore_cli.network.parameters import Parameters

ADDRESS = "127.0.0.1"
START_SECONDS, WORK_SECONDS = 120.0, 120.0


class SharedPass(NamedTuple):
    """The results of a pass on one rank."""

    loss: float
    gradient: NDArray[Any]  # flat
    bnmean: NDArray[Any]
    bnvar: NDArray[Any]


class Loopback:
    """Some processes that train together, and run functions for this one."""

    def __init__(self, ranks: int) -> None:
        """Raises MakemoreError if they do not start."""
        self.ranks = ranks
        # The store is this process's, so its port is free.
        self._store = dist.TCPStore(  # type: ignore[attr-defined]
            ADDRESS, 0, None, True, timedelta(seconds=START_SECONDS), wait_for_workers=False
        )
        context = multiprocessing.get_context("spawn")
        self._connections, self._processes = [], []
        for rank in range(ranks):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(theirs, Place(rank, ranks, rank, ADDRESS, self._store.port)), daemon=True
            )
            process.start()
            theirs.close()
            self._connections.append(ours)
            self._processes.append(process)
        self._receive(START_SECONDS)

    def run(self, work: Callable[..., Any], *arguments: Any, seconds: float = WORK_SECONDS) -> list[Any]:
        """The results of work(exchange, *arguments) on all ranks. `work` is a function of a module.

        Raises MakemoreError if it fails, or a process has ended.
        """
        for connection in self._connections:
            with suppress(OSError):  # a process that has ended is told below
                connection.send((work, arguments))
        return self._receive(seconds)

    def training_pass(
        self, p: Parameters, X: torch.Tensor, Y: torch.Tensor, eps: float, smoothing: float
    ) -> list[SharedPass]:
        """The pass over a batch, as each rank has it."""
        given = (p.sizes, p.flat.cpu().numpy(), X.cpu().numpy(), Y.cpu().numpy(), eps, smoothing)
        return [SharedPass(*result) for result in self.run(_pass, *given)]

    def _receive(self, seconds: float) -> list[Any]:
        results = []
        for rank, connection in enumerate(self._connections):
            try:
                result = connection.recv() if connection.poll(seconds) else "does not answer"
            except (EOFError, OSError):
                result = "has ended"
            if isinstance(result, str):
                self.close()
                raise MakemoreError(f"rank {rank} of {self.ranks} on this machine: {result}")
            results.append(result)
        return results

    def close(self) -> None:
        """End the processes."""
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.join(5)
            process.kill()


@cache
def on_loopback(ranks: int) -> Loopback:
    """The same processes for every check."""
    found = Loopback(ranks)
    atexit.register(found.close)
    return found


def _serve(connection: Connection, place: Place) -> None:
    torch.set_num_threads(1)
    prepare(ADDRESS)
    try:
        with exchange(Meeting(place), "cpu") as group:
            connection.send(())
            while True:
                work, arguments = connection.recv()
                connection.send(work(group, *arguments))
    except (EOFError, OSError, KeyboardInterrupt):  # there is no more work
        return
    except (MakemoreError, RuntimeError, ValueError) as error:
        connection.send(str(error))


def _pass(
    group: Exchange,
    sizes: Sizes,
    flat: NDArray[Any],
    X: NDArray[np.int64],
    Y: NDArray[np.int64],
    eps: float,
    smoothing: float,
) -> tuple[Any, ...]:
    batch = SharedBatch(group, len(X))
    p = Parameters(sizes, torch.from_numpy(flat))
    here = torch.from_numpy(X[batch.rows]), torch.from_numpy(Y[batch.rows])
    found = training_pass(p, *here, eps, smoothing, batch=batch)
    return float(found.loss), found.gradients.flat.numpy(), found.bnmean.numpy(), found.bnvar.numpy()
