"""How many threads share the compiled pass, by measurement while it trains: the number changes no digit."""

from __future__ import annotations

from collections.abc import Sequence

TRIAL_SECONDS = 0.01  # that a trial should take, after
WARM_UP = 0.25  # of it, in which the threads fill their caches
TELLING_SECONDS = 0.005  # below which the start of the threads is too much of what is measured
OPENING_TRIALS = 3  # of each number, before one is chosen
EVERY_SECONDS = 0.5  # between two comparisons, at first; twice as long after each that changes nothing, up to
RARELY_SECONDS = 8.0
EVERY_COMPARISONS = 50  # times as long as a trial took, at least
SLOWER = 1.15  # times its usual time for a step, from which on the chosen number is doubted
BETTER = 0.97  # of the chosen number's time: what another must take, so that the choice does not waver
MEMORY = 0.5  # the weight of what was measured before in the usual time


def counts(most: int) -> list[int]:
    """The numbers of threads that are tried: one, all, and the powers of two between them."""
    found = [1]
    while 2 * found[-1] < most:
        found.append(2 * found[-1])
    return [*found, most] if most > 1 else found


class ThreadChoice:
    """Chooses among numbers of threads; what it decides follows from the measurements that it is told.

    `next` says how many threads are to train how many steps, and `took` is told how long that took. Now and then a
    comparison is due: the chosen number and another one have a trial each.
    """

    def __init__(self, counts: Sequence[int]) -> None:
        self.counts = list(counts)
        self.chosen = self.counts[0]
        self._trials = OPENING_TRIALS * self.counts if len(self.counts) > 1 else []  # that are due
        self._opening = True
        self._warm = False  # whether the first trial's warm-up is done
        self._found: dict[int, float] = {}  # seconds a step, in the trials of this comparison
        self._about: dict[int, float] = {}  # seconds a step, of the last trial
        self._usual: float | None = None  # seconds a step, of the chosen number
        self._every = self._until_comparison = EVERY_SECONDS
        self._turn = 0

    def next(self, left: int) -> tuple[int, int]:
        """The number of threads, and how many of the `left` steps they are to train."""
        if not self._trials:
            return self.chosen, left
        steps = self._steps(self._trials[0], warm=self._warm)
        if left < steps:
            return self.chosen, left
        if not self._opening and not self._warm and not self._found:
            # At the end of a chunk: at its beginning this process has other things to do, beside the training.
            all_steps = sum(self._steps(count, warm=warm) for count in self._trials for warm in (False, True))
            if left > all_steps:
                return self.chosen, left - all_steps
        return self._trials[0], steps

    def took(self, threads: int, steps: int, seconds: float) -> None:
        """Take a measurement into account."""
        if self._trials and (threads, steps) == (self._trials[0], self._steps(self._trials[0], warm=self._warm)):
            self._tried(seconds / steps, seconds)
        elif not self._trials and len(self.counts) > 1 and seconds >= TELLING_SECONDS:
            self._trained(seconds / steps, seconds)

    def _steps(self, threads: int, *, warm: bool) -> int:
        """The steps of a trial's warm-up, or of the trial itself."""
        seconds = self._about.get(threads, max(self._about.values(), default=TRIAL_SECONDS))
        return max(1, round(TRIAL_SECONDS * (1 if warm else WARM_UP) / seconds))

    def _tried(self, time: float, seconds: float) -> None:
        """Take a part of a trial into account."""
        threads = self._trials[0]
        if not self._warm:
            self._warm = True
            self._about.setdefault(threads, time)
            return
        self._warm = False
        self._about[threads] = time
        self._found[threads] = min(time, self._found.get(threads, time))
        self._trials.pop(0)
        if not self._trials:
            self._choose(seconds)

    def _choose(self, seconds: float) -> None:
        """Choose by the trials that have been; `seconds` is what the last of them took."""
        was, fastest = self.chosen, min(self._found, key=self._found.__getitem__)
        if self._found[fastest] < BETTER * self._found[was]:
            self.chosen = fastest
        if not self._opening:
            self._every = EVERY_SECONDS if self.chosen != was else min(2 * self._every, RARELY_SECONDS)
        self._until_comparison = max(self._every, EVERY_COMPARISONS * seconds)
        self._found, self._usual, self._opening = {}, None, False

    def _trained(self, time: float, seconds: float) -> None:
        """Take what the chosen number has done into account."""
        usual = time if self._usual is None else self._usual
        self._usual = time + MEMORY * (usual - time)
        self._until_comparison -= seconds
        if time > SLOWER * usual:
            self._every, self._until_comparison = EVERY_SECONDS, 0.0
        if self._until_comparison <= 0:
            self._trials = [self._other(), self.chosen]

    def _other(self) -> int:
        """The number to compare with: by turns the one below and the one above the chosen."""
        here = self.counts.index(self.chosen)
        beside = [self.counts[place] for place in (here - 1, here + 1) if 0 <= place < len(self.counts)]
        self._turn += 1
        return beside[self._turn % len(beside)]
