"""The commands of `makemore learn`, and the learner's folder."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from makemore_cli.learn.course import BUNDLED, load_course
from makemore_cli.learn.exercise import MARKER, parse
from tests.conftest import Cli
from tests.terminal import in_terminal

COURSE = load_course()


@pytest.fixture
def folder(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the exercises of two sections."""
    monkeypatch.chdir(tmp_path)
    assert cli("learn", "init", "--only", "A,b").code == 0
    return tmp_path / "exercises"


def solve(folder: Path, name: str) -> None:
    (folder / f"{name}.py").write_text(COURSE.exercise(name).source.solved)


def test_the_first_steps(folder: Path, cli: Cli) -> None:
    told = cli("learn")
    assert told.out.startswith("0 of 12 exercises solved")
    assert "exercises/a1_slope.py" in told.out
    result = cli("learn", "check")
    assert (result.code, result.out.split("\n")[0]) == (1, "a1_slope: not written yet")
    solve(folder, "a1_slope")
    result = cli("learn", "check")
    assert (result.code, result.out.split("\n")[0]) == (0, "a1_slope: solved")
    assert "next: exercises/a2_parabola.py" in result.err
    assert "1 of 12" in cli("learn").out
    assert json.loads(cli("learn", "--json").out)["next"] == "a2_parabola"


def test_json_and_exit_codes_for_a_courses_ci(folder: Path, cli: Cli) -> None:
    for name in ("a1_slope", "a2_parabola"):
        solve(folder, name)
    result = cli("learn", "check", "--all", "--json")
    verdicts = {verdict["name"]: verdict["state"] for verdict in json.loads(result.out)}
    assert result.code == 1
    assert [name for name, state in verdicts.items() if state == "solved"] == ["a1_slope", "a2_parabola"]
    assert len(verdicts) == 12
    (folder / "a1_slope.py").write_text(COURSE.exercise("a1_slope").source.written(("    return f(x + h) - f(x)",)))
    verdict = json.loads(cli("learn", "check", "a1", "--seed", "3", "--json").out)
    assert (verdict["state"], verdict["diagnosed"]) == ("wrong", True)
    assert "divided by the change of x" in verdict["says"][1]
    # What no longer passes is not solved any more.
    assert json.loads(cli("learn", "--json").out)["exercises"]["a1_slope"] == "open"


def test_hints_and_solutions(folder: Path, cli: Cli) -> None:
    results = [cli("learn", "hint", "a1") for _ in range(4)]
    hints = [" ".join(result.out.split()) for result in results]
    assert hints[:3] == [" ".join(hint.split()) for hint in COURSE.exercise("a1_slope").entry.hints]
    assert hints[3] == hints[0]
    assert ["makemore learn solution a1_slope" in result.err for result in results] == [False, False, True, False]
    refused = cli("learn", "solution", "a1")
    assert (refused.code, "--spoil" in refused.err) == (2, True)
    assert cli("learn", "solution", "a1", "--spoil").out == COURSE.exercise("a1_slope").source.solved
    solve(folder, "a1_slope")
    cli("learn", "check", "a1")
    assert cli("learn", "solution", "a1_slope.py").out == COURSE.exercise("a1_slope").source.solved


def test_anywhere_and_in_any_order(folder: Path, cli: Cli) -> None:
    assert cli("learn", "start", "b2").out == "exercises/b2_tanh.py\n"
    assert "b2_tanh" in cli("learn").out
    assert cli("learn", "skip").out == "exercises/a1_slope.py\n"
    listed = cli("learn", "list").out
    assert ">[ ] a1_slope" in listed
    assert " [-] b2_tanh" in listed
    assert cli("learn", "start", "b2").out == "exercises/b2_tanh.py\n"
    solve(folder, "b2_tanh")
    assert cli("learn", "check").code == 0
    assert cli("learn", "list", "--json").code == 0
    assert json.loads(cli("learn", "--json").out)["next"] == "b3_exp"


def test_nothing_of_the_learners_is_lost(folder: Path, cli: Cli) -> None:
    mine = folder / "a1_slope.py"
    mine.write_text("mine = 1\n")
    result = cli("learn", "init")  # the rest of the course
    assert result.code == 0
    assert "12 that were there stay as they are" in result.err
    assert mine.read_text() == "mine = 1\n"
    assert len(list(folder.glob("*.py"))) == len(COURSE.names)
    refused = cli("learn", "reset", "a1")
    assert (refused.code, "--yes" in refused.err) == (2, True)
    assert mine.read_text() == "mine = 1\n"
    for number in (1, 2):
        result = cli("learn", "reset", "a1", "--yes")
        assert result.code == 0
        assert (folder / "copies" / f"a1_slope.{number}.py").read_text() == "mine = 1\n"
        assert mine.read_text() == COURSE.exercise("a1_slope").source.shipped
        mine.write_text("mine = 1\n")
    (folder / "a1_slope.py").unlink()
    assert "no such file" in cli("learn", "check", "a1").err
    cli("learn", "init")
    assert mine.exists()


def test_the_page_counts_the_exercises() -> None:
    page = (Path(__file__).parents[2] / "docs" / "learn.md").read_text(encoding="utf-8")
    counted = {letter: sum(name[0].upper() == letter for name in COURSE.names) for letter in COURSE.manifest.sections}
    assert {letter: int(number) for letter, number in re.findall(r"^\| ([A-Z]) \| (\d+) \|", page, re.M)} == counted
    assert f"writes {len(COURSE.names)} small Python files" in page


@pytest.mark.slow
def test_reset_asks_first(folder: Path) -> None:
    mine = folder / "a1_slope.py"
    mine.write_text("mine = 1\n")
    command = ("learn", "reset", "a1", "--dir", str(folder))
    for answer, kept in ((b"n\n", True), (b"y\n", False)):
        in_terminal(*command, reply=lambda part, answer=answer: answer if b"[y/N]" in part else b"")
        assert (mine.read_text() == "mine = 1\n") is kept


def test_the_folder_is_found(folder: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert cli("learn").code == 0
    monkeypatch.chdir("/")
    assert cli("learn", "--dir", folder).code == 0
    assert cli("learn", "list", "--dir", folder).code == 0


def test_progress_is_readable_and_by_name(folder: Path, cli: Cli) -> None:
    solve(folder, "a1_slope")
    cli("learn", "check", "a1")
    text = (folder / "progress.yaml").read_text()
    assert re.search(r"^solved:\n  a1_slope: '\d{4}-\d\d-\d\d'$", text, re.MULTILINE)
    # Exercises that a newer or older course does not have do no harm.
    raw = yaml.safe_load(text)
    raw["exercises"].append("z9_gone")
    raw["solved"]["z9_gone"] = raw["solved"]["a1_slope"]
    (folder / "progress.yaml").write_text(yaml.safe_dump(raw))
    assert "1 of 12 exercises solved" in cli("learn").out


OWN = {
    "course.yaml": """
title: Mine
sections: {A: First, B: Second}
exercises:
  - name: a1_double
    title: Twice
    teaches: doubling
    hints: [one, two, three]
    insight: That is all.
    check: {function: double, draw: one}
  - name: b1_scale
    title: A scaled vector
    teaches: product
    hints: [one, two, three]
    insight: That is all.
    check: {chain: scale.py, gradient: x}
""",
    "draws.py": "def one(draw):\n    return (draw.uniform(1, 2),)\n",
    "a1_double.py": '"""Double x."""\n\n\ndef double(x):\n    return 0  # not written yet\n    #: return 2 * x\n'
    "    #! That is the square.\n    #!: return x * x\n",
    "scale.py": 'own = chain("scale", {"x": "n", "k": ""}, step("y", lambda x, k: k * x, dx=lambda k, dy: k * dy, '
    "dk=lambda x, dy: (x * dy).sum()))\n",
}


def test_a_course_of_ones_own(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    course = tmp_path / "mine"
    course.mkdir()
    for name, text in OWN.items():
        (course / name).write_text(text)
    assert cli("learn", "init", "--course", "mine", "work").code == 0
    assert "Write dx" in (tmp_path / "work" / "b1_scale.py").read_text()
    for name, code, state, told in (
        ("a1_double", "2 * x", "solved", ""),
        ("a1_double", "x * x", "wrong", "That is the square."),
        ("b1_scale", "k * dy", "solved", ""),
        ("b1_scale", "-k * dy", "wrong", "sign"),
    ):
        path = tmp_path / "work" / f"{name}.py"
        text = path.read_text()
        path.write_text("\n".join([*text.split("\n    return ")[:1], f"    return {code}", ""]))
        verdict = json.loads(cli("learn", "check", name, "--dir", "work", "--json").out)
        assert verdict["state"] == state, verdict
        assert told in " ".join(verdict["says"])
    assert "holds the exercises of another course" in cli("learn", "init", "--course", BUNDLED, "work").err


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("course.yaml", "title: Mine", "titel: Mine", "course.yaml: title: Field required"),
        ("course.yaml", "hints: [one, two, three]", "hints: [one]", "exercises.0.hints"),
        (
            "course.yaml",
            "check: {function: double, draw: one}",
            "check: {function: double}",
            "needs either function and draw",
        ),
        ("course.yaml", "name: b1_scale", "name: a1_double", "two exercises have the same name: a1_double"),
        ("course.yaml", "name: b1_scale", "name: c1_scale", "unknown|no section C|section"),
        ("course.yaml", "gradient: x", "gradient: y", "y has no gradient"),
        ("a1_double.py", MARKER, "", "has 0 lines with"),
        ("a1_double.py", "#: return 2 * x", "", "needs a solution"),
    ],
)
def test_mistakes_in_a_course_are_told_in_one_line(
    file: str, old: str, new: str, told: str, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    course = tmp_path / "mine"
    course.mkdir()
    for name, text in OWN.items():
        (course / name).write_text(text.replace(old, new, 1) if name == file else text)
    result = cli("learn", "init", "--course", "mine", "work")
    assert result.code == 2
    assert re.search(told, result.err), result.err
    assert result.err.count("\n") == 1
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("learn", "there are no exercises here yet; run: makemore learn init"),
        ("learn check", "there are no exercises here yet"),
        ("learn --dir nowhere", "nowhere: there are no exercises here"),
        ("learn init --only X", "--only must be sections (A, B, C"),
        ("learn init --course nowhere", "nowhere: has no course.yaml"),
        ("learn init file", "can't be written"),
    ],
)
def test_mistakes_without_exercises(
    command: str, told: str, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    result = cli(*command.split())
    assert result.code == 2
    assert told in result.err, result.err
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("learn check z9", "must be an exercise, such as a1_slope or d3, got z9"),
        ("learn check d01", "exercise d01_logprobs was not laid out here"),
        ("learn check a1 --all", "--all: checks all exercises; omit NAME"),
        ("learn hint nothing", "must be an exercise"),
        ("learn check a1 --seed -1", "--seed"),
    ],
)
def test_mistakes(command: str, told: str, folder: Path, cli: Cli) -> None:
    result = cli(*command.split())
    assert result.code == 2
    assert told in result.err, result.err


def test_a_damaged_progress_file(folder: Path, cli: Cli) -> None:
    (folder / "progress.yaml").write_text("solved: [a1_slope]\n")
    result = cli("learn")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "progress.yaml: solved" in result.err


def test_a_source_with_several_mistakes_and_lines() -> None:
    lines = [
        "def f():",
        "    pass  # not written yet",
        "    #: a",
        "    #: b",
        "    #! One",
        "    #! two.",
        "    #!: c",
    ]
    source = parse("\n".join([*lines, "    #! Three.", "    #!: d", "rest", ""]), "x")
    assert source.solved == "def f():\n    a\n    b\nrest\n"
    assert [mistake.says for mistake in source.mistakes] == ["One two.", "Three."]
    assert source.written(source.mistakes[1].lines) == "def f():\n    d\nrest\n"
