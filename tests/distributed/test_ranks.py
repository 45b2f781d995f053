"""Training by several processes on this machine, as torchrun or another launcher starts them."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from makemore_cli.distributed import place as places
from makemore_cli.errors import MakemoreError
from makemore_cli.runs.checkpoint import load_checkpoint
from tests.conftest import Cli

PATIENCE_SECONDS = 100
BIN = Path(sys.executable).parent
Processes = list[subprocess.Popen[str]]


def torchrun(ranks: int, *arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [BIN / "torchrun", "--nproc-per-node", ranks, "--no-python", BIN / "makemore", "train", *arguments]
    return subprocess.run(
        [str(part) for part in command], cwd=folder, capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )


@contextmanager
def launched(
    ranks: int,
    arguments: Sequence[object],
    folder: Path,
    own: Mapping[int, Sequence[object]] | None = None,
    places: Mapping[int, Path] | None = None,
    command: Sequence[object] = ("-m", "makemore_cli", "train"),
) -> Iterator[Processes]:
    """Ranks by another launcher, which sets only the environment.

    `own` are further arguments of one of them, and `places` their working folders.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes: Processes = []
    try:
        for rank in range(ranks):
            environment = {
                **os.environ,
                "RANK": str(rank),
                "WORLD_SIZE": str(ranks),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "OMP_NUM_THREADS": "1",
                "MAKEMORE_PATIENCE": "4",
            }
            whole = [sys.executable, *command, *arguments, *((own or {}).get(rank, ()))]
            processes.append(
                subprocess.Popen(
                    [str(part) for part in whole],
                    cwd=(places or {}).get(rank, folder),
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def ended(processes: Processes) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of each."""
    ends = []
    for process in processes:
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
        ends.append((process.returncode, out, err))
    return ends


def losses(folder: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return np.array([line["loss"] for line in lines if "loss" in line])


def trained(folder: Path) -> bytes:
    return (folder / "checkpoint.safetensors").read_bytes()


ALL_OF_IT = [  # momentum, an average, clipping, label smoothing, context dropout
    *("--set=optim.momentum=0.9", "--set=optim.nesterov=true", "--set=optim.clip=0.5"),
    *("--set=optim.average={name: exponential, decay: 0.99}", "--set=train.label_smoothing=0.1"),
    "--set=train.context_dropout=0.2",
]


def test_torchrun_trains_as_one_process_does(tmp_path: Path, cli: Cli) -> None:
    """In float64 to the last digits, with a batch that two ranks do not divide; rank 0 alone shows and writes."""
    options = ["--config", "tiny", "--steps", 200, "--set=train.dtype=float64", "--set=train.batch_size=7"]
    options.append("--set=model.batchnorm.statistics=running")
    assert cli("train", *options, "--engine", "tensor", "--out", tmp_path / "one", "-q").code == 0
    result = torchrun(2, *options, "--out", "two", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("train loss") == 1
    assert result.stderr.count("2 processes share each batch, with the engine tensor\n") == 1
    assert np.abs(losses(tmp_path / "two") - losses(tmp_path / "one")).max() < 1e-12
    one, two = (load_checkpoint(tmp_path / name).model for name in ("one", "two"))
    for name, array in one.parameters.items():
        np.testing.assert_allclose(two.parameters[name], array, rtol=0, atol=1e-12)
    np.testing.assert_allclose(two.bnvar, one.bnvar, rtol=1e-12)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ranks", "batch", "dtype"),
    [(1, 32, "float32"), (2, 33, "float32"), (3, 32, "float64"), (3, 4, "float32"), (4, 3, "float64")],
)
def test_the_losses_of_one_process(ranks: int, batch: int, dtype: str, tmp_path: Path, cli: Cli) -> None:
    """With a rank that has a single example, and one that has none."""
    steps = 600 if batch == 32 and ranks == 3 else 200
    lr = 0.2 if batch >= 32 else 0.01  # so few examples amplify any rounding
    options = ["--config", "tiny", f"--steps={steps}", f"--set=train.dtype={dtype}", f"--set=train.batch_size={batch}"]
    options.append(f"--set=optim.lr={lr}")
    assert cli("train", *options, "--engine", "tensor", "--out", tmp_path / "one", "-q").code == 0
    with launched(ranks, [*options, "--out", "some", "-q"], tmp_path) as processes:
        assert [code for code, *_ in ended(processes)] == [0] * ranks
    apart = np.abs(losses(tmp_path / "some") - losses(tmp_path / "one"))
    assert len(apart) == steps
    assert apart.max() < (1e-12 if dtype == "float64" else 1e-4)


@pytest.mark.slow
def test_everything_works_with_it_and_twice_the_same(tmp_path: Path, cli: Cli) -> None:
    options = ["--config", "tiny", "--steps=300", "--set=train.dtype=float64", *ALL_OF_IT]
    assert cli("train", *options, "--engine", "tensor", "--out", tmp_path / "one", "-q").code == 0
    for name in ("first", "second"):
        with launched(3, [*options, "--out", name, "--crosscheck", "100"], tmp_path) as processes:
            (code, _, err), *others = ended(processes)
            assert code == 0, err
            assert all(end == (0, "", "") for end in others)
            assert "3 crosschecks, all agree: the hand-written training pass, shared by 3 processes" in err
    assert np.abs(losses(tmp_path / "first") - losses(tmp_path / "one")).max() < 1e-11
    assert trained(tmp_path / "first") == trained(tmp_path / "second")


@pytest.mark.slow
def test_a_run_resumes_with_any_number_of_ranks(tmp_path: Path, cli: Cli) -> None:
    options = ["--config", "tiny", "--set=train.dtype=float64", *ALL_OF_IT, "--out", "run", "-q"]
    whole = [*options[:-3], "--engine", "tensor", "--steps=300", "--out", tmp_path / "whole", "-q"]
    assert cli("train", *whole).code == 0
    with launched(2, [*options, "--steps=100"], tmp_path) as processes:
        assert [code for code, *_ in ended(processes)] == [0, 0]
    elsewhere = tmp_path / "elsewhere"  # another machine has no run folder
    elsewhere.mkdir()
    options = ["--resume", "run", "--steps=200", "-q", "--data", "bundled"]
    with launched(3, options, tmp_path, places={1: elsewhere}) as processes:
        assert [code for code, *_ in ended(processes)] == [0, 0, 0]
    resumed = cli("train", "--resume", tmp_path / "run", "--steps=300", "-q", "--engine", "tensor")
    assert resumed.code == 0, resumed.err
    apart = np.abs(losses(tmp_path / "run") - losses(tmp_path / "whole"))
    assert len(apart) == 300
    assert apart.max() < 1e-11
    with launched(2, ["--resume", "run", "-q"], tmp_path) as processes:  # nothing is left to train
        assert [code for code, *_ in ended(processes)] == [0, 0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("own", "told"),
    [
        (["--set", "optim.lr=0.3"], r"optim\.lr is 0\.3, but 0\.2 on rank 0; start all ranks with the same command"),
        (["--set", "optim.average={name: exponential}"], r"optim\.average is unset, but None on rank 0"),
        (["--data", "others.txt"], "its data differs from rank 0's; give all ranks the same file of names"),
        (["--data", "nowhere.txt"], "no such file"),
        (["--set", "train.engine=kernel"], "must be tensor when several processes share each batch"),
        (["--engine", "kernel"], "must be tensor when several processes share each batch"),
    ],
)
def test_a_rank_that_differs_is_told(own: list[str], told: str, tmp_path: Path) -> None:
    """In one line, by rank 0, or by the rank itself if it never gets to meet the others."""
    (tmp_path / "others.txt").write_text("anna\nbob\n" * 50)
    with launched(2, ["--config", "tiny", "--steps=100", "--out", "run", "-q"], tmp_path, {1: own}) as processes:
        alone = "kernel" in str(own)  # it never meets the others
        if alone:
            processes[1].wait(PATIENCE_SECONDS)
            processes[0].kill()
        (code, _, err), (other_code, _, other_err) = ended(processes)
    lines = [line for line in (err + other_err).splitlines() if line]
    assert len(lines) == 1
    assert other_code == 2
    if not alone:
        assert code == 2
        assert lines[0].startswith("makemore: rank 1 (")
    assert re.search(told, lines[0])
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


def begun(processes: Processes, folder: Path) -> None:
    """Wait for a checkpoint, and a little longer."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (folder / "checkpoint.safetensors").exists():
        assert time.monotonic() < end
        assert all(process.poll() is None for process in processes), ended(processes)
        time.sleep(0.1)
    time.sleep(0.3)


LONG = ["--config", "tiny", f"--steps={10**8}", "--out", "run", "-q", "--set=train.checkpoint_every=50"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rank", "number"), [(0, signal.SIGKILL), (2, signal.SIGKILL), (0, signal.SIGSTOP), (1, signal.SIGSTOP)]
)
def test_a_rank_that_is_killed_or_hangs_ends_all(rank: int, number: int, tmp_path: Path) -> None:
    """With one line, of rank 0 or else of the first survivor; and the run resumes."""
    with launched(3, LONG, tmp_path) as processes:
        begun(processes, tmp_path / "run")
        processes[rank].send_signal(number)
        began = time.monotonic()
        survivors = [process for place, process in enumerate(processes) if place != rank]
        (first, _, told), (second, *silent) = ended(survivors)
        assert time.monotonic() - began < 60
    assert (first, second, silent) == (2, 2, ["", ""])
    assert told.count("\n") == 1
    if rank == 0:  # which has kept the store
        assert told.startswith("makemore: lost contact with rank 0 and the store of the ranks")
    else:
        assert told.startswith(f"makemore: rank {rank} (")
    if rank:
        assert "; the last checkpoint is from step " in told
    if number == signal.SIGSTOP:
        return
    step = load_checkpoint(tmp_path / "run").step
    with launched(2, ["--resume", "run", f"--steps={step + 100}", "-q"], tmp_path) as processes:
        assert [code for code, *_ in ended(processes)] == [0, 0]


SCRIPT = """
import sys
import makemore_cli as mm
for seed in (1, 2):
    names = ["anna", "bob", "clara", "dora"] * 40
    run = mm.train("tiny", steps=60, seed=seed, data=names, out=f"run{seed}", quiet=True)
    print(run.summary is None)
"""


@pytest.mark.slow
def test_a_script_that_trains_twice(tmp_path: Path) -> None:
    """Rank 0 keeps one store for both; the names are given in Python."""
    (tmp_path / "script.py").write_text(SCRIPT)
    with launched(2, [], tmp_path, command=["script.py"]) as processes:
        (zero, out, err), (one, other_out, other_err) = ended(processes)
    assert (zero, one) == (0, 0), err + other_err
    assert out.split() == ["False", "False"]
    assert other_out.split() == ["True", "True"]
    assert (tmp_path / "run2" / "summary.json").exists()


@pytest.mark.slow
def test_a_machine_that_is_told_to_stop(tmp_path: Path) -> None:
    """Only one of its ranks gets the signal, and rank 0 is elsewhere; the run is saved."""
    with launched(2, LONG, tmp_path) as processes:
        begun(processes, tmp_path / "run")
        processes[1].terminate()
        (zero, _, err), (one, *silent) = ended(processes)
    assert (zero, one, silent) == (2, 2, ["", ""])
    assert err.count("\n") == 1
    assert ", and saved; resume with: makemore train --resume run" in err
    assert load_checkpoint(tmp_path / "run").step == len(losses(tmp_path / "run"))


@pytest.mark.slow
def test_sigterm_saves(tmp_path: Path) -> None:
    """As torchrun passes it on to all ranks when it gets one."""
    command: list[str] = [str(BIN / "torchrun"), "--nproc-per-node", "2", "--no-python", str(BIN / "makemore"), "train"]
    with subprocess.Popen([*command, *LONG], cwd=tmp_path, stderr=subprocess.PIPE, text=True) as agent:
        try:
            end = time.monotonic() + PATIENCE_SECONDS
            while not (tmp_path / "run" / "checkpoint.safetensors").exists():
                assert time.monotonic() < end
                time.sleep(0.1)
            agent.terminate()
            _, err = agent.communicate(timeout=60)
        finally:
            agent.kill()
    assert "and saved; resume with: makemore train --resume run" in err
    assert load_checkpoint(tmp_path / "run").step == len(losses(tmp_path / "run"))


@pytest.mark.slow
def test_numbers_that_are_not_finite_are_found(tmp_path: Path) -> None:
    """The failing step is trained again, which needs all ranks."""
    options = ["--config", "tiny", "--steps=3000", "--set=optim.lr=1e30", "--out", "run", "-q"]
    with launched(2, options, tmp_path) as processes:
        (code, _, err), (other, *silent) = ended(processes)
    assert (code, other, silent) == (2, 2, ["", ""])
    assert err.count("\n") == 1
    assert "not finite" in err


# The environment.


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"RANK": "x"}, "RANK: must be a whole number from 0 to 2147483647, got 'x'"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE: must be a whole number from 1 to 2147483647, got '0'"),
        ({"RANK": "2"}, "RANK: is 2, but WORLD_SIZE is 2"),
        ({"MASTER_PORT": ""}, "MASTER_PORT: is not set"),
        ({"MASTER_PORT": "99999"}, "MASTER_PORT: must be a whole number from 1 to 65535"),
        ({"LOCAL_RANK": "-1"}, "LOCAL_RANK: must be"),
        ({"MAKEMORE_PATIENCE": "soon"}, "MAKEMORE_PATIENCE: must be"),
    ],
)
def test_a_broken_environment(changes: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "h", "MASTER_PORT": "1", **changes}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(MakemoreError, match=told):
        places.place()
    result = cli("train", "--config", "tiny")
    assert (result.code, result.err.count("\n")) == (2, 1)


def test_alone_without_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")  # some clusters set it for every job
    assert places.place() is None
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert places.place() is None
    monkeypatch.setenv("WORLD_SIZE", "2")  # both would train into the same folder
    with pytest.raises(MakemoreError, match=r"^MASTER_ADDR: is not set, but WORLD_SIZE is 2$"):
        places.place()
