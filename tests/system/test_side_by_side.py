"""Threads that work together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from makemore_cli.backprop.kernel import machine_code
from makemore_cli.backprop.kernel.kernel import Kernel
from makemore_cli.backprop.update_numbers import Factors
from makemore_cli.system.side_by_side import side_by_side
from tests.conftest import problem


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_all_work_at_the_same_time_and_each_once(threads: int) -> None:
    together, seen = threading.Barrier(threads, timeout=10), []

    def work(me: int, count: int) -> None:
        together.wait()  # comes to its end only if all are there
        seen.append((me, count))

    side_by_side(work, threads, pytest.fail)
    assert sorted(seen) == [(me, threads) for me in range(threads)]


def test_with_fewer_threads_if_there_are_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    start, seen = threading.Thread.start, []

    def refused(self: threading.Thread) -> None:
        if len(threading.enumerate()) - before >= 2:
            raise RuntimeError("can't start new thread")
        start(self)

    before = threading.active_count()
    monkeypatch.setattr(threading.Thread, "start", refused)
    side_by_side(lambda me, count: seen.append((me, count)), 8, pytest.fail)
    assert sorted(seen) == [(0, 3), (1, 3), (2, 3)]


@pytest.mark.parametrize("failing", [0, 2])
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_error_in_any_thread_ends_the_others_work_and_is_raised(failing: int, error: type[BaseException]) -> None:
    given_up, ended = threading.Event(), []

    def work(me: int, _: int) -> None:
        if me == failing:
            raise error
        assert given_up.wait(10)
        ended.append(me)

    with pytest.raises(error):
        side_by_side(work, 3, given_up.set)
    assert sorted(ended) == [me for me in range(3) if me != failing]


def test_an_interruption_before_all_have_started_starts_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    start, worked = threading.Thread.start, []

    def interrupted(self: threading.Thread) -> None:
        start(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        side_by_side(lambda me, _: worked.append(me), 3, lambda: None)
    assert worked == []
    for _ in range(100):
        if threading.active_count() == before:
            break
        time.sleep(0.05)
    assert threading.active_count() == before


def test_a_kernel_that_is_interrupted_comes_to_its_end() -> None:
    """A thread that waits at a barrier goes on, though another never comes to it."""
    p, X, Y = problem(n=8, H=64)
    compiled = Kernel(p.sizes, 8, np.dtype(np.float32), 1e-5)
    compiled.prepare()
    compiled.load(p.arrays())
    steps = machine_code.train_steps("float32")

    def fails(real: str) -> Callable[..., None]:
        def run(*arguments: object) -> None:
            if arguments[-2] == 1:
                raise MemoryError
            steps(*arguments)

        return run

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine_code, "train_steps", fails)
        with pytest.raises(MemoryError):
            compiled.train(X[None].numpy(), Y[None].numpy(), [Factors(0.1)], threads=2)
