"""Find the bug: every task is proven, by this test too, and no fixed answer is better than chance."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
import torch

from makemore_cli.backprop.atomic import network_chain
from makemore_cli.backprop.chain import Chain
from makemore_cli.backprop.shipped import SHIPPED
from makemore_cli.backprop.step import run
from makemore_cli.checks.check_chain import check_chain
from makemore_cli.learn.bug_hunt import LEVELS, BugTask, bug_task
from tests.conftest import Cli
from tests.terminal import in_terminal

MLP, LINEAR = network_chain(), SHIPPED["linear"].chain
BETTER_THAN_CHANCE = 0.05
TASKS = 12  # of each level


def prove(task: BugTask) -> None:
    """By gradcheck, which knows nothing of how the task was made."""
    assert check_chain(task.chain, torch.float64, seed=7).ok
    report = check_chain(task.broken, torch.float64, seed=7)
    blamed = {(line.step, f"d{line.comparison.tensor}") for line in report.wrong_lines}
    assert blamed == task.wrong.keys()
    assert {task.lines[number - 1].place for number in task.answers} == blamed


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("level", LEVELS)
def test_every_task_is_proven(level: int, count: int) -> None:
    for seed in range(count):
        prove(bug_task(MLP, level, seed))


@pytest.mark.slow
def test_no_fixed_answer_is_better_than_chance() -> None:
    """Neither a line's number, nor a gradient's name, nor "no bug"."""
    tasks = [bug_task(MLP, level, seed) for level in LEVELS for seed in range(TASKS)]
    chance = sum(1 / (len(task.lines) + 1) for task in tasks) / len(tasks)
    numbers = Counter(number for task in tasks for number in task.answers or {0})
    targets = Counter(task.lines[number - 1].place[1] for task in tasks for number in task.answers)
    for answers in (numbers, targets):
        (_, most), *_ = answers.most_common(1)
        assert most / len(tasks) <= chance + BETTER_THAN_CHANCE + 2 * (chance / len(tasks)) ** 0.5, answers.most_common(
            3
        )


@pytest.mark.slow
def test_a_level_keeps_its_promise() -> None:
    for seed in range(3):
        for level in LEVELS:
            task = bug_task(MLP, level, seed)
            if not task.wrong:
                continue
            losses = task.losses()
            assert losses is not None
            (_, first, _), *_, (_, ours, right) = losses
            if level == 3:
                assert ours < first
            if level == 4:
                assert ours == pytest.approx(right, rel=1e-6)


def test_a_seed_names_a_task() -> None:
    one, two, other = bug_task(MLP, 2, 5), bug_task(MLP, 2, 5), bug_task(MLP, 2, 6)
    assert [line.text for line in one.lines] == [line.text for line in two.lines]
    assert one.says == two.says
    assert [line.text for line in one.lines] != [line.text for line in other.lines]


@pytest.mark.parametrize("chain", [LINEAR, SHIPPED["batchnorm_by_hand"].chain], ids=lambda chain: chain.name)
def test_other_chains(chain: Chain) -> None:
    for seed in range(3):
        prove(bug_task(chain, 1, seed))


def test_the_wrong_line_looks_like_the_others() -> None:
    """All lines are written out from their syntax trees, so that no formatting tells the wrong one."""
    for seed in range(4):
        task = bug_task(MLP, 1, seed)
        for line in task.lines:
            text = re.sub(r"^\w+ \+?= ", "", line.text)
            assert "addcmul" not in text
            compile(text, "line", "eval")


def test_the_commands(cli: Cli) -> None:
    told = cli("learn", "bug", "--level", 2, "--seed", 5)
    assert told.code == 0
    assert "--answer N" in told.err
    task = bug_task(MLP, 2, 5)
    assert all(line.text in told.out for line in task.lines)
    (right,) = task.answers
    wrong = right % len(task.lines) + 1
    assert cli("learn", "bug", "--level", 2, "--seed", 5, "--answer", wrong).code == 1
    found = cli("learn", "bug", "--level", 2, "--seed", 5, "--answer", right)
    assert found.code == 0
    assert found.out.startswith(f"Right: {task.says}.")
    step, target = task.lines[right - 1].place
    line = MLP.by_name[step].backward[target]
    from makemore_cli.backprop.line_text import line_text

    options = ("learn", "bug", "--level", 2, "--seed", 5, "--answer", right, "--repair")
    assert cli(*options, line_text(line)).code == 0
    assert cli(*options, f"2 * ({line_text(line)})").code == 1
    assert "can't be evaluated" in cli(*options, "nothing").out
    assert "not an expression" in cli(*options, "a = b").out
    assert run is not None
    printed = json.loads(cli("learn", "bug", "--level", 4, "--seed", 3, "--json").out)
    assert printed["level"] == 4
    assert "says" not in printed


@pytest.mark.slow
def test_on_a_terminal_it_asks() -> None:
    (right,) = bug_task(LINEAR, 1, 4).answers
    shown = in_terminal(
        *("learn", "bug", "--chain", "linear", "--seed", "4"),
        reply=lambda part: f"{right}\n".encode() if b"Which line" in part else b"",
    )
    assert "Right: " in shown


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("--level 5", "--level must be from 1 to 4, got 5"),
        ("--chain nothing", "no such file or bundled chain"),
        ("--answer 3", "--answer: needs the task's --seed"),
        ("--seed 3 --answer x", "--answer: must be a line's number"),
        ("--chain row_sum --level 4 --seed 1", "--level 4 has no task for row sum"),
    ],
)
def test_mistakes(command: str, told: str, cli: Cli, tmp_path: Path) -> None:
    result = cli("learn", "bug", *command.split())
    assert result.code == 2
    assert told in result.err, result.err
