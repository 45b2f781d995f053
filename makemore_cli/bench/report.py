"""All measurements of one run, and their table."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from makemore_cli.backprop.kernel.layout import dimensions
from makemore_cli.bench import contenders, other_figures
from makemore_cli.bench.contenders import C_BATCH, C_FLAGS, C_SIZES, Case
from makemore_cli.bench.timing import ROUNDS, Run, in_turns, matrix_rate, torch_threads
from makemore_cli.network.threads import threads
from makemore_cli.system.console import plain_table
from makemore_cli.system.environment import processor

# The lecture's network at several sizes, and one with a longer context and larger embeddings.
CASES = (*(Case(n, H) for n, H in product((32, 256), (64, 200, 1024))), Case(256, 768, context=6, embedding=48))


@dataclass(frozen=True)
class Timing:
    """The time that one contender takes for a training step."""

    contender: str
    batch_size: int
    hidden_size: int
    context_length: int
    threads: int | None  # None if it chooses itself
    microseconds: float  # per step, in its fastest round
    median: float  # microseconds per step, over its rounds
    speedup: float  # over the lecture's loop
    gigaflops: float  # billions of operations per second, counting the plain network's matrix products
    share: float  # gigaflops as a fraction of PyTorch's rate for large matrices, with as many threads


@dataclass
class Bench:
    """All measurements."""

    machine: dict[str, Any] = field(default_factory=dict)
    steps: list[Timing] = field(default_factory=list)
    others: dict[str, float] = field(default_factory=dict)  # by description

    def to_json(self) -> dict[str, Any]:
        return {"machine": self.machine, "steps": [asdict(timing) for timing in self.steps], "others": self.others}


def bench(
    cases: Iterable[Case] = CASES,
    rounds: int = ROUNDS,
    c_source: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Bench:
    """Time the training steps of all contenders that can run here, then the other figures.

    `c_source` is a C file to time as well. Raises MakemoreError if it can't be compiled.
    """
    if c_source is not None:
        contenders.hand_written_c(c_source)  # fail at once if it can't be compiled
    result = Bench(machine=_machine(c_source))
    cores = torch.get_num_threads()
    rate = {count: matrix_rate(count) for count in sorted({1, min(2, cores), cores})}
    result.machine["gigaflops"] = {str(count): round(measured, 1) for count, measured in rate.items()}
    for case in cases:
        say(f"training steps, batch size {case.batch_size}, {case.hidden} hidden units …")
        result.steps += _steps(case, rounds, rate, c_source, say)
    say("exercises 1 to 3 …")
    result.others = other_figures.exercises(rounds)
    say("sampling and evaluation …")
    result.others |= other_figures.sampling_and_evaluation(rounds)
    say("gradients on scalars …")
    result.others |= other_figures.scalars(rounds)
    return result


def _machine(c_source: Path | None) -> dict[str, Any]:
    packages = ["torch", "numpy", "numba", *(["jax"] if contenders.has_jax() else [])]
    return {
        "processor": f"{processor()}, {torch.backends.cpu.get_cpu_capability()}",
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        **({} if c_source is None else {"c": f"{c_source}, {' '.join(C_FLAGS)}"}),
    }


def _steps(
    case: Case, rounds: int, rate: dict[int, float], c_source: Path | None, say: Callable[[str], None]
) -> list[Timing]:
    cores = torch.get_num_threads()
    with threads(case.problem[0], case.batch_size):
        used = torch.get_num_threads()
    running: dict[str, tuple[int | None, Run]] = {}
    most = dimensions(case.sizes, case.batch_size).groups
    for count in sorted({min(count, most) for count in (1, min(2, cores), cores)}):
        running[f"kernel, {count}"] = count, contenders.kernel(case, count, say)
    running["tensor"] = used, contenders.tensor(case)
    running["lecture"] = used, contenders.lecture(case)
    if contenders.compiles_graphs():
        running["torch.compile"] = used, contenders.torch_compile(case)
    if contenders.has_jax():
        running["jax"] = None, contenders.jax(case)
    if c_source is not None and (case.batch_size, case.sizes) == (C_BATCH, C_SIZES):
        running["c"] = 1, contenders.hand_written_c(c_source)
    with torch_threads(used):
        times = in_turns({name: run for name, (_, run) in running.items()}, rounds, case.most_steps)
    timings = []
    for name, (used_threads, _) in running.items():
        gigaflops = case.operations / times[name].fastest / 1e9
        timings.append(
            Timing(
                name.partition(",")[0],
                case.batch_size,
                case.hidden,
                case.context,
                used_threads,
                microseconds=round(times[name].fastest * 1e6, 2),
                median=round(times[name].median * 1e6, 2),
                speedup=round(times["lecture"].fastest / times[name].fastest, 2),
                gigaflops=round(gigaflops, 1),
                share=round(gigaflops / rate.get(used_threads or 0, max(rate.values())), 3),
            )
        )
    return timings


def show(result: Bench, console: Console) -> None:
    for key, value in result.machine.items():
        if key == "gigaflops":
            value = ", ".join(f"{rate:,.0f} with {count} threads" for count, rate in value.items())
            key = "matrix products, billions of operations per second"
        console.print(f"{key}: {value}", soft_wrap=True, highlight=False)
    table = plain_table()
    table.add_column("batch", justify="right")
    table.add_column("hidden", justify="right")
    table.add_column("engine", no_wrap=True)
    for heading in ("threads", "µs/step", "median", "× lecture", "Gflop/s", "of matmul"):
        table.add_column(heading, justify="right")
    problem = None
    for timing in result.steps:
        if problem not in (None, (timing.batch_size, timing.hidden_size)):
            table.add_section()
        problem = (timing.batch_size, timing.hidden_size)
        table.add_row(
            str(timing.batch_size),
            str(timing.hidden_size),
            timing.contender,
            str(timing.threads or ""),
            f"{timing.microseconds:,.1f}",
            f"{timing.median:,.1f}",
            f"{timing.speedup:.1f}",
            f"{timing.gigaflops:.1f}",
            f"{timing.share:.0%}",
        )
    console.print(table)
    for what, value in result.others.items():
        console.print(f"{value:12,.10g} {what}", soft_wrap=True, highlight=False)
