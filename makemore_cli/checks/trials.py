"""Gradcheck on many random problems: is right code ever refused, and how large are its differences?"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from makemore_cli.backprop.chain import Chain
from makemore_cli.backprop.inputs import Bounds
from makemore_cli.checks.check import gradcheck
from makemore_cli.checks.check_chain import check
from makemore_cli.checks.findings import Report
from makemore_cli.checks.function_pair import FunctionPair
from makemore_cli.checks.network import random_problem
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
                    f"{dtype}  {section:20} {'equal bit for bit' if exact else f'within {worst:.1e} of scale'}"
                )
        lines.append(f"{self.count - len(self.refused):,} of {self.count:,} problems passed")
        return lines + [f"refused: {refused}" for refused in self.refused]


Problems = Callable[[random.Random], tuple[str, Callable[[], Report]]]  # draws a problem: its description and check


def network_problems(draw: random.Random) -> tuple[str, Callable[[], Report]]:
    """Random batches of the network; about half of them are degenerate."""
    problem, about = random_problem(draw)

    def check() -> Report:
        with threads(problem.p, len(problem.X)):
            return gradcheck(problem)

    return about, check


def chain_problems(subject: Chain | FunctionPair, sizes: Mapping[str, Bounds] | None = None) -> Problems:
    """A chain, or a pair of functions, at random inputs of random sizes in both precisions; `sizes` are fixed."""

    def draw_problem(draw: random.Random) -> tuple[str, Callable[[], Report]]:
        seed, dtype = draw.randrange(1, 2**31), draw.choice(["float32", "float64"])
        return f"{dtype} seed={seed}", lambda: check(subject, dtype, seed, sizes)

    return draw_problem


def run_trials(
    count: int,
    seed: int = 0,
    progress: Callable[[int], None] = lambda _: None,
    problems: Problems = network_problems,
) -> Trials:
    """Check `count` random problems: whether right code is ever refused, and how large its differences are."""
    draw = random.Random(seed)
    trials = Trials(count)
    for number in range(count):
        about, check = problems(draw)
        report = check()
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
