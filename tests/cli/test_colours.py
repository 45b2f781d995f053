"""Colours and widths, on a real terminal and without one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.terminal import in_terminal

ESCAPE = "\x1b["
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
COMMANDS = (["--help"], ["train", "--help"], ["explain", "bndiff"], ["demo"], ["derivative", "x**2", "--at", "3"])


def piped(*arguments: str, **environment: str) -> str:
    """What a command prints into a pipe."""
    command = [sys.executable, "-m", "makemore_cli", *arguments]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
@pytest.mark.parametrize("arguments", COMMANDS)
def test_forty_columns(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prose and tables fit; only a line of code may be longer, since it is not broken."""
    monkeypatch.chdir(tmp_path)
    lines = COLOUR.sub("", in_terminal(*arguments, columns=40)).splitlines()
    assert lines
    for line in lines:
        assert len(line) <= 40 or " = " in line or arguments[0] == "derivative", line


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--help"], ["runs"], ["gradcheck", "--chain", "neuron"]])
def test_no_colour_where_it_is_not_wanted(
    arguments: list[str], trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, "runs/tiny")
    assert not re.search(r"\x1b\[[0-9;]*3\d", in_terminal(*arguments, NO_COLOR="1"))
    assert ESCAPE not in in_terminal(*arguments, TERM="dumb")
    assert ESCAPE not in piped(*arguments)
    assert ESCAPE in in_terminal(*arguments)
    assert ESCAPE in piped(*arguments, FORCE_COLOR="1")
