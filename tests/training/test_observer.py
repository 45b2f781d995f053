"""Observers: which events they get, how they stop a run, and when things are due."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from makemore_cli.config import load as configuration
from makemore_cli.config.schema import TrainConfig
from makemore_cli.errors import StoppedError
from makemore_cli.runs.checkpoint import load_checkpoint
from makemore_cli.training.observer import Observer, Observers, Progress
from makemore_cli.training.pace import LONGEST_CHUNK_STEPS, Pace
from makemore_cli.training.timetable import FIRST_LEARNING_CHECK_STEPS, Timetable
from makemore_cli.training.trainer import train


class Record(Observer):
    """Keeps every event."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.events: list[tuple[str, int]] = []
        self.stop_at = stop_at
        self.losses: list[float] = []
        self.closed = 0

    def started(self, folder: Path, step: int) -> None:
        assert (folder / "config.yaml").is_file()
        self.events.append(("started", step))

    def progressed(self, progress: Progress) -> None:
        self.losses += progress.losses.tolist()
        assert len(self.losses) == progress.step
        self.events.append(("progressed", progress.step))

    def evaluated(self, step: int, loss: Mapping[str, float]) -> None:
        assert set(loss) == {"train", "val"}
        self.events.append(("evaluated", step))

    def diagnosed(self, step: int, statistics: Mapping[str, Any]) -> None:
        self.events.append(("diagnosed", step))

    def sampled(self, step: int, names: Sequence[str]) -> None:
        assert len(names) == 10
        self.events.append(("sampled", step))

    def finished(self, step: int, loss: Mapping[str, float]) -> None:
        assert set(loss) == {"train", "val", "test"}
        self.events.append(("finished", step))

    def should_stop(self) -> bool:
        return self.stop_at is not None and ("evaluated", self.stop_at) in self.events

    def close(self) -> None:
        self.closed += 1


def tiny(*settings: str) -> Any:
    return configuration.load(configuration.find("tiny"), settings)


EVERY = ("train.steps=100", "train.eval_every=25", "train.sample_every=50", "train.diagnose_every=40")


def test_every_event_is_told_once_and_in_order(tmp_path: Path) -> None:
    first, second = Record(), Record()
    train(tiny(*EVERY), tmp_path / "run", Observers(first, second))
    assert first.events == second.events
    assert (first.closed, second.closed) == (1, 1)
    others = [event for event in first.events if event[0] != "progressed"]
    assert others == [
        ("started", 0),
        ("evaluated", 25),
        ("diagnosed", 40),
        ("evaluated", 50),
        ("sampled", 50),
        ("evaluated", 75),
        ("diagnosed", 80),
        ("finished", 100),
    ]
    assert len(first.losses) == 100
    # An event comes after the steps before it were reported.
    for what, step in others[1:]:
        reported = max(s for w, s in first.events[: first.events.index((what, step))] if w == "progressed" or s == 0)
        assert reported == step or what == "diagnosed"


def test_an_observer_stops_a_run_which_can_be_resumed(tmp_path: Path) -> None:
    """It stops right after the event at which the observer has enough, and all is saved."""
    with pytest.raises(StoppedError, match=r"^stopped after step 50 of 100, and saved$") as stopped:
        train(tiny(*EVERY), tmp_path / "run", Observers(Observer(), Record(stop_at=50)))
    assert (stopped.value.signal, stopped.value.resume) == (None, tmp_path / "run")
    assert load_checkpoint(tmp_path / "run").step == 50
    train(tiny(*EVERY), tmp_path / "run", resume=True)
    train(tiny(*EVERY), tmp_path / "whole")
    for name in ("checkpoint.safetensors", "best.safetensors", "metrics.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_observers_are_closed_even_if_one_fails(tmp_path: Path) -> None:
    class Failing(Record):
        def close(self) -> None:
            super().close()
            raise RuntimeError("can't close")

    class Broken(Record):
        def progressed(self, progress: Progress) -> None:
            raise RuntimeError("broken")

    first, failing, last = Record(), Failing(), Record()
    with pytest.raises(RuntimeError, match="can't close"):
        Observers(first, failing, last).close()
    assert (first.closed, failing.closed, last.closed) == (1, 1, 1)
    broken = Broken()
    with pytest.raises(RuntimeError, match="broken"):
        train(tiny("train.steps=20"), tmp_path / "run", broken)
    assert broken.closed == 1


def test_a_signal_has_its_number(tmp_path: Path) -> None:
    class Interrupted(Observer):
        def progressed(self, progress: Progress) -> None:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(StoppedError) as stopped:
        train(tiny("train.steps=100000"), tmp_path / "run", Interrupted())
    assert stopped.value.signal == signal.SIGTERM


periods = st.integers(0, 40)


@given(st.integers(1, 3000), periods, periods, periods, periods, periods, st.integers(1, 500))
def test_chunks_end_wherever_something_is_due(
    steps: int, evaluate: int, sample: int, save: int, diagnose: int, crosscheck: int, length: int
) -> None:
    """Against a plain walk over all steps."""
    train_config = TrainConfig(
        steps=steps, eval_every=evaluate, sample_every=sample, checkpoint_every=save, diagnose_every=diagnose
    )
    timetable = Timetable(train_config, crosscheck)
    ends, step = [], 0
    while step < steps:
        step = min(step + length, timetable.next(step))
        ends.append(step)
    assert ends[-1] == steps
    due = {
        "evaluate": {s for s in range(1, steps) if (evaluate and s % evaluate == 0) or (save and s % save == 0)},
        "sample": {s for s in range(1, steps) if sample and s % sample == 0},
        "save": {s for s in range(1, steps) if save and s % save == 0},
        "crosscheck": {s for s in range(1, steps) if crosscheck and s % crosscheck == 0},
        "check learning": {s for s in (1000, steps) if FIRST_LEARNING_CHECK_STEPS <= s <= steps},
    }
    for event, at in due.items():
        assert {s for s in ends if event in timetable.due(s)} == at
        assert {s for s in range(1, steps + 1) if event in timetable.due(s)} == at
    assert {s for s in ends if timetable.diagnoses(s)} == {
        s for s in range(1, steps + 1) if diagnose and not s % diagnose
    }
    assert timetable.crosschecks(0) == bool(crosscheck)


@given(st.lists(st.floats(1e-7, 1e-2), min_size=30, max_size=30))
def test_the_pace_settles_at_a_tenth_of_a_second(noise: list[float]) -> None:
    """Steps of 0.1 ms each, and some noise: chunks grow to about 0.1 s, and the speed is the true one."""
    pace = Pace()
    for more in noise:
        steps = pace.chunk_steps
        pace.record(steps, steps * 1e-4 + more)
        assert 1 <= pace.chunk_steps <= min(LONGEST_CHUNK_STEPS, 4 * steps)
    assert 800 <= pace.chunk_steps <= 1000
    assert 8000 <= pace.steps_per_second <= 10_000
