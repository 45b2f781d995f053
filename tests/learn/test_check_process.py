"""A learner's file can do anything: it costs only that check."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from makemore_cli.errors import MakemoreError
from makemore_cli.learn.check_process import Checker
from makemore_cli.learn.course import BUNDLED, load_course
from makemore_cli.learn.exercise import MARKER

EXERCISE = load_course().exercise("a2_parabola")


@pytest.fixture(scope="module")
def checker() -> Checker:
    return Checker(BUNDLED)


def written(folder: Path, code: str) -> Path:
    path = folder / EXERCISE.file_name
    path.write_text(EXERCISE.source.written((code,)))
    return path


@pytest.mark.every(3)
@pytest.mark.parametrize(
    ("code", "state", "told"),
    [
        ("    return 6 * x - 4", "solved", ""),
        ("    return 6 * x", "wrong", "The derivative of -4x is -4."),
        ("    import os; os._exit(0)", "failed", "ended the process with exit code 0"),
        ("    import os; os.abort()", "failed", "a2_parabola.py, line 18: it ended the process with exit code -6"),
        ("    return bytearray(1 << 40)", "failed", "MemoryError"),
        ("    return ' ' * (20 << 30)", "failed", "MemoryError"),
        ("    return input()", "failed", "EOFError"),
        ("    import sys; sys.exit('enough')", "failed", "SystemExit: enough"),
        ("    return derivative(x)", "failed", "RecursionError"),
        ("    return open('/nowhere')", "failed", "FileNotFoundError"),
    ],
)
def test_it_costs_only_that_check(code: str, state: str, told: str, checker: Checker, tmp_path: Path) -> None:
    verdict = checker.check(EXERCISE.name, written(tmp_path, code))
    assert verdict.state == state, verdict
    assert told in " ".join(verdict.says)
    assert "check_process" not in " ".join(verdict.says)


def test_an_endless_loop_is_stopped(checker: Checker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exercise = EXERCISE.entry.model_copy(update={"check": EXERCISE.entry.check.model_copy(update={"seconds": 1.0})})
    entries = [exercise if entry.name == exercise.name else entry for entry in checker._course.manifest.exercises]
    manifest = checker._course.manifest.model_copy(update={"exercises": tuple(entries)})
    monkeypatch.setattr(checker, "_course", type(checker._course)(BUNDLED, manifest))
    began = time.monotonic()
    verdict = checker.check(EXERCISE.name, written(tmp_path, "    print('before')\n    while True:\n        x += 1"))
    assert verdict.says[0].startswith("a2_parabola.py, line 20: still running after 1 seconds")
    assert verdict.printed == ("before",)
    assert time.monotonic() - began < 30


def test_what_it_prints_is_shown_and_made_printable(checker: Checker, tmp_path: Path) -> None:
    code = "    print('x is', x); print('\\x1b[31m'); import sys; print('err', file=sys.stderr); return 6 * x - 4"
    verdict = checker.check(EXERCISE.name, written(tmp_path, code))
    assert verdict.ok
    assert verdict.printed[0].startswith("x is ")
    assert "err" in verdict.printed
    assert "\x1b" not in "".join(verdict.printed)
    code = "    for i in range(10_000): print('line', i)\n    return 6 * x - 4"
    verdict = checker.check(EXERCISE.name, written(tmp_path, code))
    assert verdict.ok
    assert len(verdict.printed) == 21
    assert verdict.printed[-1] == "…"


def test_the_shipped_line_decides_and_nothing_runs(checker: Checker, tmp_path: Path) -> None:
    verdict = checker.check(EXERCISE.name, written(tmp_path, f"    import os; os._exit(1)\n    return 0.0  {MARKER}"))
    assert verdict.state == "not written"


def test_a_comment_that_was_left_does_no_harm(checker: Checker, tmp_path: Path) -> None:
    assert checker.check(EXERCISE.name, written(tmp_path, f"    return 6 * x - 4  {MARKER}")).ok


def test_a_seed_repeats_the_arguments(checker: Checker, tmp_path: Path) -> None:
    path = written(tmp_path, "    return 6 * x")
    same = [checker.check(EXERCISE.name, path, seed=5).says for _ in range(2)]
    assert same[0] == same[1] != checker.check(EXERCISE.name, path, seed=6).says
    assert checker.check(EXERCISE.name, path).says != checker.check(EXERCISE.name, path).says


def test_a_file_that_is_no_text(checker: Checker, tmp_path: Path) -> None:
    path = tmp_path / EXERCISE.file_name
    with pytest.raises(MakemoreError, match="no such file"):
        checker.check(EXERCISE.name, path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(MakemoreError, match="is not UTF-8"):
        checker.check(EXERCISE.name, path)
    path.write_bytes(b"\xef\xbb\xbf" + EXERCISE.source.solved.replace("\n", "\r\n").encode())
    assert checker.check(EXERCISE.name, path).ok
