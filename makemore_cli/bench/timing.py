"""Timing: contenders take turns in several rounds, so that a busy machine slows all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

ROUNDS = 7
ROUND_SECONDS = 0.1  # target length of one contender's round
MATRIX_SIDE = 1536  # of the matrices in `matrix_rate`

Run = Callable[[int], Any]  # runs this many steps


@dataclass(frozen=True)
class Seconds:
    """The time per step: in the fastest round, which speed-ups are computed from, and the median of the rounds."""

    fastest: float
    median: float


def timed(action: Callable[[], Any]) -> float:
    """The seconds that a call takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def in_turns(contenders: Mapping[str, Run], rounds: int, most: int) -> dict[str, Seconds]:
    """The time per step of each contender. A round has as many steps as fit into its time, at most `most`.

    Before a round, each contender runs a part of it untimed, to wake the processor's cores and fill their caches.
    """
    counts = {}
    for name, run in contenders.items():
        run(4)
        fitting = ROUND_SECONDS / (timed(partial(run, 4)) / 4)
        counts[name] = int(min(most, max(4, fitting)))
        run(counts[name] // 4)  # JAX compiles for each length
        run(counts[name])
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            run(counts[name] // 4)
            times[name].append(timed(partial(run, counts[name])) / counts[name])
    return {name: Seconds(min(taken), statistics.median(taken)) for name, taken in times.items()}


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let PyTorch use `count` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def matrix_rate(count: int) -> float:
    """Billions of operations per second in PyTorch's product of large matrices, with `count` threads."""
    with torch_threads(count):
        a, b = torch.ones(2, MATRIX_SIDE, MATRIX_SIDE)
        out = torch.empty_like(a)
        fastest = min(timed(lambda: torch.mm(a, b, out=out)) for _ in range(8))
    return 2 * MATRIX_SIDE**3 / fastest / 1e9
