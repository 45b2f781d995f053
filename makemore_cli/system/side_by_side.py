"""Share a piece of work among threads."""

from __future__ import annotations

import threading
from collections.abc import Callable


def side_by_side(work: Callable[[int, int], None], threads: int, give_up: Callable[[], None]) -> None:
    """Call work(0, threads), work(1, threads) … at the same time, the first of them in this thread.

    If the system can't start that many threads, fewer are used. If one of them raises, or this thread is interrupted,
    `give_up` is called, which must make the others finish. Then the error is raised here.
    """
    begun, errors = threading.Event(), list[BaseException]()
    count = 0  # of threads to work: 0 if this thread is interrupted before all have started

    def run(me: int) -> None:
        try:
            begun.wait()
            if me < count:
                work(me, count)
        except BaseException as error:
            errors.append(error)
            give_up()

    others: list[threading.Thread] = []
    try:
        for me in range(1, threads):
            other = threading.Thread(target=run, args=(me,), daemon=True)
            try:
                other.start()
            except RuntimeError:  # no more threads
                break
            others.append(other)
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
    if errors:
        raise errors[0]
