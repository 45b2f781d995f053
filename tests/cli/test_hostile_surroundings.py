"""What others leave lying about, close, press or write: modules in the working folder, names that steer, Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pyte
import pytest

from makemore_cli.config import load as configuration
from makemore_cli.errors import LONGEST_MESSAGE_CHARACTERS, LONGEST_WORD_CHARACTERS, MakemoreError
from makemore_cli.names.shuffle import shuffled
from makemore_cli.printable import printable
from makemore_cli.runs.metrics import load_metrics
from makemore_cli.sweep.space import load_space
from makemore_cli.system import child_processes as children
from makemore_cli.views.plots.gallery import Subject, together
from makemore_cli.views.plots.style import drawing
from tests.conftest import NAMES, Cli
from tests.terminal import LINES, in_terminal

COMMAND = [sys.executable, "-m", "makemore_cli"]
SCRIPT = [str(Path(sys.executable).parent / "makemore")]  # Python itself imports from the working folder for -m
MODULES = ["json", "linecache", "multiprocessing", "numpy", "optuna", "random", "selectors", "signal", "socket"]
MODULES += ["struct", "subprocess", "torch", "types", "yaml"]
EVIL = "\x1b]0;title\x07\x1b[31m\x9b2J\u202e[red]\nB"
SHOWN = r"\x1b]0;title\x07\x1b[31m\x9b2J\u202e[red]\nB"


def run(
    *arguments: object, cwd: Path | None = None, command: list[str] = COMMAND, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        stdin=subprocess.DEVNULL,
    )


def started(*arguments: object, cwd: Path | None = None) -> subprocess.Popen[str]:
    """A process whose SIGINT is not ignored, as it would be in a background job."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


# --- Files in the working folder ---


@pytest.fixture
def trapped(tmp_path: Path) -> Path:
    """A folder full of files that would leave a trace if they were imported."""
    folder = tmp_path / "trapped"
    folder.mkdir()
    for module in MODULES:
        (folder / f"{module}.py").write_text(f"open({str(tmp_path / 'trace')!r}, 'a').write({module + ' '!r})")
    (folder / ".numba_config.yaml").write_text("cache_dir: elsewhere\ndisable_jit: 1\n")
    return folder


@pytest.mark.slow
def test_what_compiles_imports_nothing_from_the_working_folder(trapped: Path, tmp_path: Path) -> None:
    """Neither the command does, nor the process that compiles for it; and Numba's settings there are not read."""
    result = run(
        "train", "-c", "tiny", "--steps", 20, cwd=trapped, command=SCRIPT, NUMBA_CACHE_DIR=str(tmp_path / "cache")
    )
    assert result.returncode == 0, result.stderr
    assert "compiling the kernel" in result.stderr
    assert "engine      kernel on cpu" in result.stdout
    assert list((tmp_path / "cache").rglob("*.nbc"))
    assert not (trapped / "elsewhere").exists()
    assert not (tmp_path / "trace").exists()


@pytest.mark.slow
def test_what_sweeps_imports_nothing_from_the_working_folder(trapped: Path, tmp_path: Path) -> None:
    (trapped / "space.yaml").write_text("optim.lr: [0.1, 0.2]\n")
    settings = ["--set", "train.engine=tensor", "--set", "train.steps=20"]
    result = run(
        "sweep", "-c", "tiny", "--space", "space.yaml", "-n", 2, "--jobs", 2, *settings, cwd=trapped, command=SCRIPT
    )
    assert result.returncode == 0, result.stderr
    assert "2 trials: 2 complete" in result.stdout
    assert not (tmp_path / "trace").exists()


@pytest.mark.slow
def test_with_m_neither(tmp_path: Path) -> None:
    """From its first line on, what `python -m` runs forgets the folder that Python has put on the path."""
    (tmp_path / "signal.py").write_text("raise SystemExit('imported')")
    result = run("explain", "h", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")


def test_a_childs_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It lacks the working folder, however that is written, unless the package lies there: then that comes last."""
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "link").symlink_to(here)
    monkeypatch.chdir(here)
    installed = str(children.HOME)
    monkeypatch.setattr(sys, "path", ["", str(here), str(tmp_path / "link"), ".", "/nowhere", installed])
    assert children.import_path() == ["/nowhere", installed]
    monkeypatch.chdir(children.HOME)
    monkeypatch.setattr(sys, "path", ["", installed, "/nowhere"])
    assert children.import_path() == ["/nowhere", installed]


# --- What steers a terminal ---


def test_printable() -> None:
    assert printable(EVIL) == SHOWN
    assert printable(SHOWN) == SHOWN
    assert printable("a\nb\x1b", newlines=True) == "a\nb\\x1b"
    harmless = "Zoë Nguyễn 中村 می\u200cخواهم क\u094d\u200dष Jean\u00a0Luc $[red]"
    assert printable(harmless) == harmless
    for sign in map(chr, range(0x110000)):
        if not (sign.isascii() or sign.isprintable()) and sign in "\u2066\u2028\ufeff\ud800\x85\x9b\U000e0041":
            assert printable(sign).isascii()
    assert all(printable(chr(c)) != chr(c) for c in [*range(32), *range(0x7F, 0xA0), *range(0xD800, 0xE000)])


@pytest.mark.slow
def test_nothing_of_others_steers_the_terminal(tmp_path: Path, trained: Path, cli: Cli) -> None:
    """A stranger's run, its folder and its data, by every command that speaks of them."""
    names, folder = tmp_path / f"{EVIL}.txt", tmp_path / f"run{EVIL}"
    names.write_text("\n".join([*NAMES, "zo\u202ee", "ja\u200dn"]), encoding="utf-8")
    options = ["--engine", "tensor", "--steps", 20, "--data", names, "--out", folder]
    shown = [cli("train", "-c", "tiny", *options)]
    assert f"run{SHOWN}" in shown[0].out
    shown += [
        cli(*command)
        for command in (
            ["train", "--resume", folder, "--steps", 10],
            ["eval", folder],
            ["sample", folder, "-n", 200],
            ["sample", folder, "-n", 200, "--json"],
            ["score", folder, "zo\u202ee"],
            ["runs", "--dir", tmp_path],
            ["runs", "--dir", tmp_path, "--json"],
            ["runs", "diff", folder, trained],
            ["plot", folder, "--what", "loss"],
            ["plot", folder, trained, "--out", tmp_path / "plots"],
            ["report", folder],
            ["train", "-c", f"no{EVIL}"],
            ["train", "--set", f"optim.{EVIL}=1"],
            [f"no{EVIL}"],
        )
    ]
    names.unlink()
    shown += [cli("sample", folder, "-n", 1), cli("eval", folder)]
    for result in shown:
        assert printable(result.out, newlines=True) == result.out
        assert printable(result.err, newlines=True) == result.err
        assert result.code == 0 or result.err.count("\n") == 1
    sampled = next(result for result in shown if result.out.startswith("{"))
    assert "\u202e" in "".join(json.loads(sampled.out)["names"])  # a program reads what there is
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<title>run" in page


@pytest.mark.slow
@pytest.mark.parametrize("command", ["runs", "train"])
def test_a_real_terminal_is_not_steered(command: str, tmp_path: Path) -> None:
    """Neither by tables nor by the live view."""
    names, folder = tmp_path / f"{EVIL}.txt", tmp_path / f"run{EVIL}"
    names.write_text("\n".join(NAMES))
    options = ["--engine", "tensor", "--steps", "20", "--data", str(names), "--out", str(folder)]
    train = ["train", "-c", "tiny", *options, "--set", "train.sample_every=5"]
    if command == "runs":
        assert run(*train).returncode == 0
    shown = in_terminal(*(train if command == "train" else ["runs", "--dir", str(tmp_path)]), columns=200)
    assert "\x1b]" not in shown
    assert not re.search("\x1b\\[31m|\x9b|\u202e", shown)
    screen = pyte.Screen(200, LINES)
    pyte.Stream(screen).feed(shown)
    assert screen.title == ""
    assert SHOWN[:20] in "".join(screen.display)


# --- Streams and settings of the system ---


def test_a_closed_stdin(trained: Path, tmp_path: Path) -> None:
    for redirection, told in (
        ("<&-", "no names to score; give some"),
        (f"0>{tmp_path / 'x'}", "stdin: can't be read: Bad file"),
    ):
        command = f"{sys.executable} -m makemore_cli score {trained} {redirection}"
        result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr.startswith(f"makemore: {told}")
        assert result.stderr.count("\n") == 1


@pytest.mark.slow
def test_without_numbas_compiler(tmp_path: Path) -> None:
    """Another engine, with a remark; where the kernel itself is asked for, one line."""
    options = ["-c", "tiny", "--steps", 20, "--out", tmp_path / "run"]
    result = run("train", *options, NUMBA_DISABLE_JIT="1")
    assert result.returncode == 0, result.stderr
    assert result.stderr.startswith("NUMBA_DISABLE_JIT is set, so the kernel can't be compiled; using the slower")
    assert "engine      tensor on cpu" in result.stdout
    for command in (["train", *options, "--overwrite", "--engine", "kernel"], ["gradcheck", "--of", "kernel"]):
        result = run(*command, NUMBA_DISABLE_JIT="1")
        assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert "kernel can't be compiled, since NUMBA_DISABLE_JIT is set" in result.stderr


def test_a_large_file_is_shuffled_alike_without_numbas_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from makemore_cli.names import stream

    monkeypatch.setattr(stream, "MANY_NAMES", 10)
    compiled = stream._shuffled(1000, 42)
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert np.array_equal(stream._shuffled(1000, 42), compiled)
    assert np.array_equal(shuffled(1000, 42), compiled)


# --- Ctrl-C ---


@pytest.mark.slow
def test_ctrl_c_while_modules_are_imported(tmp_path: Path) -> None:
    """At any moment from the program's own first line on; Python's start before it is not the program's."""
    ended = 0
    for moment in range(8):
        with started("eval", tmp_path / "none", cwd=tmp_path) as process:
            time.sleep(0.15 + 0.05 * moment)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        if process.returncode == -signal.SIGINT or ("File" in err and "makemore_cli" not in err):
            continue  # a slow machine has not begun yet
        assert (process.returncode, out, err) in [(130, "", "makemore: interrupted\n"), (2, "", err)]
        ended += process.returncode == 130
    assert ended


SLOW = """
import hashlib, sys, time
from makemore_cli.system.signals import Held, Watch
watch = Watch("stopping soon", before=lambda: print("left", flush=True), exits=True)
with Held(watch) as signals:
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", int(sys.argv[1]))  # one call that no signal interrupts, as a huge product
    while signals.caught is None:
        time.sleep(0.01)
print("saved", signals.caught)
"""


def test_ctrl_c_is_told_of_and_a_second_one_ends_the_process() -> None:
    command = [sys.executable, "-c", SLOW, "1000000000"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        for _ in range(3):  # as good as one
            process.send_signal(signal.SIGINT)
        pressed = time.monotonic()
        assert process.stderr.readline() == "stopping soon; press Ctrl-C again to stop at once\n"
        assert time.monotonic() < pressed + 5
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (130, "left\n", "makemore: interrupted\n")


def test_a_second_ctrl_c_leaves_other_peoples_processes_alive() -> None:
    """In somebody's program, the second one is a KeyboardInterrupt, as any other."""
    code = """
import sys, time
from makemore_cli.system.signals import Held, Watch
try:
    with Held(Watch("stopping soon")):
        print("ready", flush=True)
        while True:
            time.sleep(0.01)
except KeyboardInterrupt:
    print("alive", Watch.exits)
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        for _ in range(3):  # as good as one
            process.send_signal(signal.SIGINT)
        assert process.stderr.readline() == "stopping soon; press Ctrl-C again to stop at once\n"
        process.send_signal(signal.SIGINT)
        try:
            out, err = process.communicate(timeout=10)
        finally:
            process.kill()  # else a failure would wait for it for ever
    assert (process.returncode, out, err) == (0, "alive False\n", "")


def test_ctrl_c_is_not_told_of_where_it_is_heard_at_once() -> None:
    command = [sys.executable, "-c", SLOW, "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, f"saved {signal.SIGTERM.value}\n", "")


@pytest.mark.slow
def test_an_enormous_network_is_left_at_once(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("\n".join(NAMES))
    options = ["--set", "model.hidden_size=262144", "--set", "train.batch_size=2048", "--data", names]
    with started("train", "-c", "tiny", "--out", tmp_path / "run", *options) as process:
        assert process.stderr is not None
        while "parameters, engine" not in process.stderr.readline():
            pass
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline().startswith("stopping")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=5) == 130
        assert process.stderr.read() == "makemore: interrupted\n"


# --- Numbers and lengths ---

TOO_MUCH = [
    ("optim.clip=1e308", "should be less than or equal to 1e+30, but is 1e+308"),
    ("model.batchnorm.epsilon=1e308", "should be less than or equal to 1e+30, but is 1e+308"),
    ("optim.schedule.gamma=1e308", "should be less than or equal to 1e+30, but is 1e+308"),
    ("optim={lr: 0.0, schedule: {gamma: 1e20, milestones: [1, 2]}}", "the learning rate would grow beyond 1e30"),
    ("optim={name: adamw, lr: 1e20, beta1: 0.9999999999999}", "lr / (1 − beta1) is beyond 1e30"),
    ("optim.schedule.milestones=[1000000000000000000]", "should be less than or equal to 1e+12"),
]


@pytest.mark.parametrize(("setting", "told"), TOO_MUCH)
def test_numbers_that_float32_does_not_bear(setting: str, told: str) -> None:
    with pytest.raises(MakemoreError, match=re.escape(told)):
        configuration.load(configuration.find("tiny"), [setting])


@pytest.mark.every(3)
@pytest.mark.parametrize("engine", ["kernel", "tensor"])
@pytest.mark.parametrize(
    "setting",
    [
        "optim.clip=1e30",
        "optim.clip=1e-30",
        "model.batchnorm.epsilon=1e30",
        "optim.lr=1e30",
        "optim={lr: 1e30, weight_decay: 1e6}",
        "optim={name: adamw, lr: 0.1, beta1: 0.9999999999999999, beta2: 0.9999999999999999, epsilon: 1e-30}",
    ],
)
def test_numbers_at_their_bounds_warn_of_nothing(engine: str, setting: str, cli: Cli, tmp_path: Path) -> None:
    options = ["--engine", engine, "--steps", 20, "--set", setting, "-q", "--out", tmp_path / "run"]
    result = cli("train", "-c", "tiny", *options)
    assert result.code in (0, 2)
    assert result.err.count("\n") == (1 if result.code else 0)


def test_a_step_too_fine_for_its_range(tmp_path: Path) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("optim.lr: {low: 0.1, high: 0.2, step: 1e-320}")
    with pytest.raises(MakemoreError, match="step is too small for the range"):
        load_space(space, configuration.load(configuration.find("tiny")))


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--set", "K=1"],
        ["train", "--set", "optim.lr=K"],
        ["train", "--set", "optim={K: 1}"],
        ["train", "--data", "K"],
        ["train", "--config", "K"],
        ["sample", "K"],
        ["explain", "K"],
        ["plot", "K", "--what", "loss"],
        ["K"],
        ["train", "--K"],
    ],
)
def test_messages_are_short(arguments: list[str], cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for long in ("k" * 5000, "k " * 2500):
        result = cli(*(argument.replace("K", long) for argument in arguments))
        assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
        assert "cannot continue" not in result.err  # the last resort, for what no one expected
        assert len(result.err) < LONGEST_MESSAGE_CHARACTERS + 100
        assert "k" * (LONGEST_WORD_CHARACTERS + 1) not in result.err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"step": 700, "loss": "x", "lr": 0.1}', "is not a training record"),
        ('{"step": 700, "loss": 1.0}', "is not a training record"),
        ('{"step": 700, "eval": 3}', "is not a training record"),
        ('{"step": 700, "lo', "is not a training record"),
        ('{"step": 701, "loss": 1.0, "lr": 0.1}', "steps are missing, repeated or out of order"),
    ],
)
def test_a_damaged_line_is_named(line: str, told: str, trained: Path, tmp_path: Path) -> None:
    lines = (trained / "metrics.jsonl").read_text().splitlines()
    at = next(n for n, record in enumerate(lines) if '"step": 700, "loss"' in record)
    lines[at : at + ("eval" not in line)] = [line]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(MakemoreError, match=f"metrics.jsonl, line {at + 1}: {told}"):
        load_metrics(tmp_path)


@pytest.mark.parametrize("count", [2, 14, 40])
def test_many_runs_and_long_names_in_one_picture(count: int, trained: Path, tmp_path: Path) -> None:
    """The axes keep their room, all words are within the picture, and the legend does not hide the title."""
    folders = [tmp_path / name for name in ["n" * 200, *(f"run{n}" for n in range(count - 1))]]
    for folder in folders:
        folder.mkdir()
        shutil.copy(trained / "metrics.jsonl", folder)
    picture = together([Subject(folder) for folder in folders])
    with warnings.catch_warnings(), drawing():
        warnings.simplefilter("error")
        figure = picture.figure()
        figure.draw_without_rendering()
        axes = figure.axes[0]
        width, height = axes.get_window_extent().size / figure.dpi
        assert width > 4
        assert height > 3
        legend = axes.get_legend()
        assert legend is not None
        boxes = [text.get_window_extent() for text in [*figure.texts, *legend.get_texts()]]
        for box in boxes:
            assert box.x0 >= 0
            assert box.x1 <= figure.bbox.x1
        title = figure._suptitle.get_window_extent()
        assert not title.overlaps(legend.get_window_extent())
        assert title.x1 <= figure.bbox.x1
