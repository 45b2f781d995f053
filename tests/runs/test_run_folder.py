"""The run folder and the checkpoint: whole, equal bytes for equal runs, refused when damaged, never unpickled."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from makemore_cli.config.schema import Config
from makemore_cli.errors import MakemoreError
from makemore_cli.runs import run_folder as runs
from makemore_cli.runs.checkpoint import Checkpoint, load_checkpoint, to_bytes
from makemore_cli.runs.run_folder import Run
from makemore_cli.system import files


@pytest.fixture
def content(trained: Path) -> bytes:
    return (trained / runs.CHECKPOINT).read_bytes()


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch") / "damaged"


def from_bytes(content: bytes, path: Path) -> Checkpoint:
    path.write_bytes(content)
    return load_checkpoint(path)


def split(content: bytes) -> tuple[dict, bytes]:
    """Header and tensors of a safetensors file."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def join(header: dict, tensors: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + tensors


def about(header: dict) -> dict:
    return json.loads(header["__metadata__"]["makemore"])


def test_a_checkpoint_round_trips_to_the_same_bytes(content: bytes, trained: Path, scratch: Path) -> None:
    checkpoint = load_checkpoint(trained)
    assert to_bytes(checkpoint) == content
    again = from_bytes(to_bytes(checkpoint), scratch)
    for name, parameter in checkpoint.model.parameters.items():
        np.testing.assert_array_equal(again.model.parameters[name], parameter)
    assert (again.config, again.vocabulary, again.step) == (checkpoint.config, checkpoint.vocabulary, 2000)
    assert load_checkpoint(trained / runs.CHECKPOINT).config == checkpoint.config


def test_it_is_a_plain_safetensors_file_with_the_lectures_names(content: bytes) -> None:
    header, _ = split(content)
    assert {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"} == {
        "C": [27, 4],
        "W1": [12, 32],
        "b1": [32],
        "W2": [32, 27],
        "b2": [27],
        "bngain": [1, 32],
        "bnbias": [1, 32],
        "bnmean": [1, 32],
        "bnvar": [1, 32],
        "training.generator": [5056],
    }
    assert about(header)["letters"] == "abcdefghijklmnopqrstuvwxyz"


@given(cut=st.integers(0, 10**6))
@settings(max_examples=100)
def test_a_checkpoint_cut_short_is_refused(content: bytes, cut: int, scratch: Path) -> None:
    with pytest.raises(MakemoreError, match="not a valid safetensors checkpoint"):
        from_bytes(content[: cut % len(content)], scratch)


@given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
@settings(max_examples=200)
def test_a_flipped_bit_is_refused_or_is_still_a_checkpoint(content: bytes, at: int, bit: int, scratch: Path) -> None:
    damaged = bytearray(content)
    damaged[at % len(content)] ^= 1 << bit
    refusal = None
    try:
        checkpoint = from_bytes(bytes(damaged), scratch)
    except MakemoreError as error:
        refusal = str(error)
    if refusal is None:
        assert all(np.isfinite(parameter).all() for parameter in checkpoint.model.parameters.values())
    else:
        assert refusal.startswith(f"{scratch}: ")
        assert "\n" not in refusal


class Bomb:
    """Would run code if anybody unpickled it."""

    exploded = False

    def __reduce__(self):
        return (setattr, (Bomb, "exploded", True))


def test_a_pickle_is_refused_and_never_loaded(tmp_path: Path) -> None:
    plain, zipped = tmp_path / "plain.pt", tmp_path / "zipped.pt"
    plain.write_bytes(pickle.dumps(Bomb()))
    torch.save({"C": torch.zeros(3), "bomb": Bomb()}, zipped)
    for path in (plain, zipped):
        with pytest.raises(MakemoreError, match="it looks like a pickle, which is never loaded"):
            load_checkpoint(path)
    assert not Bomb.exploded


def _without(header: dict, name: str) -> dict:
    header[name] = header[name]
    return {("other" if key == name else key): value for key, value in header.items()}


def _about(header: dict, **changes) -> dict:
    value = {k: v for k, v in (about(header) | changes).items() if v is not None}
    return header | {"__metadata__": {"makemore": json.dumps(value)}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h | {"__metadata__": {}}, "a safetensors file, but not a makemore checkpoint"),
        (lambda h: h | {"__metadata__": {"makemore": "[]"}}, "not a makemore checkpoint"),
        (lambda h: _about(h, format="makemore/9"), "not a makemore checkpoint"),
        (lambda h: _about(h, letters=None), "its vocabulary is missing"),
        (lambda h: _about(h, letters="zyx"), "its vocabulary is missing or invalid"),
        (lambda h: _about(h, letters="abc"), "tensor C is (27, 4) F32, but its configuration says (4, 4) F32"),
        (lambda h: _about(h, step=None), "its step, data checksum or loss is missing or invalid"),
        (lambda h: _about(h, config=None), "its configuration: "),
        (lambda h: _about(h, config={"model": {"hidden_size": "x"}}), "model.hidden_size: should be a valid integer"),
        (lambda h: _about(h, config=Config().model_dump()), "tensor C is (27, 4) F32"),
        (lambda h: _without(h, "W2"), "has no tensor W2"),
        (lambda h: h | {"C": h["C"] | {"dtype": "I32"}}, "tensor C is (27, 4) I32"),
        (lambda h: h | {"C": h["C"] | {"shape": [4, 27]}}, "tensor C is (4, 27) F32"),
        (lambda h: h | {"C": h["C"] | {"shape": [27, 5]}}, "not a valid safetensors checkpoint"),
    ],
)
def test_a_checkpoint_of_another_kind_is_refused(content: bytes, change, message: str, scratch: Path) -> None:
    header, tensors = split(content)
    with pytest.raises(MakemoreError) as error:
        from_bytes(join(change(header), tensors), scratch)
    assert message in str(error.value)
    assert str(error.value).startswith(f"{scratch}: ")


def test_numbers_that_are_not_finite_are_refused(content: bytes, scratch: Path) -> None:
    header, tensors = split(content)
    start = header["W1"]["data_offsets"][0]
    spoilt = tensors[:start] + struct.pack("<f", float("nan")) + tensors[start + 4 :]
    with pytest.raises(MakemoreError, match="tensor W1 holds numbers that are not finite"):
        from_bytes(join(header, spoilt), scratch)


def test_a_folder_is_never_lost(tmp_path: Path) -> None:
    with pytest.raises(MakemoreError, match="holds files that are not a run's"):
        Run.create(_with(tmp_path / "thesis", "thesis.tex"), overwrite=True)
    with pytest.raises(MakemoreError, match="holds files that are not a run's"):
        Run.create(_with(tmp_path / "settings", runs.CONFIG), overwrite=True)
    with pytest.raises(MakemoreError, match="holds an unfinished run already; overwrite it, or choose another folder"):
        Run.create(_with(tmp_path / "run", runs.METRICS))
    with pytest.raises(MakemoreError, match="is not a folder"):
        Run.create(_with(tmp_path / "folder", "file") / "file", overwrite=True)
    with pytest.raises(MakemoreError, match="can't create the run folder"):
        Run.create(tmp_path / "folder" / "file" / "run")
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "run", tmp_path / "empty", tmp_path / "a" / "new" / "one"):
        with Run.create(folder, overwrite=True):
            pass
    assert (tmp_path / "thesis" / "thesis.tex").read_text() == "mine"
    assert (tmp_path / "run" / runs.METRICS).read_text() == "mine"  # until another run begins there


def _with(folder: Path, name: str) -> Path:
    folder.mkdir()
    (folder / name).write_text("mine")
    return folder


def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    config = Config()
    with Run.create(tmp_path / "run") as run:
        for take in (lambda: Run.create(tmp_path / "run", overwrite=True), lambda: Run.create(tmp_path / "run")):
            with pytest.raises(MakemoreError, match="another process is training in this folder"):
                take()
        run.begin(config)
        with pytest.raises(MakemoreError, match="another process is training in this folder"):
            Run.resume(tmp_path / "run")
    with Run.resume(tmp_path / "run"):
        pass


def test_a_run_that_ended_before_it_began_is_in_nobodys_way(tmp_path: Path) -> None:
    """As when it was interrupted while its kernel was compiled."""
    for _ in range(2):
        with Run.create(tmp_path / "run"):
            pass


@pytest.mark.parametrize(
    "torn", ["", '{"step": 6, "lo', '{"step": 6, "loss": 0.5, "lr": 0.1}\n{"step": 5, "eval": {}}\n']
)
def test_metrics_go_on_after_the_step_that_is_named(torn: str, tmp_path: Path) -> None:
    """What was written after the checkpoint goes, a torn line included; each step stands there once, in order."""
    config = Config()
    with Run.create(tmp_path / "run") as run:
        run.begin(config)
        run.append_steps(0, [3.0, 2.0, 1.5, 1.0, 0.75], [0.1] * 5)
        run.append_metrics({"step": 5, "eval": {"val": 1.0}})
    metrics = tmp_path / "run" / runs.METRICS
    with metrics.open("a") as file:
        file.write(torn)
    for step in (5, 3, 1):
        with Run.resume(tmp_path / "run") as run:
            run.resume_after(step, config)
            run.append_steps(step, [0.25], [0.1])
        records = [json.loads(line) for line in metrics.read_text().splitlines()]
        assert [record["step"] for record in records] == list(range(1, step + 2))
        assert records[-1] == {"step": step + 1, "loss": 0.25, "lr": 0.1}
    with Run.resume(tmp_path / "run") as run, pytest.raises(MakemoreError, match=r"metrics.jsonl: lacks step 4,"):
        run.resume_after(4, config)


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    files.write_atomically(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(MakemoreError, match=r"file: can't write: No space left on device"):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_what_a_killed_process_left_half_written_is_in_nobodys_way(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run") as run:
        run.begin(Config())
    half = files.partial(tmp_path / "run" / runs.CHECKPOINT)
    half.write_bytes(b"half")
    with Run.create(tmp_path / "run", overwrite=True) as run:
        run.begin(Config())
    assert not half.exists()
    half.write_bytes(b"half")
    files.write_atomically(tmp_path / "run" / runs.CHECKPOINT, b"whole")
    assert not half.exists()


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run") as run:
        run.begin(Config())
        run.append_steps(0, [3.0], [0.1])
        shutil.rmtree(tmp_path / "run")
        with pytest.raises(MakemoreError, match=r"metrics.jsonl: is gone; it or its folder was moved or removed"):
            run.append_steps(1, [3.0], [0.1])
