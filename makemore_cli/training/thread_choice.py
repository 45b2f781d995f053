"""How many threads share the compiled pass, by measurement while it trains: the number changes no digit."""

from __future__ import annotations

from collections.abc import Sequence

TRIAL_SECONDS = 0.01  # that a trial should take, and
TRIAL_STEPS = 4  # the least that it has, of which the first ones fill the threads' caches and do not count
OPENING_TRIALS = 3  # of each number, before one is chosen
EVERY_SECONDS = 0.5  # between two trials, at first; twice as long after each that changes nothing, up to
RARELY_SECONDS = 8.0
EVERY_TRIALS = 50  # times as long as a trial took, at least
SLOWER = 1.15  # times its usual time for a step, from which on the chosen number is doubted
BETTER = 0.97  # of the chosen number's time: what another must take, so that the choice does not waver
MEMORY = 0.5  # the weight of what was measured before in the chosen number's time


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
        self._trial = self._opening[0] if len(self.counts) > 1 else None  # the number on trial
        self._warm = False  # whether its first steps are done
        self._every = self._until_trial = EVERY_SECONDS
        self._turn = 0

    def next(self, left: int) -> tuple[int, int]:
        """The number of threads, and how many of the `left` steps they are to train."""
        if self._trial is None:
            return self.chosen, left
        seconds = self._times.get(self._trial, max(self._times.values(), default=TRIAL_SECONDS))
        steps = max(TRIAL_STEPS, round(TRIAL_SECONDS / seconds))
        first = steps // TRIAL_STEPS
        return self._trial, min(left, steps - first if self._warm else first)

    def took(self, threads: int, steps: int, seconds: float) -> None:
        """Take a measurement into account."""
        time = seconds / steps
        if self._trial is not None and not self._warm:
            self._warm = True
            self._times.setdefault(threads, time)  # to know how many steps the trial should have
        elif self._opening:
            later = len(self._opening) <= len(self.counts) * (OPENING_TRIALS - 1)
            self._times[threads] = min(time, self._times[threads]) if later else time
            self._opening.pop(0)
            if not self._opening:
                self._choose()
            self._start_trial(self._opening[0] if self._opening else None)
        elif self._trial is not None:
            self._times[threads], was = time, self.chosen
            self._choose()
            self._every = EVERY_SECONDS if self.chosen != was else min(2 * self._every, RARELY_SECONDS)
            self._until_trial = max(self._every, EVERY_TRIALS * seconds)
            self._start_trial(None)
        elif len(self.counts) > 1:
            usual = self._times[threads]
            self._times[threads] = time + MEMORY * (usual - time)
            self._until_trial -= seconds
            if time > SLOWER * usual:
                self._every, self._until_trial = EVERY_SECONDS, 0.0
            if self._until_trial <= 0:
                self._start_trial(self._other())

    def _start_trial(self, threads: int | None) -> None:
        self._trial, self._warm = threads, False

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
