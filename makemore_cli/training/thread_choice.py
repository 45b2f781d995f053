"""The number of threads of the compiled pass, chosen by measurement during training. It does not affect results."""

from __future__ import annotations

from collections.abc import Sequence

TRIAL_SECONDS = 0.01  # length of a trial
WARM_UP = 0.25  # length of a trial's warm-up, in which the threads fill their caches, as a fraction of the trial's
TELLING_SECONDS = 0.005  # shortest useful measurement outside trials; in shorter ones, starting threads takes too much
OPENING_TRIALS = 3  # trials of each number before one is chosen
EVERY_SECONDS = 0.5  # initial time between comparisons; it doubles while the choice stays
RARELY_SECONDS = 8.0  # the limit of that doubling
EVERY_TRIALS = 50  # shortest time between comparisons, in trials
SLOWER = 1.15  # times the usual time of a step: if the chosen number takes longer, a comparison is due
BETTER = 0.97  # times the chosen number's time: if another number takes less, it is chosen
MEMORY = 0.5  # weight of earlier measurements in the usual time


def counts(most: int) -> list[int]:
    """The numbers of threads to try: 1, `most`, and the powers of two between them."""
    found = [1]
    while 2 * found[-1] < most:
        found.append(2 * found[-1])
    return [*found, most] if most > 1 else found


class ThreadChoice:
    """Chooses a number of threads. Its decisions depend only on the measurements that it receives.

    `next` says how many threads train how many steps, and `took` receives the time that they took. From time to time, a
    comparison is due: the chosen number and another one have a trial each.
    """

    def __init__(self, counts: Sequence[int]) -> None:
        self.counts = list(counts)
        self.chosen = self.counts[0]
        self._trials = OPENING_TRIALS * self.counts if len(self.counts) > 1 else []  # the trials that are due
        self._opening = True
        self._trying = False  # whether the next steps are part of a trial
        self._warm = False  # whether the first trial's warm-up is done
        self._steps_done, self._seconds_done = 0, 0.0  # of the warm-up or the trial itself
        self._found: dict[int, float] = {}  # seconds per step in the trials of this comparison
        self._about: dict[int, float] = {}  # seconds per step in the last trial
        self._usual: float | None = None  # seconds per step of the chosen number
        self._every = self._until_comparison = EVERY_SECONDS
        self._turn = 0

    def next(self, left: int) -> tuple[int, int]:
        """The number of threads, and how many of the `left` steps they train next."""
        self._trying = False
        if not self._trials:
            return self.chosen, left
        if not (self._opening or self._warm or self._steps_done or self._found):
            # Trials come at the end of a chunk: at its start, this process does other work besides training.
            all_steps = sum(self._steps(count, warm=warm) for count in self._trials for warm in (False, True))
            if left > all_steps:
                return self.chosen, left - all_steps
        self._trying = True
        return self._trials[0], min(left, self._steps(self._trials[0], warm=self._warm) - self._steps_done)

    def took(self, threads: int, steps: int, seconds: float) -> None:
        """Record a measurement."""
        if self._trying:
            self._steps_done += steps
            self._seconds_done += seconds
            if self._steps_done >= self._steps(threads, warm=self._warm):  # a trial may span several chunks
                self._tried(threads, self._seconds_done / self._steps_done)
                self._steps_done, self._seconds_done = 0, 0.0
        elif not self._trials and len(self.counts) > 1 and seconds >= TELLING_SECONDS:
            self._trained(seconds / steps, seconds)

    def _steps(self, threads: int, *, warm: bool) -> int:
        """The steps of a trial's warm-up, or of the trial itself."""
        seconds = self._about.get(threads, max(self._about.values(), default=TRIAL_SECONDS))
        return max(1, round(TRIAL_SECONDS * (1 if warm else WARM_UP) / seconds))

    def _tried(self, threads: int, time: float) -> None:
        """Record a warm-up or a trial."""
        if not self._warm:
            self._warm = True
            self._about.setdefault(threads, time)
            return
        self._warm = False
        self._about[threads] = time
        self._found[threads] = min(time, self._found.get(threads, time))
        self._trials.pop(0)
        if not self._trials:
            self._choose()

    def _choose(self) -> None:
        """Choose a number by the trials of this comparison."""
        was, fastest = self.chosen, min(self._found, key=self._found.__getitem__)
        if self._found[fastest] < BETTER * self._found[was]:
            self.chosen = fastest
        if not self._opening:
            self._every = EVERY_SECONDS if self.chosen != was else min(2 * self._every, RARELY_SECONDS)
        self._until_comparison = max(self._every, EVERY_TRIALS * max(TRIAL_SECONDS, self._found[fastest]))
        self._found, self._usual, self._opening = {}, None, False

    def _trained(self, time: float, seconds: float) -> None:
        """Record steps outside trials, and start a comparison if one is due."""
        usual = time if self._usual is None else self._usual
        self._usual = time + MEMORY * (usual - time)
        self._until_comparison -= seconds
        if time > SLOWER * usual:
            self._every, self._until_comparison = EVERY_SECONDS, 0.0
        if self._until_comparison <= 0:
            self._trials = [self._other(), self.chosen]

    def _other(self) -> int:
        """The number to compare with: alternately the one below and the one above the chosen."""
        here = self.counts.index(self.chosen)
        beside = [self.counts[place] for place in (here - 1, here + 1) if 0 <= place < len(self.counts)]
        self._turn += 1
        return beside[self._turn % len(beside)]
