"""The wheel holds what an installed makemore needs, away from any checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_wheel_trains_samples_and_reports(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=60)
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    assert (installed / "makemore_cli" / "bundled" / "data" / "names.txt").is_file()

    environment = {**os.environ, "PYTHONPATH": str(installed)}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "makemore_cli", *arguments]
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, result.stderr
        return result.stdout

    where = [sys.executable, "-c", "import makemore_cli; print(makemore_cli.__file__)"]
    assert str(installed) in subprocess.run(where, cwd=tmp_path, env=environment, capture_output=True, text=True).stdout
    run("train", "--config", "tiny", "--steps", "20", "-q", "--engine", "tensor")  # which needs not be compiled
    assert len(run("sample", "runs/tiny", "-n", "3").splitlines()) == 3
    assert run("report", "runs/tiny") == "runs/tiny/report.html\n"
