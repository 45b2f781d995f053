"""How many threads share the compiled pass, by measurement while it trains: the number changes no digit."""

from __future__ import annotations

from collections.abc import Sequence

TRIAL_SECONDS = 0.005  # that a trial should take
OPENING_TRIALS = 3  # of each number, before one is chosen
EVERY_SECONDS = 0.5  # between two trials, at first; twice as long after each trial that changes nothing, up to
RARELY_SECONDS = 8.0
SLOWER = 1.15  # times its usual time for a step, from which on the chosen number is doubted
BETTER = 0.97  # of the chosen number's time: what another must take, so that the choice does not waver
MEMORY = 0.5  # the weight of the last measurement in a number's time


def counts(most: int) -> list[int]:
    """The numbers of threads that are tried: one, all, and the powers of two between them."""
    found = [1]
    while 2 * found[-1] < most:
        found.append(2 * found[-1])
    return [*found, most] if most > 1 else found


class ThreadChoice:
    """Chooses among numbers of threads; what it decides follows from the measurements that it is told.

    `next` says how many threads are to train how many steps, and `took` is told how long that took.
    """

    def __init__(self, counts: Sequence[int]) -> None:
        self.counts = list(counts)
        self.chosen = self.counts[-1]
        self._times: dict[int, float] = {}  # seconds a step
        self._opening = [count for _ in range(OPENING_TRIALS) for count in self.counts]
        self._trial: int | None = None
        self._every = self._until_trial = EVERY_SECONDS
        self._turn = 0

    def next(self, left: int) -> tuple[int, int]:
        """The number of threads, and the steps of the `left` ones that they are to train."""
        if len(self.counts) == 1:
            return self.chosen, left
        if self._opening:
            self._trial = self._opening[0]
        elif self._until_trial <= 0:
            self._trial = self._other()
        if self._trial is None:
            return self.chosen, left
        seconds = self._times.get(self._trial, max(self._times.values(), default=TRIAL_SECONDS))
        return self._trial, min(left, max(1, round(TRIAL_SECONDS / seconds)))

    def took(self, threads: int, steps: int, seconds: float) -> None:
        """Take a measurement into account."""
        if len(self.counts) == 1:
            return
        time, before = seconds / steps, self._times.get(threads)
        if self._opening:
            self._opening.pop(0)
            # The first trials warm the caches, and another program may have been in the way.
            self._times[threads] = time if before is None else min(time, before)
            self._trial = None
            if not self._opening:
                self._choose()
            return
        self._times[threads] = time if before is None else before + MEMORY * (time - before)
        if self._trial is not None:
            self._trial = None
            was = self.chosen
            self._choose()
            self._every = EVERY_SECONDS if self.chosen != was else min(2 * self._every, RARELY_SECONDS)
            self._until_trial = self._every
            return
        self._until_trial -= seconds
        if before is not None and time > SLOWER * before:
            self._every = EVERY_SECONDS
            self._until_trial = 0.0

    def _other(self) -> int:
        """The next number to try: by turns the one below and the one above the chosen."""
        here = self.counts.index(self.chosen)
        beside = [self.counts[place] for place in (here - 1, here + 1) if 0 <= place < len(self.counts)]
        self._turn += 1
        return beside[self._turn % len(beside)]

    def _choose(self) -> None:
        fastest = min(self._times, key=self._times.__getitem__)
        if self._times[fastest] < BETTER * self._times[self.chosen]:
            self.chosen = fastest
