"""Gradcheck on many random problems: is right code ever refused, and how far from that is it?"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from makemore_cli.gradcheck.check import gradcheck
from makemore_cli.gradcheck.problem import Problem
from makemore_cli.network.model import BATCHNORM_EPSILON, Sizes
from makemore_cli.network.parameters import initialise
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
        n, H = draw.choice([2, 3, 7, 16, 32, 64, 100]), draw.choice([1, 2, 15, 16, 64, 65, 200])
        T, E, V = draw.choice([1, 2, 3, 5, 8]), draw.choice([1, 2, 10, 24]), draw.choice([2, 3, 27, 60])
        first_bias, dtype, own = draw.random() < 0.8, draw.choice([torch.float32, torch.float64]), draw.randrange(2**31)
        smoothing = draw.choice([0.0, 0.0, 0.1, 0.5])
        parameters, generator = initialise(Sizes(V, T, E, H, first_bias), own)
        X = torch.randint(0, V, (n, T), generator=generator)
        Y = torch.randint(0, V, (n,), generator=generator)
        with threads(parameters, n):
            report = gradcheck(
                Problem(parameters.to(dtype=dtype), X, Y, BATCHNORM_EPSILON, smoothing, measure_rounding=True)
            )
        if not report.ok:
            problem = f"n={n} T={T} E={E} H={H} V={V} b1={first_bias} smoothing={smoothing} {report.dtype} seed={own}"
            trials.refused.append(f"{problem}: {report.failures()[0]}")
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
