"""Ranks that are threads of this process, for tests of what they compute: they start at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from makemore_cli.backprop.fused import Pass, training_pass
from makemore_cli.checks.network import NetworkProblem
from makemore_cli.distributed.exchange import Exchange
from makemore_cli.distributed.shared_batch import SharedBatch

PATIENCE_SECONDS = 60.0


class ThreadExchange(Exchange):
    """Exchanges between threads, by the same functions on top of `gather`."""

    def __init__(self, rank: int, ranks: int, barrier: threading.Barrier, table: list[Any]) -> None:
        self.rank, self.ranks, self._barrier, self._table = rank, ranks, barrier, table

    def gather(self, own: Tensor) -> Tensor:
        self._table[self.rank] = own
        self._barrier.wait(PATIENCE_SECONDS)
        every = torch.stack(self._table)
        self._barrier.wait(PATIENCE_SECONDS)
        return every

    def spread(self, own: Tensor) -> Tensor:
        return self.gather(own)[:, self.rank]


def passes(one: NetworkProblem, ranks: int, batch: Callable[..., SharedBatch] = SharedBatch) -> list[Pass]:
    """The pass over a problem's batch, as each rank has it."""
    barrier, table = threading.Barrier(ranks), [None] * ranks

    def of(rank: int) -> Pass:
        torch.set_num_threads(1)
        shared = batch(ThreadExchange(rank, ranks, barrier, table), len(one.X))
        X, Y = one.X[shared.rows], one.Y[shared.rows]
        try:
            return training_pass(one.p, X, Y, one.eps, one.smoothing, batch=shared)
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(ranks) as pool:
        return list(pool.map(of, range(ranks)))
