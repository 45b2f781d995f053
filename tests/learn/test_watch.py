"""`makemore learn watch` in a real terminal, by a scripted learner; and without a terminal."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from makemore_cli.learn.course import load_course
from makemore_cli.learn.workspace import new_workspace, open_workspace
from tests.terminal import in_terminal

COURSE = load_course()


class Learner:
    """Saves one solution after the other, each when the verdict on the one before is on the screen."""

    def __init__(self, folder: Path, names: list[str], last: bytes = b"q") -> None:
        self.folder, self.names, self.last = folder, names, last
        self.shown, self.saved, self.seconds = "", 0.0, []

    def __call__(self, part: bytes) -> bytes:
        self.shown += part.decode(errors="replace")
        if not self.saved:
            if "q quit" not in self.shown:
                return b""
        elif not re.search(rf"{self.names[0]}: solved.*q quit", self.shown, re.DOTALL):
            return b""
        else:
            self.seconds.append(time.monotonic() - self.saved)
            self.names.pop(0)
        if not self.names:
            return self.last
        self.shown = ""
        (self.folder / f"{self.names[0]}.py").write_text(COURSE.exercise(self.names[0]).source.solved)
        self.saved = time.monotonic()
        return b""


@pytest.mark.slow
@pytest.mark.parametrize("columns", [80, 40])
def test_a_learner_goes_through_two_sections(tmp_path: Path, columns: int) -> None:
    folder = tmp_path / "exercises"
    names = [name for name in COURSE.names if name[0] in "ab"]
    new_workspace(folder, None).lay_out(names)
    learner = Learner(folder, list(names))
    shown = in_terminal("learn", "watch", "--dir", str(folder), columns=columns, reply=learner)
    assert learner.names == []
    assert set(open_workspace(folder).progress.solved) == set(names)
    assert "12 of 12 exercises solved" in shown
    assert "All are solved" in shown
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert max(len(line) for line in plain.replace("\r", "").split("\n") if "tmp" not in line) <= columns
    first, *later = learner.seconds
    print(f"from saving to the verdict: {max(later):.2f} s at most; at first, as PyTorch is imported, {first:.2f} s")


@pytest.mark.slow
def test_keys(tmp_path: Path) -> None:
    """A hint, skipping, the list, running again; and the terminal is as it was."""
    folder = tmp_path / "exercises"
    new_workspace(folder, None).lay_out(["a1_slope", "a2_parabola"])
    keys, seen = [b"h", b"h", b"s", b"l", b"r", b"xq"], []

    def reply(part: bytes) -> bytes:
        seen.append(part.decode(errors="replace"))
        if keys and ("q quit" in seen[-1] or "hint" in seen[-1]):
            return keys.pop(0)
        return b"" if keys else b"q"

    shown = in_terminal("learn", "watch", "--dir", str(folder), reply=reply)
    assert "hint 1 of 3" in shown
    assert "hint 2 of 3" in shown
    assert "a2_parabola: not written yet" in shown
    assert "[-] a1_slope" in shown
    assert open_workspace(folder).progress.skipped == ["a1_slope"]


@pytest.mark.slow
def test_without_a_terminal_it_prints_lines_and_ends_by_a_signal(tmp_path: Path) -> None:
    folder = tmp_path / "exercises"
    new_workspace(folder, None).lay_out(["a1_slope"])
    command = [sys.executable, "-m", "makemore_cli", "learn", "watch", "--dir", str(folder)]
    environment = {**os.environ, "WATCHFILES_FORCE_POLLING": "true"}  # as where the file system sends no events
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if "not written yet" in line:
                    time.sleep(1)  # polling needs a moment to see the file as it is
                    (folder / "a1_slope.py").write_text(COURSE.exercise("a1_slope").source.solved)
                if "a1_slope: solved" in line:
                    break
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "\x1b" not in out
    assert "Traceback" not in err
