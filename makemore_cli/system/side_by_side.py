"""Threads that do a piece of work together, all of them at once."""

from __future__ import annotations

import threading
from collections.abc import Callable


def side_by_side(work: Callable[[int, int], None], threads: int, give_up: Callable[[], None]) -> None:
    """Call work(0, threads), work(1, threads) … at the same time, the first of them in this thread.

    If the system has not so many threads, there are fewer. `give_up` is called if this thread is interrupted before it
    could begin: it must make an end of the others' work, which wait for each other.
    """
    begun = threading.Event()
    count = 1

    def run(me: int) -> None:
        begun.wait()
        if me < count:
            work(me, count)

    others = []
    try:
        for me in range(1, threads):
            other = threading.Thread(target=run, args=(me,), daemon=True)
            other.start()
            others.append(other)
    except RuntimeError:  # no more threads
        pass
    try:
        count = len(others) + 1
        begun.set()
        work(0, count)
    except BaseException:
        give_up()
        raise
    finally:
        begun.set()
        for other in others:
            other.join()
