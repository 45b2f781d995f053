"""Gradcheck on many random problems: is right code ever refused, and how far from that is it?"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from makemore_cli.gradcheck.check import gradcheck
from makemore_cli.gradcheck.network import random_problem
from makemore_cli.network.threads import threads


@dataclass
class Trials:
    """The results of checks on random problems."""

    count: int
    refused: list[str] = field(default_factory=list)  # the problem, and what was wrong
    # By precision and section, the largest difference over scale, and whether all were equal bit for bit.
    worst: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(float)))
    exact: dict[str, dict[str, bool]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(lambda: True)))

    def lines(self) -> list[str]:
        lines = []
        for dtype, sections in self.worst.items():
            for section, worst in sections.items():
                exact = self.exact[dtype][section]
                lines.append(
                    f"{dtype}  {section:20} {'bit for bit equal' if exact else f'at most {worst:.1e} of scale'}"
                )
        lines.append(f"{self.count - len(self.refused):,} of {self.count:,} problems passed")
        return lines + [f"refused: {refused}" for refused in self.refused]


def run_trials(count: int, seed: int = 0, progress: Callable[[int], None] = lambda _: None) -> Trials:
    """Check `count` problems of random sizes, precision and seed, degenerate ones as often as usual ones."""
    draw = random.Random(seed)
    trials = Trials(count)
    for number in range(count):
        problem, about = random_problem(draw)
        with threads(problem.p, len(problem.X)):
            report = gradcheck(problem)
        if not report.ok:
            trials.refused.append(f"{about}: {report.failures()[0]}")
        for section in report.sections:
            for finding in section.findings:
                c = finding.comparison
                trials.worst[report.dtype][section.name] = max(trials.worst[report.dtype][section.name], c.relative)
                trials.exact[report.dtype][section.name] &= c.exact
        for line in report.lines:
            c = line.comparison
            trials.worst["float64"]["lines alone"] = max(trials.worst["float64"]["lines alone"], c.relative)
            trials.exact["float64"]["lines alone"] &= c.exact
        progress(number + 1)
    return trials
