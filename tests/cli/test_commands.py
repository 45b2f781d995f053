"""The commands as people use them: what they print where, what they return, and what they say of mistakes."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from makemore_cli import __version__
from makemore_cli.backprop import fused
from tests.conftest import NAMES, Cli
from tests.terminal import in_terminal

COMMANDS = [[], ["train"], ["sample"], ["score"], ["gradcheck"], ["eval"], ["data"], ["data", "get"]]
NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")


def makemore(*arguments: object, **options) -> subprocess.CompletedProcess[str]:
    """A real process."""
    command = [sys.executable, "-m", "makemore_cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_help_has_an_example_that_is_a_command(command: list[str], cli: Cli) -> None:
    result = cli(*command, "--help")
    assert result.code == 0
    text = " ".join(result.out.split())
    assert f"Usage: {' '.join(['makemore', *command])}" in text
    assert "Example: makemore " in text


def test_help_and_version(cli: Cli) -> None:
    assert cli().out == cli("--help").out == cli("-h").out
    assert cli("--version").out == f"makemore {__version__}\n"


def test_train_prints_a_summary_and_samples(cli: Cli, tmp_path: Path) -> None:
    result = cli("train", "--config", "tiny", "--out", tmp_path / "run", "--steps", 30)
    assert result.code == 0
    assert re.search(r"^train loss +3\.\d{4}", result.out)
    assert re.search(r"^parameters +1,479", result.out, re.MULTILINE)
    assert "114,412 / 14,353 / 14,311 examples" in result.err
    assert re.search(r"^step 30/30  loss \d\.\d{4}  lr 0\.2  [\d,]+ steps/s  0 s left$", result.err, re.MULTILINE)
    assert "\x1b" not in result.out + result.err


def test_train_json_is_one_object(cli: Cli, tmp_path: Path) -> None:
    result = cli("train", "--config", "tiny", "--out", tmp_path / "run", "--steps", 30, "--json", "--quiet")
    summary = json.loads(result.out)
    assert result.err == ""
    assert list(summary) == [
        "run", "engine", "device", "steps", "parameters", "resumed_at", "seconds", "steps_per_second", "loss",
        "samples", "date", "environment",
    ]  # fmt: skip
    assert list(summary["loss"]) == ["train", "val", "test"]
    assert (summary["engine"], summary["steps"], summary["parameters"]) == ("kernel", 30, 1479)
    assert summary == json.loads((tmp_path / "run" / "summary.json").read_text())


def test_train_takes_every_option(cli: Cli, tmp_path: Path, names_file: Path) -> None:
    options = f"""--data {names_file} --out {tmp_path}/run --set optim.lr=0.05 --set model.hidden_size=8 --device cpu
        --engine autograd --seed 5 --steps 12 --crosscheck 4 --set train.eval_every=5 --set train.sample_every=6"""
    result = cli("train", "--config", "tiny", *options.split())
    assert result.code == 0, result.err
    assert re.search(r"^step 5: loss \d\.\d+ train, \d\.\d+ val$", result.err, re.MULTILINE)
    assert re.search(r"^step 6: \S+", result.err, re.MULTILINE)
    config = (tmp_path / "run" / "config.yaml").read_text()
    for line in (f"path: {names_file}", "lr: 0.05", "hidden_size: 8", "engine: autograd", "seed: 5", "steps: 12"):
        assert line in config
    # The resolved configuration is one that can be trained again.
    again = cli("train", "--config", tmp_path / "run" / "config.yaml", "--out", tmp_path / "again", "-q")
    assert again.code == 0
    first, second = ((tmp_path / name / "checkpoint.safetensors").read_bytes() for name in ("run", "again"))
    assert first == second


def test_the_default_run_folder_is_named_after_the_configuration(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("train: {steps: 3}\nmodel: {hidden_size: 4}\n")
    assert cli("train", "--config", "mine.yaml", "-q").code == 0
    assert cli("train", "--steps", 3, "-q", "--engine", "tensor").code == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["mine", "quickstart"]


def test_overwrite_leaves_no_mixture(cli: Cli, tmp_path: Path) -> None:
    """A run that replaces another and fails is not to be sampled as if it were the other."""
    (tmp_path / "notes.txt").write_text("mine")
    tiny = ["train", "--config", "tiny", "--steps", 30, "--out", tmp_path, "-q"]
    assert cli(*tiny).code == 2  # it holds other things than a run
    (tmp_path / "notes.txt").unlink()
    assert cli(*tiny).code == 0
    (tmp_path / "notes.txt").write_text("mine")
    failed = cli(*tiny, "--overwrite", "--set", "optim.lr=1e30")
    assert failed.code == 2
    assert re.search(r"step \d+: the loss is (nan|inf): .*; try a smaller learning rate", failed.err)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "metrics.jsonl", "notes.txt"]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) >= 1  # what led there
    sampled = cli("sample", tmp_path)
    assert (sampled.code, sampled.out) == (2, "")
    assert "has no checkpoint.safetensors yet, since its training was stopped early" in sampled.err
    assert "holds an unfinished run already" in cli(*tiny).err


@pytest.mark.parametrize("steps", [1, 2, 3, 20])
def test_a_run_that_diverges(steps: int, cli: Cli, tmp_path: Path) -> None:
    """Whether it shows in a loss on the way, in the parameters after the last step, or only when all is evaluated."""
    settings = ["--set", "optim.lr=1e30", "--set", "model.batchnorm.epsilon=1e-30"]
    result = cli("train", "--config", "tiny", "--steps", steps, *settings, "--out", tmp_path / "run", "-q")
    assert result.code == 2 or math.isfinite(json.loads((tmp_path / "run" / "summary.json").read_text())["loss"]["val"])
    assert result.err.count("\n") == (result.code == 2)


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["optim.lr=5", "optim.lr=0.1"])
def test_crosscheck_is_no_false_alarm(setting: str, cli: Cli, tmp_path: Path) -> None:
    """Not where nearly every name is the same, nor where the learning rate is far too large."""
    (tmp_path / "same.txt").write_text("a\n" * 10 + "aa\n")
    for number, data in enumerate([["--data", tmp_path / "same.txt"], []]):
        out = tmp_path / str(number)
        result = cli(
            "train", "--config", "tiny", "--steps", 20, "--crosscheck", 1, "--set", setting, "--out", out, *data
        )
        assert result.code == 0, result.err
        assert "20 crosschecks, all agree: the hand-written training pass, compiled, against autograd " in result.err
        assert cli("gradcheck", "--run", out).code == 0


def test_a_folder_does_not_hide_a_bundled_configuration(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    assert cli("train", "--config", "tiny", "--steps", 3, "-q").code == 0
    again = cli("train", "--config", tmp_path / "runs" / "tiny" / "config.yaml", "-q")
    assert again.err == (
        "makemore: runs/tiny: holds a run already; resume it, overwrite it, or choose another folder "
        "(--resume, --overwrite, --out)\n"
    )


def test_overwrite_replaces_a_run(cli: Cli, tmp_path: Path) -> None:
    for seed in (1, 2):
        result = cli("train", "--config", "tiny", "--steps", 3, "--seed", seed, "--out", tmp_path, "--overwrite", "-q")
        assert result.code == 0, result.err
    assert "seed: 2" in (tmp_path / "config.yaml").read_text()
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 4


def test_sample(cli: Cli, trained: Path) -> None:
    result = cli("sample", trained, "-n", 30)
    assert result.code == 0
    names = result.out.splitlines()
    assert len(names) == 30
    counts = re.fullmatch(
        r"of 30 names: (\d+) in the training split, (\d+) in the validation or test split, (\d+) new\n",
        result.err,
    )
    assert counts
    assert sum(map(int, counts.groups())) == 30
    # The names that training ended with are the first of them.
    assert json.loads((trained / "summary.json").read_text())["samples"] == names[:10]
    assert cli("sample", trained / "checkpoint.safetensors", "-n", 30).out == result.out
    assert cli("sample", trained, "-n", 30, "--seed", 1).out != result.out

    as_json = json.loads(cli("sample", trained, "-n", 30, "--json").out)
    assert as_json["names"] == names
    assert list(as_json["kinds"].values()) == [int(count) for count in counts.groups()]


def test_sample_new_says_why_it_cannot(cli: Cli, trained: Path) -> None:
    result = cli("sample", trained, "-n", 3, "--new", "--temperature", 0, "--max-length", 4)
    assert result.code == 0
    assert len(result.out.splitlines()) <= 1
    assert "of 3 new names: the next 20,000 samples had no other; try a higher --temperature" in result.err


def test_sample_without_the_data(cli: Cli, tmp_path: Path, names_file: Path) -> None:
    """The checkpoint is enough to sample from; only what is new can't be told."""
    run = tmp_path / "run"
    assert cli("train", "--config", "tiny", "--data", names_file, "--steps", 9, "--out", run, "-q").code == 0
    whole = cli("sample", run)
    names_file.write_text("\n".join([*NAMES, "alma"]))
    changed = cli("sample", run)
    assert changed.out == whole.out
    assert (
        changed.err == f"cannot tell which names are new: {names_file}: has changed since the model was trained on it\n"
    )
    assert "has changed since the model was trained on it" in cli("eval", run).err
    names_file.unlink()
    gone = cli("sample", run)
    assert (gone.code, gone.out) == (0, whole.out)
    assert gone.err.startswith(f"cannot tell which names are new: {names_file}: no such file")
    refused = cli("sample", run, "--new")
    assert refused.code == 2
    assert refused.err.startswith(f"makemore: --new cannot tell which names are new: {names_file}: no such file")


def test_eval(cli: Cli, trained: Path, names_file: Path) -> None:
    summary = json.loads((trained / "summary.json").read_text())
    result = json.loads(cli("eval", trained, "--json").out)
    assert result["loss"] == summary["loss"]
    assert result["examples"] == {"train": 114_412, "val": 14_353, "test": 14_311}
    assert cli("eval", trained).out.startswith(f"train loss  {summary['loss']['train']:.4f} over 114,412 examples\n")
    other = json.loads(cli("eval", trained, "--data", names_file, "--json").out)
    assert other["data"] == str(names_file)
    assert sum(other["examples"].values()) == sum(len(name) + 1 for name in NAMES)


@pytest.mark.slow
def test_gradcheck_passes_and_fails(cli: Cli, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = cli("gradcheck", "--config", "lecture", "--set", "model.hidden_size=64")
    assert right.code == 0
    assert "All agree: 37 of 37 gradients, 30 of 30 backward lines checked alone." in right.out
    assert cli("gradcheck", "--run", trained, "--json", "--device", "cpu").code == 0
    assert cli("gradcheck", "--set", "train.dtype=float64", "--set", "model.first_bias=false").code == 0

    cross_entropy = fused.cross_entropy
    monkeypatch.setattr(fused, "cross_entropy", lambda logits, Y, *s: (cross_entropy(logits, Y, *s)[0], logits))
    wrong = cli("gradcheck", "--config", "tiny", "--json")
    assert wrong.code == 1
    report = json.loads(wrong.out)
    assert not report["ok"]
    assert [s["name"] for s in report["sections"] if not s["ok"]] == ["fused cross-entropy", "training pass"]
    shown = cli("gradcheck", "--config", "lecture")
    assert shown.code == 1
    assert "wrong: fused cross-entropy: logits (32, 27)" in shown.out
    assert "Disagree: " in shown.out


@NO_CUDA
@pytest.mark.parametrize("device", ["cuda", "cuda:3"])
def test_no_cuda(device: str, cli: Cli, tmp_path: Path) -> None:
    for command in (["train", "--out", tmp_path / "run"], ["gradcheck"]):
        result = cli(*command, "--device", device)
        assert result.code == 2
        assert result.err == f"makemore: --device {device} is not available: PyTorch finds no CUDA device; choose cpu\n"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("frobnicate", "No such command 'frobnicate'"),
        ("train --bogus", "No such option: --bogus"),
        ("train --steps many", "Invalid value for '--steps'"),
        ("train --crosscheck -1", "Invalid value for '--crosscheck'"),
        ("sample run extra", "Got unexpected extra argument"),
        ("sample", "Missing argument 'RUN'"),
        ("data", "Missing command"),
    ],
)
def test_usage_errors_are_one_line_too(arguments: str, message: str, cli: Cli) -> None:
    result = cli(*arguments.split())
    assert result.code == 2
    assert message in result.err
    assert re.search(r"; see `makemore.* --help`\n$", result.err)
    assert result.err.count("\n") == 1


# Real processes.


@pytest.mark.slow
def test_it_runs_as_a_module_and_from_anywhere(tmp_path: Path) -> None:
    assert makemore("--version", cwd=tmp_path).stdout == f"makemore {__version__}\n"
    result = makemore("train", "--config", "tiny", "--steps", 3, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "runs" / "tiny" / "checkpoint.safetensors").is_file()


def test_help_imports_nothing_heavy() -> None:
    code = """
import sys
from makemore_cli.cli.main import main
main(["--help"])
print("torch" in sys.modules, "numpy" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.endswith("False False\n")


def test_a_reader_that_has_enough(trained: Path) -> None:
    """`makemore sample RUN -n 100000 | head -1` ends without a word."""
    command = [sys.executable, "-m", "makemore_cli", "sample", str(trained), "-n", "100000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().strip()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 141


@pytest.mark.every(4)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["explain", "h"], ["gradcheck", "--config", "tiny"]])
def test_a_full_disk_under_stdout(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "makemore_cli", *arguments]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert result.returncode == 2
    assert result.stderr == "makemore: cannot continue: stdout: No space left on device\n"


@pytest.mark.slow
def test_a_terminal_that_cannot_show_a_letter() -> None:
    result = makemore("explain", "h", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert result.returncode == 0
    assert result.stdout.startswith("h  (n \\xd7 H)")


def test_a_closed_stdout() -> None:
    command = f"{shlex.quote(sys.executable)} -m makemore_cli --version >&-"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.slow
def test_the_cursor_comes_back(tmp_path: Path) -> None:
    shown = in_terminal("train", "--config", "tiny", "--out", str(tmp_path / "run"), "--steps", "1500")
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


@pytest.mark.slow
def test_no_color(tmp_path: Path) -> None:
    shown = in_terminal("gradcheck", "--config", "tiny", NO_COLOR="1")
    assert "All agree" in shown
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", shown)
    assert re.search(r"\x1b\[[0-9;]*3[0-7]m", in_terminal("gradcheck", "--config", "tiny"))
