"""Devices that this machine may not have."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from makemore_cli.config import load as configuration
from makemore_cli.config.schema import Config
from makemore_cli.errors import ParameterError
from makemore_cli.training.setup import resolve, resolve_device
from tests.conftest import Cli

TINY = configuration.find("tiny")


def load(*settings: str) -> Config:
    return configuration.load(TINY, settings)


@pytest.fixture
def apple(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)


@pytest.mark.usefixtures("apple")
def test_an_apple_gpu_trains_with_the_tensor_engine() -> None:
    assert resolve(load("train.device=mps")).train.engine == "tensor"
    assert resolve(load("train.device=mps", "train.engine=autograd")).train.engine == "autograd"
    assert resolve_device("auto") != "mps"
    with pytest.raises(ParameterError, match="kernel runs only on the CPU, not on mps"):
        resolve(load("train.device=mps", "train.engine=kernel"))
    with pytest.raises(ParameterError, match="mps does not support float64"):
        resolve(load("train.device=mps", "train.dtype=float64"))


@pytest.mark.usefixtures("apple")
@pytest.mark.parametrize(
    "command", ["gradcheck --config tiny --device mps", "train --config tiny --crosscheck 5 --device mps"]
)
def test_checks_need_float64(command: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli(*command.split())
    assert result.code == 2
    assert result.err == "makemore: --device mps does not support float64, which the check needs; choose cpu\n"
    assert not list(tmp_path.iterdir())


def test_without_an_apple_gpu(cli: Cli, tmp_path: Path) -> None:
    if torch.backends.mps.is_available():
        pytest.skip("there is one")
    result = cli("train", "--config", "tiny", "--device", "mps", "--out", tmp_path / "run")
    assert result.code == 2
    assert result.err == "makemore: --device mps is not available: PyTorch finds no Apple GPU; choose cpu\n"
    assert not (tmp_path / "run").exists()
