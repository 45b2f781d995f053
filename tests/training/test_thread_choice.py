"""The choice of how many threads train, on machines that are made up."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from makemore_cli.training.engines import KernelEngine
from makemore_cli.training.thread_choice import ThreadChoice, counts
from tests.conftest import problem

CHUNK_SECONDS = 0.1


def test_the_numbers_that_are_tried() -> None:
    assert [counts(most) for most in (1, 2, 3, 4, 6, 16)] == [
        [1],
        [1, 2],
        [1, 2, 3],
        [1, 2, 4],
        [1, 2, 4, 6],
        [1, 2, 4, 8, 16],
    ]


def run(
    choice: ThreadChoice, seconds: float, step_time: Callable[[int, float], float], longest: int = 2000
) -> tuple[int, float]:
    """Train for some time on a machine whose time for a step depends on the threads and the clock: steps, seconds."""
    clock, steps = 0.0, 0
    while clock < seconds:
        left = max(1, min(longest, round(CHUNK_SECONDS / step_time(choice.chosen, clock))))
        while left:
            threads, count = choice.next(left)
            assert 1 <= count <= left
            assert threads in choice.counts
            took = count * step_time(threads, clock)
            choice.took(threads, count, took)
            left, clock, steps = left - count, clock + took, steps + count
    return steps, clock


@given(
    most=st.integers(1, 32),
    best=st.integers(0, 5),
    step=st.floats(1e-6, 0.3),
    seed=st.integers(0, 1000),
)
def test_the_fastest_number_is_found_and_costs_little(most: int, best: int, step: float, seed: int) -> None:
    """Within one part in twenty of always having trained with it, though each measurement is off by some percent."""
    rng, choice = random.Random(seed), ThreadChoice(counts(most))
    fastest = choice.counts[best % len(choice.counts)]

    def step_time(threads: int, _: float) -> float:
        distance = abs(choice.counts.index(threads) - choice.counts.index(fastest))
        return step * (1 + 0.4 * distance) * rng.uniform(1, 1.02)

    seconds = max(20.0, 2000 * step)
    steps, took = run(choice, seconds, step_time)
    assert choice.chosen == fastest
    assert took <= 1.05 * 1.02 * steps * step


@pytest.mark.parametrize("step", [1e-5, 1e-3])
def test_another_program_takes_a_core_for_a_while(step: float) -> None:
    """Two threads are slower than one meanwhile, since they wait for each other. They are left, and come back."""

    def step_time(threads: int, clock: float) -> float:
        busy = 10 <= clock < 40
        return step * {1: 1.0, 2: 2.5 if busy else 0.55}[threads]

    choice = ThreadChoice([1, 2])
    run(choice, 10, step_time)
    assert choice.chosen == 2
    steps, seconds = run(choice, 30, lambda threads, clock: step_time(threads, clock + 10))
    assert choice.chosen == 1
    assert seconds <= 1.05 * steps * step
    run(choice, 20, lambda threads, clock: step_time(threads, clock + 40))
    assert choice.chosen == 2


@pytest.mark.parametrize("longest", [1, 7, 50, 150])
def test_in_short_chunks_too(longest: int) -> None:
    """As when a run is evaluated or diagnosed often."""
    choice = ThreadChoice([1, 2])
    run(choice, 10, lambda threads, _: {1: 108e-6, 2: 62e-6}[threads], longest)
    assert choice.chosen == 2


def test_a_pause_in_a_trial_is_forgotten() -> None:
    """As after SIGSTOP: what comes later counts."""
    choice = ThreadChoice([1, 2])
    run(choice, 20, lambda threads, _: {1: 1e-3, 2: 0.5e-3}[threads])
    paused: list[float] = []

    def once(threads: int, _: float) -> float:
        if threads == 1 and not paused:
            paused.append(1)
            return 500.0
        return {1: 1e-3, 2: 0.5e-3}[threads]

    run(choice, 30, once)
    assert paused
    steps, seconds = run(choice, 60, lambda threads, _: {1: 1e-3, 2: 0.5e-3}[threads])
    assert choice.chosen == 2
    assert seconds <= 1.05 * steps * 0.5e-3


def test_the_engine_tries_both_and_trains_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    ends, tried = [], set()
    took = ThreadChoice.took

    def noted(self: ThreadChoice, threads: int, steps: int, seconds: float) -> None:
        tried.add((len(self.counts), threads))
        took(self, threads, steps, seconds)

    monkeypatch.setattr(ThreadChoice, "took", noted)
    generator = torch.Generator().manual_seed(0)
    steps, clock = 2000, itertools.count(0.0, 0.02)  # every part of the training takes 20 milliseconds, whatever it is
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    X, Y = torch.randint(0, 27, (steps, 32, 3), generator=generator), torch.zeros(steps, 32, dtype=torch.int64)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    for threads in (None, 1, 2, 100):
        p, _, _ = problem(H=64)
        engine = KernelEngine(p, threads=threads)
        engine.prepare(32, lambda _: None)
        losses = engine.run(X, Y, [0.1] * steps)
        ends.append((losses.tolist(), p.flat.tolist()))
    assert all(end == ends[0] for end in ends)
    assert tried == {(2, 1), (2, 2), (1, 1), (1, 2)}
