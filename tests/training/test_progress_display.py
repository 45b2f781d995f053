"""What a training shows: the live view on a terminal, plain lines elsewhere, TensorBoard's event files."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from makemore_cli.training import progress_display as progress
from makemore_cli.training.observer import Progress
from makemore_cli.training.progress_display import Curve, LineDisplay, LiveDisplay
from tests.conftest import Cli
from tests.terminal import LINES, in_terminal

COLUMNS = 100


def screen_of(*arguments: str, until: Callable[[str], bool] | None = None, columns: int = COLUMNS) -> list[str]:
    """What stands on a terminal after a command, or after it was interrupted once the screen is as `until` says."""
    screen = pyte.Screen(columns, LINES)
    stream = pyte.ByteStream(screen)

    def reply(part: bytes) -> bytes:
        nonlocal until
        stream.feed(part)
        if until is None or not until("\n".join(screen.display)):
            return b""
        until = None
        return b"\x03"  # Ctrl-C, as typed

    in_terminal(*arguments, columns=columns, reply=reply, codes=(0, 128 + signal.SIGINT))
    return [line.rstrip() for line in screen.display]


def lines_of(screen: list[str], label: str) -> list[str]:
    return [line for line in screen if re.match(rf"{label} +\S", line)]


def test_the_live_view(tmp_path: Path) -> None:
    """Each row once: progress, the loss with its sparkline, evaluations, names."""
    every = ["--set", "train.eval_every=500", "--set", "train.sample_every=700"]
    screen = screen_of("train", "--config", "tiny", "--out", str(tmp_path / "run"), *every)
    (step,) = lines_of(screen, "step")
    assert re.fullmatch(r"step +2,000/2,000  ━+  [\d,]+ steps/s  0 s left", step)
    (loss,) = [line for line in lines_of(screen, "loss") if "lr" in line]
    assert re.fullmatch(r"loss +\d\.\d{4}  lr 0\.02  [▁▂▃▄▅▆▇█ ]+  \d\.\d{4} \d\.\d{4} \d\.\d{4}", loss)
    (val,) = [line for line in lines_of(screen, "val") if " at " in line]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert val.startswith(f"val    {summary['loss']['val']:.4f} at 2,000  ")
    assert re.search(r"\d\.\d{4} at 1,500  \d\.\d{4} at 1,000$", val)
    (names,) = lines_of(screen, "names")
    assert len(names.split()) == 11
    assert f"train loss  {summary['loss']['train']:.4f}" in screen


@pytest.mark.slow
@pytest.mark.parametrize("columns", [100, 44])
def test_ctrl_c_leaves_one_view(columns: int, tmp_path: Path) -> None:
    """What the terminal echoes does not make a second one of it, and the last line says how to go on."""
    command = ["train", "--config", "tiny", "--out", str(tmp_path / "run"), "--steps", "10000000"]
    screen = screen_of(*command, until=lambda shown: "loss  " in shown, columns=columns)
    assert len(lines_of(screen, "step")) == 1
    assert len([line for line in lines_of(screen, "loss") if "lr" in line]) == 1
    assert "makemore: stopped after step" in "".join(screen)
    assert "--resume" in "".join(screen)


@pytest.mark.slow
def test_warnings_stand_above_the_view(tmp_path: Path) -> None:
    screen = screen_of("train", "-c", "tiny", "--out", str(tmp_path / "run"), "--set", "optim.lr=300")
    at = {label: next(n for n, line in enumerate(screen) if line.startswith(label)) for label in ("warning:", "step")}
    assert at["warning:"] < at["step"]
    assert len(lines_of(screen, "step")) == 1


@pytest.mark.slow
def test_plain_lines_without_a_terminal(tmp_path: Path) -> None:
    every = ["--set", "train.eval_every=500", "--set", "train.sample_every=1000"]
    command = [sys.executable, "-m", "makemore_cli", "train", "-c", "tiny", "--out", str(tmp_path / "run"), *every]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "\x1b" not in result.stdout + result.stderr
    lines = result.stderr.splitlines()
    steps = [line for line in lines if re.fullmatch(r"step [\d,]+/2,000  loss \d\.\d{4}  lr [\d.]+  [\d,]+ .*", line)]
    assert steps[-1].startswith("step 2,000/2,000")
    evaluations = [line for line in lines if re.fullmatch(r"step [\d,]+: loss \d\.\d{4} train, \d\.\d{4} val", line)]
    assert [line.split(":")[0] for line in evaluations] == ["step 500", "step 1,000", "step 1,500"]
    assert len([line for line in lines if re.fullmatch(r"step 1,000:( [a-z]*)+", line)]) == 1


def at(step: int, steps: int, losses: np.ndarray) -> Progress:
    return Progress(step, steps, losses, float(losses.mean()), 0.1, 1000.0)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=40), st.integers(0, 2000))
def test_the_curve_is_the_mean_over_equal_parts(chunks: list[int], more: int) -> None:
    """However the steps come in."""
    steps = sum(chunks) + more
    losses = np.random.default_rng(steps).random(sum(chunks))
    curve, done = Curve(), 0
    for chunk in chunks:
        curve.add(at(done + chunk, steps, losses[done : done + chunk]))
        done += chunk
    parts = np.arange(done) * progress.SPARKLINE_PARTS // steps
    expected = [losses[parts == part].mean() for part in np.unique(parts)]
    np.testing.assert_allclose(curve.last(progress.SPARKLINE_PARTS), expected)
    np.testing.assert_allclose(curve.last(3), expected[-3:])
    line = curve.sparkline(progress.SPARKLINE_PARTS)
    assert len(line) == parts.max() + 1
    assert set(line) <= set(progress.BLOCKS + " ")
    assert curve.sparkline(5) == line[-5:]
    assert curve.sparkline(0) == ""


def test_a_sparkline_falls_as_the_loss_does() -> None:
    curve = Curve()
    curve.add(at(4000, 4000, np.linspace(3, 2, 4000)))
    line = curve.sparkline(40)
    heights = [progress.BLOCKS.index(block) for block in line]
    assert heights == sorted(heights, reverse=True)
    assert (heights[0], heights[-1]) == (7, 0)
    assert set(curve.sparkline(40, ascii_only=True)) <= set(progress.ASCII)
    flat = Curve()
    flat.add(at(400, 400, np.full(400, 2.5)))
    assert set(flat.sparkline(40)) == {progress.BLOCKS[0]}


def test_the_view_fits_narrow_terminals() -> None:
    for width in (20, 40, 60, 80, 200):
        console = Console(width=width, force_terminal=True, file=io.StringIO())
        view = LiveDisplay(console)
        view.progress = at(1234567, 20_000_000, np.full(10, 2.5))
        view.curve.add(view.progress)
        view.evaluated(1000, {"train": 2.0, "val": 2.1})
        view.sampled(1000, ["emma", "olivia"] * 20)
        rendered = console.render_lines(view.render(), console.options)
        assert len(rendered) >= 4
        if width >= 60:
            assert len(rendered) == 4


def test_the_present_speed_is_told(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    plain = LineDisplay()
    plain.progressed(Progress(500, 2000, np.full(500, 2.0), 2.0, 0.1, 250.0))
    plain.progressed(Progress(501, 2000, np.full(1, 2.0), 2.0, 0.1, 250.0))  # not due yet
    assert capfd.readouterr().err == "step 500/2,000  loss 2.0000  lr 0.1  250 steps/s  6 s left\n"


# TensorBoard


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """All that TensorBoard would show, by its own reader."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0})
    accumulator.Reload()
    tags = accumulator.Tags()["scalars"]
    return {tag: [(event.step, event.value) for event in accumulator.Scalars(tag)] for tag in tags}


TRAIN = ["train", "-c", "tiny", "--quiet", "--tensorboard", "--set", "train.eval_every=500"]
READS = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@READS
def test_event_files(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    result = cli(*TRAIN, "--out", tmp_path / "run")
    assert (result.code, result.err) == (0, "")
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    shown = scalars(tmp_path / "run")
    for split in ("train", "val"):
        expected = [(record["step"], record["eval"][split]) for record in records if "eval" in record]
        assert [step for step, _ in shown[f"loss/{split}"]] == [500, 1000, 1500, 2000]
        np.testing.assert_allclose(shown[f"loss/{split}"], expected, rtol=1e-6)
    ratios = [(r["step"], r["diagnose"]["update_data"]["W1"]) for r in records if "diagnose" in r]
    np.testing.assert_allclose(shown["update_data/W1"], ratios, rtol=1e-6)
    losses = np.array([record["loss"] for record in records if "loss" in record])
    before = 0
    for step, value in shown["loss/batch"]:
        assert value == pytest.approx(losses[before:step].mean(), rel=1e-6)
        before = step
    assert before == 2000
    assert dict(shown["learning_rate"])[2000] == pytest.approx(0.02)
    assert shown["steps_per_second"]


@READS
def test_event_files_of_runs_that_go_on_and_are_overwritten(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    run = tmp_path / "run"
    assert cli(*TRAIN, "--out", run).code == 0
    assert cli("train", "--resume", run, "--quiet", "--tensorboard", "--steps", 2500).code == 0
    assert [step for step, _ in scalars(run)["loss/val"]] == [500, 1000, 1500, 2000, 2000, 2500]
    assert cli(*TRAIN, "--out", run, "--overwrite", "--steps", 600).code == 0
    assert [step for step, _ in scalars(run)["loss/val"]] == [500, 600]


def test_tensorboard_is_missing(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [
        name for name in sys.modules if name.split(".")[0] == "tensorboard" or name == "torch.utils.tensorboard"
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    result = cli(*TRAIN, "--out", tmp_path / "run")
    assert (result.code, result.out) == (2, "")
    assert result.err == "makemore: TensorBoard is not installed; run: pip install tensorboard (--tensorboard)\n"
    assert not (tmp_path / "run").exists()


def test_event_files_that_cannot_be_written(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "tensorboard").touch()
    (tmp_path / "run" / "metrics.jsonl").touch()
    result = cli(*TRAIN, "--out", tmp_path / "run")
    assert (result.code, result.out) == (2, "")
    assert "tensorboard: can't write" in result.err
