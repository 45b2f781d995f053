"""Shell completion, as a shell asks for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from makemore_cli.cli import completion
from makemore_cli.config.keys import settable


def complete(line: str, folder: Path) -> list[str]:
    """What bash is offered after the last word of a line."""
    words = line.split(" ")
    environment = os.environ | {
        "_MAKEMORE_COMPLETE": "complete_bash",
        "COMP_WORDS": "\n".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    code = "import sys; sys.argv = ['makemore']; from makemore_cli.__main__ import main; sys.exit(main())"
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    assert not found.stderr
    return found.stdout.split()


@pytest.mark.slow
def test_bash_is_offered_values(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mine").symlink_to(trained, target_is_directory=True)
    (tmp_path / "fine.yaml").touch()
    assert complete("makemore train --config f", tmp_path) == ["fast", "fine.yaml"]
    assert complete("makemore train --engine ", tmp_path) == ["auto", "kernel", "tensor", "autograd"]
    assert complete("makemore train --set model.h", tmp_path) == ["model.hidden_size="]
    assert complete("makemore sample ", tmp_path) == ["runs/mine"]
    assert complete("makemore sweep --space ", tmp_path) == ["best", "fast", "fine.yaml", "runs/"]
    assert {"train", "sample", "gradcheck"} <= set(complete("makemore ", tmp_path))


def test_configurations_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sub").mkdir()
    for name in ("mine.yaml", "mine.txt", ".hidden.yaml", "sub/other.yml"):
        Path(name).touch()
    assert completion.configurations("") == ["best", "fast", "lecture", "quickstart", "tiny", "mine.yaml", "sub/"]
    assert completion.configurations("mi") == ["mine.yaml"]
    assert completion.configurations("sub/") == ["sub/other.yml"]
    assert completion.configurations(".") == [".hidden.yaml"]
    assert completion.configurations(f"{tmp_path}/m") == [f"{tmp_path}/mine.yaml"]
    assert completion.configurations("nowhere/") == []
    assert completion.spaces("be") == ["best"]


def test_settings() -> None:
    assert completion.settings("optim.be") == ["optim.beta1=", "optim.beta2="]
    assert completion.settings("optim.schedule.name=c") == ["optim.schedule.name=cosine"]
    assert completion.settings("model.first_bias=") == ["model.first_bias=true", "model.first_bias=false"]
    assert completion.settings("train.steps=1") == []
    assert completion.settings("nothing=") == []
    assert [key.removesuffix("=") for key in completion.settings("")] == list(settable())


def test_runs(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert completion.runs("") == []
    Path("runs").mkdir()
    Path("runs/empty").mkdir()
    Path("runs/mine").symlink_to(trained, target_is_directory=True)
    assert completion.runs("") == completion.runs("runs/m") == ["runs/mine"]
    assert completion.runs("runs/mine/b") == ["runs/mine/best.safetensors"]
