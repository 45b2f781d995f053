"""The time of a training step that several processes on this machine share, and what of it the exchanges take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from rich.console import Console

from makemore_cli.backprop.fused import training_pass
from makemore_cli.bench.contenders import Case
from makemore_cli.distributed.exchange import GATHERED_RANKS, Exchange
from makemore_cli.distributed.loopback import Loopback
from makemore_cli.distributed.shared_batch import SharedBatch
from makemore_cli.network.model import BATCHNORM_EPSILON, Sizes
from makemore_cli.network.parameters import Parameters, initialise
from makemore_cli.system.console import plain_table

VOCABULARY = 27
ROUND_SECONDS = 1.0  # of steps in a round
LONGEST_SECONDS = 1800.0
LEARNING_RATE = 0.1


@dataclass(frozen=True)
class SharedTiming:
    """The time of a step shared by some ranks."""

    ranks: int
    batch_size: int
    hidden_size: int
    milliseconds: float  # per step, in the fastest round
    exchange: float  # milliseconds of it, for the same three exchanges without the computation between them
    kilobytes: float  # that each rank receives per step
    speedup: float  # over one rank


@dataclass
class SharedBench:
    """All measurements."""

    steps: list[SharedTiming] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {"steps": [asdict(timing) for timing in self.steps]}


def bench_ranks(
    ranks: Iterable[int], cases: Iterable[Case], rounds: int, say: Callable[[str], None] = lambda _: None
) -> SharedBench:
    """Time the tensor engine's step with each number of ranks on this machine, each with one thread.

    The ranks take turns with each case, so that a busy machine slows all alike. Raises MakemoreError if a process ends.
    """
    result, groups = SharedBench(), dict[int, Loopback]()
    try:
        for count in sorted({1, *ranks}):
            groups[count] = Loopback(count)
        for case in cases:
            say(f"batch size {case.batch_size}, {case.hidden} hidden units …")
            sizes = Sizes(VOCABULARY, case.context, case.embedding, case.hidden)
            best: dict[int, tuple[float, float]] = {}
            for _ in range(rounds):
                for count, group in groups.items():
                    (step, alone), *_ = group.run(_timed, sizes, case.batch_size, seconds=LONGEST_SECONDS)
                    before = best.get(count, (step, alone))
                    best[count] = min(step, before[0]), min(alone, before[1])
            for count, (step, alone) in best.items():
                kilobytes = received_bytes(sizes, count) / 1e3
                timing = (1e3 * step, 1e3 * alone, kilobytes, best[1][0] / step)
                result.steps.append(SharedTiming(count, case.batch_size, case.hidden, *timing))
    finally:
        for group in groups.values():
            group.close()
    return result


def received_bytes(sizes: Sizes, ranks: int, itemsize: int = 4) -> int:
    """What each rank receives in a step: two pairs of rows for batchnorm, and gradients."""
    numbers, others = sizes.parameters + 1, ranks - 1
    gradients = others * numbers if ranks <= GATHERED_RANKS else 2 * others * -(-numbers // ranks)
    return itemsize * (2 * others * 2 * sizes.hidden + gradients)


def _timed(group: Exchange, sizes: Sizes, batch_size: int) -> tuple[float, float]:
    """Seconds per step, and seconds for its exchanges alone."""
    p, generator = initialise(sizes, 0)
    batch = SharedBatch(group, batch_size)
    X = torch.randint(0, sizes.vocabulary, (batch_size, sizes.context), generator=generator)[batch.rows]
    Y = torch.randint(0, sizes.vocabulary, (batch_size,), generator=generator)[batch.rows]
    gradients = Parameters(sizes, torch.empty_like(p.flat))
    row = torch.zeros((1, sizes.hidden))
    loss = torch.zeros(())

    def step() -> None:
        training_pass(p, X, Y, BATCHNORM_EPSILON, 0.0, gradients, batch)
        p.flat.sub_(gradients.flat, alpha=LEARNING_RATE)

    def exchanges() -> None:
        group.gather(torch.cat((row, row)))
        batch.summed(row, row)
        batch.exchange(loss, gradients.flat)

    with torch.inference_mode():
        return _seconds(group, step), _seconds(group, exchanges)


def _seconds(group: Exchange, action: Callable[[], None]) -> float:
    """Seconds for one call. All ranks make as many calls."""
    action()
    began = time.perf_counter()
    action()
    calls = max(1, int(ROUND_SECONDS / (time.perf_counter() - began)))
    calls = int(group.gather(torch.tensor([calls])).min())
    began = time.perf_counter()
    for _ in range(calls):
        action()
    return (time.perf_counter() - began) / calls


def show(result: SharedBench, console: Console) -> None:
    """Print the measurements as a table."""
    table = plain_table()
    table.title = "training steps of the tensor engine, shared by processes with one thread each"
    for column in ("batch", "hidden", "ranks", "ms", "exchange ms", "kB received", "speed-up"):
        table.add_column(column, justify="right")
    for one in result.steps:
        table.add_row(
            f"{one.batch_size:,}",
            f"{one.hidden_size:,}",
            str(one.ranks),
            f"{one.milliseconds:,.2f}",
            f"{one.exchange:,.2f}",
            f"{one.kilobytes:,.0f}",
            f"{one.speedup:.2f}",
        )
    console.print(table)
