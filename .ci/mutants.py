"""How many small mistakes in the heart of the program the tests find: a random sample, with a score for each file.

Cosmic Ray makes the mutants: one operator, comparison, number or condition of a file changed at a time. Each is written
into a copy of the repository, where the tests that `[tool.mutants]` in pyproject.toml names for its file run until one
fails. The machine code of the kernel is kept by a digest of its files, so a mutant of it is compiled anew.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import toml
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.plugins import get_operator, operator_names
from cosmic_ray.testing import run_tests
from cosmic_ray.work_item import MutationSpec, TestOutcome

ROOT = Path(__file__).parent.parent
TIMEOUT = 900  # seconds; a mutant that takes longer runs on for ever and counts as found

# The rest of Cosmic Ray's operators is left out: what they change is found too easily (a shift of a float raises an
# error, a removed decorator stops the compiler) or does nothing (the | of a type hint).
ARITHMETIC, ORDER = "Add|Sub|Mul|Div", "Eq|NotEq|Lt|LtE|Gt|GtE"
OPERATORS = re.compile(
    rf"""core/(
        ReplaceBinaryOperator_({ARITHMETIC}|FloorDiv|Mod|Pow)_({ARITHMETIC}) |
        ReplaceComparisonOperator_(({ORDER})_({ORDER}) | Is_IsNot | IsNot_Is | In_NotIn | NotIn_In) |
        ReplaceUnaryOperator_USub_UAdd | ReplaceUnaryOperator_Delete_(Not|USub) | AddNot | NumberReplacer |
        Replace(TrueWithFalse|FalseWithTrue|AndWithOr|OrWithAnd|BreakWithContinue|ContinueWithBreak) |
        ZeroIterationForLoop )""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Mutant:
    """One change of one file."""

    file: str
    operator: str
    occurrence: int
    line: int


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant."""

    mutant: Mutant
    found: bool
    timeout: bool
    seconds: float
    diff: str


def mutants(file: str) -> list[Mutant]:
    """All mutants of a file."""
    nodes = list(ast_nodes(get_ast((ROOT / file).read_text())))
    found = []
    for name in filter(OPERATORS.fullmatch, operator_names()):
        operator = get_operator(name)()
        lines = [start[0] for node in nodes for start, _ in operator.mutation_positions(node)]
        found += [Mutant(file, name, occurrence, line) for occurrence, line in enumerate(lines)]
    return sorted(found, key=lambda mutant: (mutant.line, mutant.operator, mutant.occurrence))


def go_to_a_copy(folder: str, revision: str | None) -> None:
    """Make this worker's copy of what git tracks, with the tests of another revision if one is given, and go there."""
    copy = Path(tempfile.mkdtemp(dir=folder))
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        if revision is None or not name.startswith("tests/"):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    if revision is not None:
        archive = subprocess.run(
            ["git", "archive", revision, "tests"], cwd=ROOT, capture_output=True, check=True
        ).stdout
        subprocess.run(["tar", "-x"], cwd=copy, input=archive, check=True)
    os.chdir(copy)
    os.environ.update(PYTHONPATH=str(copy), OMP_NUM_THREADS="1")


def command(tests: str) -> str:
    """The command that runs these tests until one fails."""
    options = "-x -q -n 0 -p no:cacheprovider -m 'slow or not slow' --hypothesis-seed=0"
    return f"{sys.executable} -m pytest {options} {tests}"


def passes(tests: str) -> bool:
    """Whether the tests pass without a mutant. The kernel is compiled on the way."""
    return bool(run_tests(command(tests), TIMEOUT)[0] == TestOutcome.SURVIVED)


def tried(mutant: Mutant, tests: str) -> Outcome:
    """What the tests say of a mutant."""
    spec = MutationSpec(Path(mutant.file), mutant.operator, mutant.occurrence, (mutant.line, 0), (mutant.line, 1))
    began = time.perf_counter()
    result = mutate_and_test([spec], command(tests), TIMEOUT)
    if result.test_outcome not in (TestOutcome.SURVIVED, TestOutcome.KILLED):
        raise RuntimeError(f"{mutant}: {result.output}")
    diff = "\n".join(line for line in (result.diff or "").split("\n") if re.match(r"[-+](?![-+])", line))
    found, seconds = result.test_outcome == TestOutcome.KILLED, round(time.perf_counter() - began, 1)
    return Outcome(mutant, found, result.output == "timeout", seconds, diff)


def main() -> int:
    """Run the sample. The exit code is 1 if the tests fail without a mutant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", help="only these files")
    parser.add_argument("--tests", metavar="REVISION", help="take the tests of another commit")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time (default 2)")
    parser.add_argument("--report", type=Path, help="write what became of each mutant there, as JSON")
    parser.add_argument("--survivors", type=Path, metavar="REPORT", help="try only those that survived in a report")
    arguments = parser.parse_args()

    settings = toml.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutants"]
    chosen: list[tuple[Mutant, str]] = []
    for file, sample_of in settings["files"].items():
        if arguments.files and file not in arguments.files:
            continue
        every = mutants(file)
        sample = random.Random(f"{settings['seed']} {file}").sample(every, len(every))[: sample_of["mutants"]]
        chosen += [(mutant, sample_of["tests"]) for mutant in sample]
    if arguments.survivors:
        left = {Mutant(**o["mutant"]) for o in json.loads(arguments.survivors.read_text()) if not o["found"]}
        chosen = [(mutant, tests) for mutant, tests in chosen if mutant in left]

    outcomes: list[Outcome] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(arguments.jobs, initializer=go_to_a_copy, initargs=(folder, arguments.tests)) as pool,
    ):
        every_test = list(dict.fromkeys(tests for _, tests in chosen))
        for tests, passed in zip(every_test, pool.map(passes, every_test), strict=True):
            if not passed:
                print(f"without a mutant, these tests fail: {tests}")
                return 1
        for future in as_completed([pool.submit(tried, mutant, tests) for mutant, tests in chosen]):
            outcome = future.result()
            outcomes.append(outcome)
            verdict = "timeout" if outcome.timeout else "found" if outcome.found else "SURVIVED"
            print(f"{verdict} {outcome.seconds:6.1f} s  {outcome.mutant.file}:{outcome.mutant.line}", flush=True)
            if not outcome.found:
                print(outcome.diff, flush=True)
            if arguments.report:
                arguments.report.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1))

    print()
    for file in dict.fromkeys(mutant.file for mutant, _ in chosen):
        of = [outcome.found for outcome in outcomes if outcome.mutant.file == file]
        print(f"{file}: {sum(of)} of {len(of)} found")
    print(f"{sum(outcome.found for outcome in outcomes)} of {len(outcomes)} found")
    return 0


if __name__ == "__main__":
    sys.exit(main())
