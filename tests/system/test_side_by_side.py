"""Threads that work together."""

from __future__ import annotations

import threading

import pytest

from makemore_cli.system.side_by_side import side_by_side


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


def test_an_interruption_ends_the_others_work_too() -> None:
    given_up = threading.Event()

    def work(me: int, _: int) -> None:
        if me == 0:
            raise KeyboardInterrupt
        assert given_up.wait(10)

    with pytest.raises(KeyboardInterrupt):
        side_by_side(work, 3, given_up.set)
    assert threading.active_count() == 1 or not any(t.name.startswith("Thread-") for t in threading.enumerate())
