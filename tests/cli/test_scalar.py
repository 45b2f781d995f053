import json
from pathlib import Path

import pytest

from tests.conftest import Cli


def test_the_lectures_four_examples(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "training.svg"
    result = cli("scalar", "train", "--plot", path)
    lines = result.out.splitlines()
    assert lines[0] == "41 parameters, 4 examples"
    losses = [float(line.split()[1]) for line in lines[2:23]]
    assert losses[0] > 5 > 0.1 > losses[20]
    assert lines[-1].split() == ["targets", "1.0000", "-1.0000", "-1.0000", "1.0000"]
    assert "Predictions and targets" in path.read_text()
    assert cli("scalar", "train").out == result.out  # the same seed


def test_its_lessons(cli: Cli) -> None:
    forgotten = json.loads(cli("scalar", "train", "--no-zero-grad", "--json").out)
    usual = json.loads(cli("scalar", "train", "--json").out)
    assert forgotten["steps"][-1]["loss"] < usual["steps"][-1]["loss"] / 1000
    too_large = json.loads(cli("scalar", "train", "--lr", 1, "--json").out)
    assert too_large["steps"][-1]["loss"] > 7
    assert len(json.loads(cli("scalar", "train", "--lr", 0.01, "--steps", 0, "--json").out)["steps"]) == 1


def test_moons(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "moons.png"
    result = cli(
        "scalar", "train", "--moons", "--points", 20, "--hidden", "4", "--steps", 5, "--batch-size", 8, "--plot", path
    )
    assert result.code == 0
    assert result.out.startswith("17 parameters, 20 examples\n")
    assert "░" in result.out
    assert "accuracy over all points: " in result.out
    assert path.read_bytes().startswith(b"\x89PNG")
    assert (
        cli("scalar", "train", "--moons", "--points", 9, "--hidden", "", "--steps", 1, "--loss", "logistic").code == 0
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--points", 9), "--points: applies to --moons only"),
        (("--moons", "--points", 0), "--points must be from 2 to 10,000, got 0"),
        (("--moons", "--points", 1), "--points must be from 2 to 10,000, got 1"),
        (("--batch-size", 2), "--batch-size applies to moons only: the 4 examples are one batch"),
        (("--hidden", "4,x"), "--hidden must be whole numbers separated by commas, such as 16,16, got 4,x"),
        (("--hidden", "0"), "--hidden must be numbers from 1"),
        (("--loss", "l1"), "--loss must be one of mse, logistic, hinge, got l1"),
        (("--activation", "gelu"), "--activation must be one of relu"),
        (("--lr", "nan"), "--lr must be at least 0 and finite, got nan"),
        (("--lr", 1e300, "--activation", "relu", "--loss", "hinge"), "try a smaller learning rate (--lr)"),
        (("--plot", "x.pdf"), "--plot must be a .png or .svg file, got x.pdf"),
    ],
)
def test_mistakes_are_one_line(cli: Cli, options: tuple[object, ...], told: str) -> None:
    result = cli("scalar", "train", *options)
    assert result.code == 2
    assert told in result.err
    assert result.err.count("\n") == 1
