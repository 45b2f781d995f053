"""Nothing lost: runs that are killed, stopped, raised to a further goal, or out of disk, and what becomes of them."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import pty
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from makemore_cli.cli.main import main
from makemore_cli.config import load as configuration
from makemore_cli.config.schema import Config
from makemore_cli.errors import MakemoreError, StoppedError, WriteError
from makemore_cli.runs.checkpoint import load_checkpoint
from makemore_cli.runs.file_names import BEST, CHECKPOINT, METRICS, SUMMARY
from makemore_cli.runs.run_folder import Run, holds_run
from makemore_cli.training import loop, pace, saver
from makemore_cli.training.engines import ENGINES
from makemore_cli.training.observer import Observer, Progress
from makemore_cli.training.progress_display import QuietDisplay
from makemore_cli.training.trainer import train
from tests.conftest import Cli

KILLS = 20
PROCESSES_KILLED = {"kernel": 14, "tensor": 6, "autograd": 6}


def tiny(*settings: str) -> Config:
    return configuration.load(configuration.find("tiny"), settings)


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]


def equal(one: Path, other: Path) -> None:
    """Both runs have come to the same, to the last bit, with each step in the metrics once and in order."""
    for name in (CHECKPOINT, BEST, METRICS):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    steps = [record["step"] for record in records(one) if "loss" in record]
    assert steps == list(range(1, len(steps) + 1))
    assert [path.name for path in one.iterdir() if path.name.startswith(".")] == []


class Killed(BaseException):
    """Ends a run wherever it is, as SIGKILL would: no handler of errors takes it."""


class Mortal:
    """Makes every act of training a moment to be killed at, before and after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 10**9  # moments to live
        for owner, name in [
            (os, "fsync"),
            (os, "replace"),
            (Path, "unlink"),
            (Path, "replace"),
            (Run, "append_steps"),
            (Run, "append_metrics"),
            (Run, "save_summary"),
            (loop, "train_chunk"),
            (loop.Loop, "_draw"),
        ]:
            monkeypatch.setattr(owner, name, self._watched(getattr(owner, name)))

    def _watched(self, function: Callable) -> Callable:
        def watched(*arguments, **options):
            self._live()
            result = function(*arguments, **options)
            self._live()
            return result

        return watched

    def _live(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


class Process(subprocess.Popen):
    """Does not outlive a test that fails."""

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None:
            self.kill()
        super().__exit__(kind, *error)


def process(*arguments: object, **options) -> Process:
    """A real one, whose SIGINT is not ignored, as it would be in a background job."""
    command = [sys.executable, "-m", "makemore_cli", *map(str, arguments)]
    return Process(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        **options,
    )


# --- Killed ---

BUSY = ["train.checkpoint_every=150", "train.eval_every=100", "train.sample_every=250"]
VARIANTS = [
    [
        "train.context_dropout=0.2",
        "train.label_smoothing=0.1",
        "optim={name: adamw, lr: 0.01, weight_decay: 0.1, clip: 1.0, warmup: 100}",
        "optim.schedule={name: cosine}",
        "optim.average={name: mean, share: 0.5}",
    ],
    ["model.batchnorm.statistics=running", "model.first_bias=false", "train.dtype=float64", "optim.momentum=0.5"],
]


@pytest.mark.every(6)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("more", VARIANTS, ids=["averaged", "running"])
def test_killed_20_times_between_any_two_of_its_acts(
    engine: str, more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every write, rename, removal and chunk is a moment to be killed at; each time another process goes on."""
    config = tiny("train.steps=1000", f"train.engine={engine}", *BUSY, *more)
    train(config, tmp_path / "whole")
    monkeypatch.setattr(pace, "LONGEST_CHUNK_STEPS", 40)  # more chunks, more moments
    monkeypatch.setattr(saver, "SAVE_SECONDS", 0.02)  # and unasked checkpoints
    monkeypatch.setattr(saver, "FIRST_SAVE_SECONDS", 0.02)

    rng, kills = random.Random(f"{engine}{more}"), 0
    mortal = Mortal(monkeypatch)
    while True:
        mortal.left = rng.randint(1, 30) if kills < KILLS else 10**9
        try:
            train(config, tmp_path / "run", resume=holds_run(tmp_path / "run"))
        except Killed:
            kills += 1
        else:
            if kills >= KILLS:
                break
            shutil.rmtree(tmp_path / "run")  # it got to its end before it was killed often enough
            kills = 0
    monkeypatch.undo()
    equal(tmp_path / "run", tmp_path / "whole")
    assert (tmp_path / "run" / SUMMARY).exists()


@pytest.mark.slow
def test_killed_at_each_of_its_acts_in_turn(tmp_path: Path, names_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until there is a checkpoint; and killed again at each act of beginning again."""
    config = tiny("train.steps=60", "train.checkpoint_every=40", "train.engine=tensor", f"data.path={names_file}")
    train(config, tmp_path / "whole")
    mortal = Mortal(monkeypatch)

    def lives(moments: int, folder: Path) -> bool:
        mortal.left = moments
        try:
            train(config, folder, resume=holds_run(folder))
        except Killed:
            return False
        return True

    torn = 0
    for first in itertools.count(1):
        folder = tmp_path / str(first)
        assert not lives(first, folder)
        if (folder / CHECKPOINT).exists():
            break
        begun = (folder / METRICS).exists() and (folder / METRICS).stat().st_size > 0
        torn += begun
        for second in range(1 + first % 2, 16, 2) if begun else [10**9] * (first % 4 == 0):
            again = tmp_path / f"{first} and {second}"
            if folder.exists():
                shutil.copytree(folder, again)
            if not lives(second, again):
                assert lives(10**9, again)
            equal(again, tmp_path / "whole")
    assert torn >= 3


LENGTHS = {"kernel": (40_000, 700), "tensor": (6000, 100), "autograd": (3000, 50)}  # half a second, and a chunk of it


@pytest.mark.slow
@pytest.mark.parametrize("engine", LENGTHS)
def test_a_process_killed_many_times(engine: str, tmp_path: Path) -> None:
    """SIGKILL at random moments, from its very start on; the same command goes on each time."""
    steps, every = LENGTHS[engine]
    settings = [f"train.steps={steps}", f"train.checkpoint_every={every}", f"train.eval_every={3 * every}"]
    options = ["--config", "tiny", "--engine", engine, *(f"--set={setting}" for setting in settings)]

    def start(folder: Path) -> BaseProcess:
        """A process of its own; PyTorch is there already."""
        started = context.Process(target=main, args=(["train", *options, "-q", "--resume", "--out", str(folder)],))
        started.start()
        return started

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["makemore_cli.cli.main", "makemore_cli.training.trainer", "makemore_cli.backprop.kernel.training_steps"]
    )
    began = time.monotonic()
    start(tmp_path / "whole").join()
    chunk = (time.monotonic() - began) * every / steps  # seconds, start included, on this machine as busy as it is
    rng, kills, reached = random.Random(engine), 0, set()
    metrics = tmp_path / "run" / METRICS
    enough = PROCESSES_KILLED[engine]
    while kills < enough or (len(reached) < 3 and kills < 5 * enough):
        size = metrics.stat().st_size if metrics.exists() else 0
        victim = start(tmp_path / "run")
        while victim.is_alive() and rng.random() > 0.001 and (not metrics.exists() or metrics.stat().st_size == size):
            time.sleep(0.002)  # mostly until there is something to lose
        time.sleep(rng.uniform(0, 4 * chunk + 0.01 * kills))  # longer and longer, since it may become busier
        victim.kill()
        victim.join()
        kills += victim.exitcode == -signal.SIGKILL
        assert victim.exitcode == -signal.SIGKILL or (tmp_path / "run" / SUMMARY).exists(), "it was refused"
        if (tmp_path / "run" / SUMMARY).exists():  # at its end before it was killed often enough
            shutil.rmtree(tmp_path / "run")
        elif (tmp_path / "run" / CHECKPOINT).exists():
            reached.add(load_checkpoint(tmp_path / "run").step)
    start(tmp_path / "run").join()
    equal(tmp_path / "run", tmp_path / "whole")
    assert json.loads((tmp_path / "run" / SUMMARY).read_text())["steps"] == steps
    assert len(reached) >= 3, "it was killed too late or too early to show anything"


# --- Threads and chunks ---


class StopAfter(Observer):
    """Stops a run after some steps, or a little later."""

    def __init__(self, steps: int) -> None:
        self.steps, self.done = steps, 0

    def progressed(self, progress: Progress) -> None:
        self.done = progress.step

    def should_stop(self) -> bool:
        return self.done >= self.steps


@pytest.mark.slow
@pytest.mark.parametrize("more", VARIANTS, ids=["averaged", "running"])
def test_threads_and_chunks_change_no_byte(more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One, two or three threads for the first part of a run, or as many as measured, in chunks of any length."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    settings = ["train.engine=kernel", "model.hidden_size=150", *BUSY, *more]
    train(tiny("train.steps=900", "train.threads=2", *settings), tmp_path / "whole")
    for threads, longest in (("1", 7), ("2", 2000), ("3", 50), ("auto", 300)):
        folder = tmp_path / threads
        monkeypatch.setattr(pace, "LONGEST_CHUNK_STEPS", longest)
        with pytest.raises(StoppedError):
            train(tiny("train.steps=900", f"train.threads={threads}", *settings), folder, StopAfter(450))
        train(tiny("train.steps=900", "train.threads=2", *settings), folder, resume=True)
        equal(folder, tmp_path / "whole")


# --- Stopped, raised, refused ---


@pytest.mark.every(3)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_chunk_and_saves(number: int, code: int, tmp_path: Path) -> None:
    folder = tmp_path / "a run"
    with process("train", "--config", "tiny", "--steps", 10**9, "--out", folder) as stopped:
        while "steps/s" not in stopped.stderr.readline():
            pass
        stopped.send_signal(number)
        out, err = stopped.communicate(timeout=60)
    assert (stopped.returncode, out) == (code, "")
    told = err.splitlines()[-1]
    command = f"makemore train --resume '{folder}'"
    match = re.fullmatch(
        rf"makemore: stopped after step ([\d,]+) of 1,000,000,000, and saved; resume with: {command}", told
    )
    assert match, told
    step = int(match[1].replace(",", ""))
    assert load_checkpoint(folder).step == step == records(folder)[-1]["step"]


@pytest.mark.slow
def test_a_run_in_use_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with process("train", "--config", "tiny", "--steps", 10**9, "--out", folder) as busy:
        while "steps/s" not in busy.stderr.readline():
            pass
        for options in (["--overwrite"], ["--resume"]):
            with process("train", "--config", "tiny", "--out", folder, *options) as other:
                out, err = other.communicate()
            assert (other.returncode, out, err.count("\n")) == (2, "", 1)
            assert err.startswith(f"makemore: {folder}: another process is training in this folder")
        busy.kill()  # the lock dies with it
    with process("train", "--config", "tiny", "--out", folder, "--overwrite", "-q") as other:
        assert other.wait() == 0


@pytest.mark.slow
def test_two_signals_are_as_good_as_one(tmp_path: Path) -> None:
    """A terminal and its shell both send theirs, and people press Ctrl-C more than once."""
    for number in (signal.SIGHUP, signal.SIGINT):
        folder = tmp_path / str(number)
        with process("train", "--config", "tiny", "--steps", 10**9, "--out", folder) as stopped:
            while "steps/s" not in stopped.stderr.readline():
                pass
            for _ in range(3):
                stopped.send_signal(number)
                time.sleep(0.001)
            assert "and saved; resume with: " in stopped.communicate(timeout=60)[1]
        assert load_checkpoint(folder).step == records(folder)[-1]["step"]


@pytest.mark.slow
@pytest.mark.parametrize("term", ["dumb", "xterm-256color"])
def test_a_terminal_that_is_closed(term: str, tmp_path: Path) -> None:
    """It sends SIGHUP, and from then on nothing can be shown any more; all is saved none the less."""
    pid, terminal = pty.fork()
    if pid == 0:
        command = [sys.executable, "-m", "makemore_cli", "train", "--config", "tiny", "--steps", str(10**9), "--out"]
        os.execvpe(command[0], [*command, str(tmp_path / "run")], os.environ | {"TERM": term})
    shown = b""
    while b"steps/s" not in shown:
        shown += os.read(terminal, 1000)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 129
    assert load_checkpoint(tmp_path / "run").step == records(tmp_path / "run")[-1]["step"]


def test_a_goal_is_kept_unless_another_is_given(cli: Cli, tmp_path: Path) -> None:
    config = tiny("train.steps=1000", "train.checkpoint_every=100")
    with pytest.raises(StoppedError):
        train(configuration.override(config, train__steps=10**9), tmp_path / "run", Once())
    reached = load_checkpoint(tmp_path / "run").step
    command = [
        "train",
        "--config",
        "tiny",
        "--set",
        "train.checkpoint_every=100",
        "--resume",
        "--out",
        tmp_path / "run",
    ]
    lower = cli(*command, "--steps", reached + 10)
    assert lower.code == 0, lower.err
    assert f"resuming after step {reached:,}; train.steps was 1,000,000,000 and is now {reached + 10:,}" in lower.err
    assert cli(*command, "--steps", reached + 500).code == 0
    kept = cli(*command)
    assert f"all {max(2000, reached + 500):,} steps are already trained" in kept.err or "resuming" in kept.err
    assert load_checkpoint(tmp_path / "run").step == max(2000, reached + 500)


class Once(Observer):
    """Asks for the end, as a user would, once something is shown."""

    def progressed(self, progress) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_lower_goal_is_a_run_of_its_own(tmp_path: Path) -> None:
    """Where the checkpoint stands at the new goal already, it is that of a run that was to go so far."""
    with pytest.raises(StoppedError):
        train(tiny("train.steps=1000000"), tmp_path / "run", Once())
    steps = load_checkpoint(tmp_path / "run").step
    train(tiny(f"train.steps={steps}"), tmp_path / "run", resume=True)
    train(tiny(f"train.steps={steps}"), tmp_path / "whole")
    equal(tmp_path / "run", tmp_path / "whole")


@pytest.mark.slow
def test_nohup_is_heeded(tmp_path: Path) -> None:
    """A signal that the parent has told to ignore stays ignored."""
    options = [sys.executable, "-m", "makemore_cli", "train", "--config", "tiny", "--steps", "100000", "--out"]
    with subprocess.Popen(
        [*options, str(tmp_path / "run")],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    ) as going:
        while "steps/s" not in going.stderr.readline():
            pass
        going.send_signal(signal.SIGHUP)
        assert "stopped" not in going.stderr.read()
        assert going.wait() == 0


def test_a_further_goal_is_reached_as_if_it_had_been_the_goal_from_the_first(cli: Cli, tmp_path: Path) -> None:
    for steps in (300, 301, 700):
        result = cli("train", "--config", "tiny", "--steps", steps, "--resume", "--out", tmp_path / "run")
        assert result.code == 0, result.err
    assert "resuming after step 301" in result.err
    assert re.search(r"^steps +700, the last 399 in 0 s", result.out, re.MULTILINE)
    assert cli("train", "--config", "tiny", "--steps", 700, "--out", tmp_path / "whole").code == 0
    for name in (CHECKPOINT, METRICS):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    # Once it is reached there is nothing to do, and nothing changes.
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()}
    again = cli("train", "--resume", tmp_path / "run")
    assert (again.code, again.out) == (0, result.out)
    assert "all 700 steps are already trained; increase train.steps to train more" in again.err
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()} == before


def test_a_run_goes_on_by_another_engine_and_with_moved_data(cli: Cli, tmp_path: Path, names_file: Path) -> None:
    run = ["train", "--resume", tmp_path / "run"]
    first = ["train", "--config", "tiny", "--data", names_file, "--steps", 50, "--out", tmp_path / "run"]
    assert cli(*first, "--engine", "tensor").code == 0
    names_file.rename(tmp_path / "moved.txt")
    gone = cli(*run, "--steps", 60)
    assert gone.code == 2
    assert "names.txt: no such file" in gone.err
    moved = cli(*run, "--steps", 60, "--engine", "autograd", "--data", tmp_path / "moved.txt")
    assert moved.code == 0, moved.err
    assert [record["step"] for record in records(tmp_path / "run")] == [*range(1, 61), 60]


def test_the_best_is_kept_beside_the_last(tmp_path: Path) -> None:
    """With a learning rate that ruins it in the end; also when the run was interrupted after its best."""
    config = tiny(
        "train.steps=600", "train.eval_every=100", "optim.schedule.milestones=[300]", "optim.schedule.gamma=50"
    )
    train(config, tmp_path / "run")
    evaluated = {record["step"]: record["eval"]["val"] for record in records(tmp_path / "run") if "eval" in record}
    best = load_checkpoint(tmp_path / "run" / BEST)
    assert list(evaluated) == [100, 200, 300, 400, 500, 600]
    assert best.step == min(evaluated, key=evaluated.__getitem__) == 300
    assert best.loss == evaluated[300]
    assert load_checkpoint(tmp_path / "run").step == 600

    class Stop(Observer):
        told = False

        def progressed(self, progress) -> None:
            if progress.step > 400 and not self.told:
                self.told = True
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StoppedError, match="stopped after step"):
        train(config, tmp_path / "stopped", Stop())
    assert 400 < load_checkpoint(tmp_path / "stopped").step <= 600
    train(config, tmp_path / "stopped", resume=True)
    equal(tmp_path / "stopped", tmp_path / "run")


def test_a_damaged_best_is_told_and_replaced(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = tiny("train.steps=100")
    train(config, tmp_path / "run", QuietDisplay())
    (tmp_path / "run" / BEST).write_bytes(b"damaged")
    train(configuration.override(config, train__steps=200), tmp_path / "run", QuietDisplay(), resume=True)
    assert "best.safetensors: not a valid safetensors checkpoint" in capfd.readouterr().err
    assert load_checkpoint(tmp_path / "run" / BEST).step == 200


# --- No room, no folder ---


@pytest.mark.slow
def test_a_full_disk(tmp_path: Path) -> None:
    """A real one, of two megabytes, where this may be mounted; the checkpoint is whole, and the run goes on later."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True, check=False)
    if mount.returncode:
        pytest.skip("may not mount a disk")
    try:
        options = ["--config", "tiny", "--set", "train.checkpoint_every=5000", "--out", disk / "run"]
        with process("train", *options, "--steps", 10**6, "-q") as full:
            out, err = full.communicate(timeout=120)
        assert (full.returncode, out, err.count("\n")) == (2, "", 1)
        match = re.fullmatch(
            rf"makemore: {disk}/run/\S+: can't write: No space left on device; "
            rf"the last checkpoint is from step ([\d,]+); resume with: makemore train --resume {disk}/run\n",
            err,
        )
        assert match, err
        step = int(match[1].replace(",", ""))
        assert load_checkpoint(disk / "run").step == step > 0
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        with process("train", "--resume", disk / "run", "--steps", step + 10_000, "-q") as later:
            assert later.wait() == 0
        shutil.copytree(disk / "run", tmp_path / "run")
    finally:
        subprocess.run(["umount", disk], check=True)
    with process("train", *options[:-1], tmp_path / "whole", "--steps", step + 10_000, "-q") as whole:
        assert whole.wait() == 0
    equal(tmp_path / "run", tmp_path / "whole")


@pytest.mark.slow
def test_a_disk_that_became_read_only(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", disk], capture_output=True, check=False)
    if mount.returncode:
        pytest.skip("may not mount a disk")
    try:
        first = ["train", "--config", "tiny", "--steps", 100, "-q", "--out", disk / "run"]
        with process(*first) as run:
            assert run.wait() == 0
        before = (disk / "run" / CHECKPOINT).read_bytes()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        for command in (["--resume", disk / "run", "--steps", 200], ["--config", "tiny", "--out", disk / "other"]):
            with process("train", *command, "-q") as refused:
                out, err = refused.communicate()
            assert (refused.returncode, out, err.count("\n")) == (2, "", 1)
            assert "Read-only file system" in err
        assert (disk / "run" / CHECKPOINT).read_bytes() == before
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.slow
def test_files_may_not_grow(tmp_path: Path) -> None:
    """A limit on the size of files, which needs no disk of one's own."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    command = [sys.executable, "-m", "makemore_cli", "train", "--config", "tiny", "--steps", "100000", "-q", "--out"]
    result = subprocess.run(
        [*command, str(tmp_path / "run"), "--set", "train.checkpoint_every=2000"],
        capture_output=True,
        text=True,
        preexec_fn=limited,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert "metrics.jsonl: can't write: File too large; the last checkpoint is from step" in result.stderr
    assert load_checkpoint(tmp_path / "run").step >= 2000


def test_a_folder_that_is_moved_while_another_takes_its_name(tmp_path: Path) -> None:
    """The one does not write into the other."""

    class Move(Observer):
        def progressed(self, progress) -> None:
            if not (tmp_path / "moved").exists():
                (tmp_path / "run").rename(tmp_path / "moved")
                train(tiny("train.steps=20", "train.seed=5"), tmp_path / "run")

    with pytest.raises(WriteError, match=r"metrics.jsonl: is gone; it or its folder was moved or removed"):
        train(tiny(), tmp_path / "run", Move())
    assert load_checkpoint(tmp_path / "run").step == 20
    assert json.loads((tmp_path / "run" / SUMMARY).read_text())["steps"] == 20


@pytest.mark.parametrize("damage", ["", "[" * 10**5, "{}", '{"steps": 100}', None])
def test_a_damaged_summary_is_made_anew(damage: str | None, cli: Cli, tmp_path: Path) -> None:
    train(tiny("train.steps=100"), tmp_path / "run")
    good = json.loads((tmp_path / "run" / SUMMARY).read_text())
    damage = json.dumps(good | {"loss": {"val": None}}) if damage is None else damage
    (tmp_path / "run" / SUMMARY).write_text(damage)
    result = cli("train", "--resume", tmp_path / "run")
    assert result.code == 0, result.err
    made = json.loads((tmp_path / "run" / SUMMARY).read_text())
    assert (made["loss"], made["samples"]) == (good["loss"], good["samples"])


def test_a_folder_that_vanishes(tmp_path: Path) -> None:
    class Remove(Observer):
        def progressed(self, progress) -> None:
            shutil.rmtree(tmp_path / "run", ignore_errors=True)

    with pytest.raises(WriteError, match=r"metrics.jsonl: is gone; .*; there is no checkpoint yet$"):
        train(tiny(), tmp_path / "run", Remove())


# --- Numbers that cease to be finite, and networks that do not learn ---


@pytest.mark.parametrize("engine", ENGINES)
def test_the_first_tensor_that_went_wrong_is_named(engine: str, tmp_path: Path) -> None:
    """The last good checkpoint is left as it was, and the metrics end before the step that failed."""
    settings = ["optim.schedule.milestones=[40]", "optim.schedule.gamma=1e30", "train.checkpoint_every=30"]
    with pytest.raises(MakemoreError) as error:
        train(tiny(f"train.engine={engine}", *settings), tmp_path / "run")
    assert re.fullmatch(
        r"step 42: the loss is nan: hprebn \(32, 32\) is the first tensor with numbers that are not finite "
        r"\(1,024 of 1,024, first in row 0 of the batch: '\S' after '...'\); try a smaller learning rate "
        r"\(it is 2e\+29\) in a new run; the last good checkpoint is from step 30",
        str(error.value),
    ), error.value
    assert load_checkpoint(tmp_path / "run").step == 30
    assert [record["step"] for record in records(tmp_path / "run") if "loss" in record] == list(range(1, 42))


def test_a_large_learning_rate(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """At 10,000 nothing overflows, since batchnorm holds everything together, but tanh is saturated for good."""
    train(tiny("optim.lr=1e4", "train.steps=10_500"), tmp_path / "run", QuietDisplay())
    warning = "warning: step 1,000: 100% of tanh's outputs are saturated, so almost no gradient passes through; "
    assert capfd.readouterr().err == warning + "try a smaller learning rate (it is 10000)\n"


@pytest.mark.every(2)
@pytest.mark.parametrize(
    ("lr", "advice"), [("0", "another learning rate (it is 0)"), ("1e-9", "another learning rate")]
)
def test_a_network_that_does_not_learn(lr: str, advice: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    train(tiny(f"optim.lr={lr}", "train.steps=10_500"), tmp_path / "run", QuietDisplay())
    told = capfd.readouterr().err
    assert re.match(
        r"warning: step 1,000: the loss is 3\.\d+, and it began at 3\.\d+: the network is not learning; ", told
    )
    assert advice in told
    assert told.count("\n") == 1


@pytest.mark.slow
def test_a_network_that_learns_is_left_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("tiny", "quickstart"):
        config = configuration.load(configuration.find(name), ["train.steps=1500"])
        train(config, tmp_path / name, QuietDisplay())
    assert capfd.readouterr().err == ""
