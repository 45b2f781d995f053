"""What a run has logged, read back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from makemore_cli.errors import MakemoreError
from makemore_cli.runs import metrics as log
from makemore_cli.runs.metrics import Metrics, load_ending, load_metrics, positive

NO_RECORD = "is not a training record"


def step(number: int, loss: float = 2.5, lr: float = 0.1) -> str:
    return json.dumps({"step": number, "loss": loss, "lr": lr}) + "\n"


def write(folder: Path, text: str) -> Path:
    (folder / "metrics.jsonl").write_text(text)
    return folder


def test_it_is_what_was_written(trained: Path) -> None:
    metrics = load_metrics(trained)
    records = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert metrics.loss.tolist() == [record["loss"] for record in records if "loss" in record]
    assert metrics.lr.tolist() == [record["lr"] for record in records if "loss" in record]
    assert [step for step, _ in metrics.evaluations] == [2000]
    assert metrics.evaluations[0][1].keys() == {"train", "val", "test"}
    assert [step for step, _ in metrics.diagnoses] == list(range(100, 2001, 100))


def test_many_lines_are_read_part_by_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "CHUNK_LINES", 7)
    evaluation = json.dumps({"step": 25, "eval": {"val": 2.0}}) + "\n"
    run = write(tmp_path, "".join(map(step, range(1, 26))) + evaluation + "".join(map(step, range(26, 51))))
    metrics = load_metrics(run)
    assert metrics.steps == 50
    assert metrics.evaluations == [(25, {"val": 2.0})]


@pytest.mark.parametrize(
    "torn", ['{"step": 3, "lo', '{"step": 3, "loss": 2.5, "lr": 0.1}', "", '{"step": 3, "loss": 2']
)
def test_a_last_line_that_is_being_written_is_left_out(torn: str, tmp_path: Path) -> None:
    assert load_metrics(write(tmp_path, step(1) + step(2) + torn)).steps == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (step(1) + "rubbish\n" + step(2), "line 2: is not a training record"),
        (step(1) + "[]\n", "line 2: is not a training record"),
        (step(1) + "1,2\n", "line 2: is not a training record"),
        (step(1) + '{"step": "2", "loss": 1.0, "lr": 1.0}\n', "line 2: is not a training record"),
        (step(1) + '{"step": 2, "loss": "low", "lr": 0.1}\n', NO_RECORD),
        (step(1) + '{"step": 2, "loss": 2.5}\n', NO_RECORD),
        (step(1) + '{"step": 2, "eval": 3}\n', NO_RECORD),
        (step(1) + '{"step": 2, "loss": [1.0, 2.0], "lr": 0.1}\n', NO_RECORD),
        (step(1) + f'{{"step": 2, "loss": {"9" * 400}, "lr": 0.1}}\n', NO_RECORD),
        (step(1) + "\ufeff" + step(2), NO_RECORD),
        (step(1) + '{"step": 1, "diagnose": {"grad_data": [1]}}\n', NO_RECORD),
        (
            step(1) + '{"step": 1, "diagnose": {"grad_data": {"C": null}, "update_data": null}}\n',
            NO_RECORD,
        ),
        (step(1) + step(3), "steps are missing, repeated or out of order"),
        (step(2), "steps are missing, repeated or out of order"),
        (step(1) + step(1), "steps are missing, repeated or out of order"),
    ],
)
def test_a_damaged_file_is_told(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(MakemoreError, match=message):
        load_metrics(write(tmp_path, text))


def test_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(MakemoreError, match="holds no metrics"):
        load_metrics(tmp_path / "nowhere")


@given(st.lists(st.floats(0, 10), min_size=1, max_size=5000), st.integers(1, 1000))
def test_the_smoothed_loss_is_the_mean_of_as_many_batches(losses: list[float], most: int) -> None:
    metrics = Metrics(np.array(losses), np.zeros(len(losses)), [], [])
    steps, smoothed = metrics.smoothed(most)
    length = max(1, min(most, len(losses) // 100))
    assert len(smoothed) == len(losses) // length
    for middle, mean in zip(steps, smoothed, strict=True):
        first = round(middle - (length - 1) / 2)  # counted from 1
        assert mean == pytest.approx(np.mean(losses[first - 1 : first - 1 + length]))


def test_the_lectures_smoothing() -> None:
    """`torch.tensor(lossi).view(-1, 1000).mean(1)`"""
    losses = np.random.default_rng(0).random(200_000)
    steps, smoothed = Metrics(losses, losses, [], []).smoothed()
    np.testing.assert_allclose(smoothed, losses.reshape(-1, 1000).mean(1))
    assert steps[:2].tolist() == [500.5, 1500.5]


def test_what_has_no_logarithm_is_not_drawn() -> None:
    assert positive(0.5) == 0.5
    assert all(np.isnan(positive(value)) for value in (None, 0, -1.0, "1", float("inf"), float("nan")))


@pytest.mark.parametrize("torn", ["", '{"step": 99, "loss": 1', '{"step": 5001, "eval": {"val": 9', "rubbish"])
def test_the_end_of_a_log(torn: str, tmp_path: Path) -> None:
    """However far back the last evaluation is."""
    evaluation = '{"step": 100, "eval": {"train": 2.0, "val": 2.1}}\n'
    text = "".join(map(step, range(1, 101))) + evaluation + "".join(map(step, range(101, 5001)))
    ending = load_ending(write(tmp_path, text + torn))
    assert (ending.step, ending.loss) == (5000, {"train": 2.0, "val": 2.1})
    assert load_ending(write(tmp_path, torn)).loss == {}
    assert load_ending(write(tmp_path, torn)).step == 0


def test_the_end_of_a_damaged_log(tmp_path: Path) -> None:
    for line in ('{"step": 1, "eval": 3}\n', '{"step": 1, "eval": {"val": "x"}}\n', '{"step": 1, "eval": [1]}\n'):
        with pytest.raises(MakemoreError, match="its last lines are not training records"):
            load_ending(write(tmp_path, step(1) + line))
    with pytest.raises(MakemoreError, match="can't be read"):
        load_ending(tmp_path / "nowhere")
