"""The runs in a folder, and what two of them differ in."""

from __future__ import annotations

import io
import json
import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from makemore_cli.config import load as configuration
from makemore_cli.errors import StoppedError
from makemore_cli.runs.comparison import find_runs, run_info, show_runs
from makemore_cli.training.timetable import Event, Timetable
from makemore_cli.training.trainer import train
from tests.conftest import Cli


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, trained: Path) -> Path:
    """A folder with three runs, one of them unfinished, and what is no run."""
    folder = tmp_path_factory.mktemp("many")
    shutil.copytree(trained, folder / "tiny")
    configs = {
        "short": ["train.steps=300", "optim.lr=0.1"],
        "deeper/stopped": ["train.steps=900", "train.eval_every=100", "model.hidden_size=16"],
    }
    for name, settings in configs.items():
        train(configuration.load(configuration.find("tiny"), settings), folder / name)
    stopped = folder / "deeper" / "stopped"
    lines = (stopped / "metrics.jsonl").read_text().splitlines(keepends=True)
    last = next(at for at, line in enumerate(lines) if '"step": 432, "loss"' in line)
    (stopped / "metrics.jsonl").write_text("".join(lines[: last + 1]) + '{"step": 433, "lo')
    (stopped / "summary.json").unlink()
    (folder / "notes").mkdir()
    (folder / "notes" / "config.yaml").write_text("model: {}\n")
    (folder / "link").symlink_to(folder / "tiny")
    return folder


def test_runs_are_found(runs: Path) -> None:
    found = {str(info.run.relative_to(runs)): info for info in find_runs(runs)[0]}
    assert list(found) == ["deeper/stopped", "short", "tiny"]
    for name in ("short", "tiny"):
        summary = json.loads((runs / name / "summary.json").read_text())
        info = found[name]
        assert (info.loss, info.step, info.parameters) == (summary["loss"], summary["steps"], summary["parameters"])
        assert info.finished
        assert abs((info.date - datetime.now(UTC)).total_seconds()) < 600
        assert info.environment["python"]
    stopped = found["deeper/stopped"]
    assert (stopped.step, stopped.finished, stopped.parameters) == (432, False, None)
    evaluations = [json.loads(line) for line in (runs / "deeper/stopped/metrics.jsonl").read_text().splitlines()[:-1]]
    assert stopped.loss == next(r["eval"] for r in reversed(evaluations) if "eval" in r)


ODD = {
    "seconds": ["NaN", "Infinity", "1e300", '"long"', "-1"],
    "steps": ["Infinity", "NaN", "1.5", "-3"],
    "parameters": ["1e999", "null"],
    "loss": ['{"val": NaN}', f'{{"val": {"9" * 400}}}', "3", '{"train": "x"}', "[]"],
    "date": ['"0001-01-01"', '"9999-12-31T23:59:59-23:00"', '"yesterday"', "{}"],
    "samples": ["null"],
    "environment": ["[]", '{"python": 3}'],
}


@pytest.mark.every(3)
@pytest.mark.parametrize(
    "damage", ["", "[]", "\x00", '"text"', *(f'"{key}": {value}' for key, values in ODD.items() for value in values)]
)
def test_a_damaged_summary_is_as_none(damage: str, runs: Path, tmp_path: Path, cli: Cli) -> None:
    shutil.copytree(runs / "short", tmp_path / "run")
    file = tmp_path / "run" / "summary.json"
    key, colon, _ = damage.partition(":")
    if colon:
        whole = json.loads(file.read_text())
        whole[json.loads(key)] = "@"
        damage = json.dumps(whole).replace(f'{key}: "@"', damage)
    file.write_text(damage)
    info = run_info(tmp_path / "run")
    shown = cli("runs", "--dir", tmp_path, "--json")
    json.loads(shown.out, parse_constant=lambda name: pytest.fail(name))
    assert cli("runs", "--dir", tmp_path, "--sort", "val").code == 0
    assert (info.step, info.parameters) == (300, None)
    assert info.loss == run_info(runs / "short").loss


@pytest.mark.parametrize(
    ("column", "order"),
    [
        ("name", ["deeper/stopped", "short", "tiny"]),
        ("steps", ["short", "deeper/stopped", "tiny"]),
        ("test", ["tiny", "short", "deeper/stopped"]),  # which has none
        ("time", ["short", "tiny", "deeper/stopped"]),
    ],
)
def test_sorting(column: str, order: list[str], runs: Path, cli: Cli) -> None:
    told = json.loads(cli("runs", "--dir", runs, "--sort", column, "--json").out)
    names = [str(Path(info["run"]).relative_to(runs)) for info in told]
    assert names == order
    by_loss = json.loads(cli("runs", "--dir", runs, "--sort", "val", "--json").out)
    losses = [info["loss"]["val"] for info in by_loss]
    assert losses == sorted(losses)
    dates = [info["date"] for info in json.loads(cli("runs", "--dir", runs, "--sort", "date", "--json").out)]
    assert dates == sorted(dates, reverse=True)


def test_the_table(runs: Path, cli: Cli) -> None:
    """Through a pipe each run has one line, whatever its name."""
    result = cli("runs", "--dir", runs)
    assert result.code == 0
    line = next(line for line in result.out.splitlines() if "/stopped" in line)
    assert re.search(r"bundled +T3 E4 H16 +32 +0\.2 +432 of 900 +\d\.\d{4} +\d\.\d{4} +– +– +\d{4}-\d\d-\d\d", line)
    assert len([line for line in result.out.splitlines() if "bundled" in line]) == 3


def test_mistakes(runs: Path, cli: Cli, tmp_path: Path) -> None:
    for arguments, message in (
        (["--dir", tmp_path / "none"], "is not a folder; give the folder that holds your runs (--dir)"),
        (["--dir", runs, "--sort", "loss"], "--sort must be one of name, data, train"),
        (["diff", runs / "tiny", runs / "notes"], "holds no run"),
    ):
        result = cli("runs", *arguments)
        assert (result.code, result.out) == (2, "")
        assert message in result.err
    empty = cli("runs", "--dir", tmp_path)
    assert (empty.code, empty.out) == (0, "")
    assert "contains no runs" in empty.err
    (tmp_path / "config.yaml").write_text("model: 3")
    (tmp_path / "metrics.jsonl").touch()
    broken = cli("runs", "--dir", tmp_path)
    assert (broken.code, broken.out) == (0, "")
    assert "skipped: " in broken.err
    assert "config.yaml: model: should be a section" in broken.err
    alone = cli("runs", "diff", tmp_path, tmp_path)
    assert (alone.code, alone.out) == (2, "")


def test_one_damaged_run_does_not_hide_the_others(runs: Path, cli: Cli, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        shutil.copytree(runs / "short", tmp_path / name)
    (tmp_path / "b" / "config.yaml").write_text("x: [")
    (tmp_path / "c" / "summary.json").unlink()
    (tmp_path / "c" / "metrics.jsonl").unlink()
    shown = cli("runs", "--dir", tmp_path)
    assert shown.code == 0
    assert len([line for line in shown.out.splitlines() if "bundled" in line]) == 1
    assert len(shown.err.splitlines()) == 2


def test_the_difference(runs: Path, cli: Cli) -> None:
    told = json.loads(cli("runs", "diff", runs / "tiny", runs / "short", "--json").out)
    assert told["settings"] == {"optim.lr": [0.2, 0.1], "train.steps": [2000, 300]}
    for split, (before, after) in told["loss"].items():
        assert before == run_info(runs / "tiny").loss[split]
        assert after == run_info(runs / "short").loss[split]
    shown = cli("runs", "diff", runs / "tiny", runs / "short").out
    assert re.search(r"optim\.lr +0\.2 +0\.1", shown)
    before, after = told["loss"]["val"]
    assert re.search(rf"val loss +{before:.4f} +{after:.4f} +\+{after - before:.4f}", shown)
    same = cli("runs", "diff", runs / "tiny", runs / "tiny").out
    assert "The settings are the same." in same
    unfinished = cli("runs", "diff", runs / "tiny", runs / "deeper" / "stopped")
    assert unfinished.code == 0
    assert "test loss" not in unfinished.out


def test_a_run_that_is_stopped_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped for real: after its second chunk."""
    due = Timetable.due

    def stop(timetable: Timetable, step: int) -> set[Event]:
        if step >= 20:
            raise StoppedError("enough")
        return due(timetable, step)

    monkeypatch.setattr(Timetable, "due", stop)
    with pytest.raises(StoppedError):
        train(configuration.load(configuration.find("tiny")), tmp_path / "run")
    info = run_info(tmp_path / "run")
    assert 0 <= info.step < 2000
    assert info.loss == {}


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_a_narrow_terminal_has_fewer_columns_but_whole_ones(width: int, runs: Path) -> None:
    # Names as short as users' are.
    found = [replace(info, run=info.run.relative_to(runs)) for info in find_runs(runs)[0]]
    console = Console(width=width, file=io.StringIO())
    with console.capture() as captured:
        show_runs(found, console)
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= width
    head, rows = lines[1].split(), [line for line in lines if re.search(r"T3 E4|T3 E4 H16|^ (tiny|short|deeper)", line)]
    assert len(rows) == 3
    assert head[0] == "run"
    assert {"train", "val", "steps"} <= set(head)
    assert ("date" in head) == (width >= 100)
    for info, row in zip(found, rows, strict=True):
        assert str(info.run) in row
        for split in ("train", "val"):
            assert f"{info.loss[split]:.4f}" in row
