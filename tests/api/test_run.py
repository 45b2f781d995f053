"""`train` and `load` in Python: the same as the commands, and what they return."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import makemore_cli as mm
from makemore_cli.api.columns import Columns
from makemore_cli.runs.checkpoint import load_checkpoint
from makemore_cli.views.plots.gallery import KINDS
from tests.conftest import NAMES, Cli, logits_in_float64


def test_sampling_scoring_and_evaluating_equal_the_commands(trained: Path, cli: Cli) -> None:
    run = mm.load(trained)
    assert run.sample(7) == cli("sample", trained, "-n", 7).out.split("\n")[:-1]
    options = ("--seed", 3, "--temperature", 0.7, "--top-k", 5, "--prefix", "ma", "--max-length", 6)
    told = json.loads(cli("sample", trained, "-n", 9, *options, "--json").out)["names"]
    assert run.sample(9, seed=3, temperature=0.7, top_k=5, prefix="ma", max_length=6) == told
    assert run.sample(3, only_new=True) == cli("sample", trained, "-n", 3, "--new").out.split()
    assert run.sample(2, lecture=True) == cli("sample", trained, "-n", 2, "--lecture").out.split("\n")[:-1]
    scores = json.loads(cli("score", trained, "emma", "zoe", "--json").out)
    assert [one.to_json() for one in run.score(["emma", "zoe"])] == scores
    assert run.score("emma")[0].probabilities == pytest.approx(scores[0]["probabilities"])
    evaluated = json.loads(cli("eval", trained, "--json").out)["loss"]
    assert {split: run.loss(split) for split in evaluated} == evaluated


def test_probabilities_are_those_of_the_network(trained: Path) -> None:
    run = mm.load(trained)
    for prefix in ("", "e", "em", "emma", "emmaemma"):
        context = ([0, 0, 0] + [run.vocabulary.index(letter) for letter in prefix])[-3:]
        truth = torch.softmax(logits_in_float64(run.checkpoint.model, torch.tensor([context])), 1)[0]
        found = run.probabilities(prefix)
        assert list(found.values()) == sorted(found.values(), reverse=True)
        assert sum(found.values()) == pytest.approx(1)
        for token, letter in enumerate(run.vocabulary):
            assert found[letter] == pytest.approx(float(truth[token]), rel=1e-4)
    (emma,) = run.score("emma")
    assert emma.probabilities[2] == pytest.approx(run.probabilities("em")["m"], rel=1e-5)


def test_parameters_are_copies_by_the_lectures_names(trained: Path) -> None:
    run, checkpoint = mm.load(trained), load_checkpoint(trained)
    assert list(run.parameters) == list(checkpoint.model.sizes.shapes())
    assert {name: array.shape for name, array in run.parameters.items()} == checkpoint.model.sizes.shapes()
    assert np.array_equal(run.batchnorm["bnvar"], checkpoint.model.bnvar)
    before = run.sample(3)
    run.parameters["W2"][:] = 0
    assert run.sample(3) == before


def test_metrics_are_columns(trained: Path) -> None:
    run = mm.load(trained)
    log = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    steps = [record for record in log if "loss" in record]
    assert run.metrics["loss"].tolist() == [record["loss"] for record in steps]
    assert run.metrics["step"].tolist() == [record["step"] for record in steps]
    assert run.metrics.rows == len(steps)
    evaluations = [record for record in log if "eval" in record]
    assert run.evaluations["step"].tolist() == [record["step"] for record in evaluations]
    assert run.evaluations["val"].tolist() == [record["eval"]["val"] for record in evaluations]
    assert np.isnan(run.evaluations["test"][:-1]).all()
    diagnoses = [record for record in log if "diagnose" in record]
    assert run.diagnoses["grad_norm.W1"].tolist() == [record["diagnose"]["grad_norm"]["W1"] for record in diagnoses]
    assert "loss" in repr(run.metrics)
    assert run.metrics._repr_html_().count("<tr>") == 8  # the head, three rows at each end, and one between


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_columns_become_frames(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = Columns({"step": np.arange(3), "loss": np.array([3.0, 2.0, np.nan])})
    with monkeypatch.context() as without:
        without.setitem(sys.modules, library, None)
        with pytest.raises(mm.MakemoreError, match=f"{library} is not installed"):
            getattr(columns, f"to_{library}")()
    pytest.importorskip(library)
    frame = getattr(columns, f"to_{library}")()
    assert list(frame.columns) == ["step", "loss"]
    assert frame["loss"].to_numpy()[:2].tolist() == [3.0, 2.0]


@pytest.mark.every(3)
@pytest.mark.parametrize("what", KINDS)
def test_every_plot_is_a_figure(what: str, trained: Path) -> None:
    figure = mm.load(trained).plot(what)
    assert figure.axes
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_train_equals_the_command(tmp_path: Path, names_file: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = mm.train("tiny", data=names_file, steps=30, seed=5, settings={"optim.lr": 0.2}, quiet=True)
    assert run.path == tmp_path / "runs" / "tiny"
    told = json.loads(
        cli(
            *("train", "--config", "tiny", "--data", names_file, "--steps", 30, "--seed", 5, "--set", "optim.lr=0.2"),
            *("--out", "other", "--json", "--quiet"),
        ).out
    )
    assert run.summary is not None
    assert run.summary.loss == told["loss"]
    assert Path("runs/tiny/checkpoint.safetensors").read_bytes() == Path("other/checkpoint.safetensors").read_bytes()
    assert run.step == 30
    assert run.config["optim"]["lr"] == 0.2


def test_an_existing_run_is_refused_resumed_or_replaced(tmp_path: Path, names_file: Path) -> None:
    out = tmp_path / "run"
    mm.train("tiny", data=names_file, steps=20, out=out, quiet=True)
    before = (out / "checkpoint.safetensors").read_bytes()
    with pytest.raises(mm.MakemoreError, match="holds a run already"):
        mm.train("tiny", data=names_file, steps=20, out=out, quiet=True)
    assert (out / "checkpoint.safetensors").read_bytes() == before
    assert mm.train(resume=out, steps=35, quiet=True).step == 35
    assert mm.train("tiny", data=names_file, out=out, steps=40, resume=True, quiet=True).step == 40
    assert mm.train("tiny", data=names_file, out=out, steps=10, overwrite=True, quiet=True).step == 10
    straight = mm.train("tiny", data=names_file, steps=40, out=tmp_path / "straight", quiet=True)
    resumed = mm.train(resume=out, steps=40, quiet=True)
    for name, array in straight.parameters.items():
        assert np.allclose(array, resumed.parameters[name])


def test_names_in_a_list_are_kept_in_the_run_folder(tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "run"
    names = [*NAMES, "zoë", " li "]
    run = mm.train("tiny", data=(name for name in names), steps=20, out=out, quiet=True)
    assert set(run.vocabulary) == set("." + "".join(names).replace(" ", ""))
    kept = (out / "training-names.txt").read_text(encoding="utf-8")
    assert kept.split() == [name.strip() for name in names]
    assert "cannot tell" not in cli("sample", out).err
    from_file = mm.train("tiny", data=out / "training-names.txt", steps=20, out=tmp_path / "file", quiet=True)
    assert from_file.sample(5) == run.sample(5)
    assert mm.train(resume=out, steps=30, quiet=True).step == 30
    assert mm.train("tiny", data=names, out=out, resume=True, steps=40, quiet=True).step == 40
    with pytest.raises(mm.MakemoreError, match="is not the file"):
        mm.train("tiny", data=NAMES, out=out, resume=True, steps=50, quiet=True)
    (out / "training-names.txt").unlink()
    assert mm.train("tiny", data=names, out=out, resume=True, steps=50, quiet=True).step == 50
    assert (out / "training-names.txt").read_text(encoding="utf-8") == kept
    # A run on its own names replaces itself; another one removes them.
    mm.train("tiny", data=out / "training-names.txt", out=out, steps=10, overwrite=True, quiet=True)
    assert (out / "training-names.txt").read_text(encoding="utf-8") == kept
    mm.train("tiny", out=out, steps=10, overwrite=True, quiet=True)
    assert not (out / "training-names.txt").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"config": "nothing"}, "nothing: no such configuration"),
        ({"data": ["emma", 3]}, "data must be names, but number 2 is of type int"),
        ({"data": ["emma", "a\nb"]}, "data must be names without line breaks, but number 2"),
        ({"data": ["emma", "\udc80"]}, "data can't be written as UTF-8"),
        ({"data": []}, "data: holds no name"),
        ({"data": ["emma", "x.y", *NAMES]}, "data, line 2: a name can't contain"),
        ({"data": "missing.txt"}, "no such file"),
        ({"steps": -1}, "train.steps"),
        ({"settings": {"optim.lrr": 1}}, "did you mean lr"),
        ({"settings": {"optim.lr": "fast"}}, "optim.lr"),
        ({"settings": {"optim.lr": object()}}, "settings must have numbers"),
        ({"settings": ["optim.lr"]}, "settings must be key=value"),
        ({"engine": "fast"}, "train.engine"),
        ({"device": "cuda:99"}, "train.device"),
        ({"crosscheck": -1}, "crosscheck must be a whole number of at least 0, got -1"),
        ({"crosscheck": 2.5}, "crosscheck must be a whole number"),
        ({"data": 3}, "data must be a file or names"),
        ({"settings": [3]}, "settings must be a dictionary, or texts"),
        ({"resume": "nowhere"}, "there is no run to resume here"),
        ({"resume": True, "overwrite": True}, "overwrite replaces a run"),
    ],
)
def test_mistakes_name_the_parameter(
    options: dict[str, object], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = {"config": "tiny", "steps": 5, "quiet": True, **options}
    if options.get("resume") == "nowhere":
        del arguments["config"]
    with pytest.raises(mm.MakemoreError, match=told):
        mm.train(**arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        (lambda run: run.sample(-1), "n must be a whole number of at least 0"),
        (lambda run: run.sample(1, prefix="É"), "does not know"),
        (lambda run: run.sample(1, temperature=-1), "temperature must be"),
        (lambda run: run.score(["emma", "E"]), "does not know"),
        (lambda run: run.probabilities("1"), "does not know"),
        (lambda run: run.loss("validation"), "split must be train, val or test"),
        (lambda run: run.loss("val", data="missing"), "no such file"),
        (lambda run: run.plot("dlogit"), "what must be one of"),
        (lambda run: mm.load(run.path / "nothing"), "no such run"),
        (lambda run: mm.load(run.path / "config.yaml"), "not a valid safetensors"),
    ],
)
def test_mistakes_with_a_run(mistake: object, told: str, trained: Path) -> None:
    with pytest.raises(mm.MakemoreError, match=told):
        mistake(mm.load(trained))


def test_a_run_keeps_its_model_whatever_happens_to_its_folder(
    tmp_path: Path, names_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = mm.train("tiny", data=names_file, steps=10, seed=1, out="run", quiet=True)
    loaded = mm.load("run")
    second = mm.train("tiny", data=names_file, steps=10, seed=2, out="run", overwrite=True, quiet=True)
    assert first.config["train"]["seed"] == 1
    assert first.parameters["W1"].tolist() == loaded.parameters["W1"].tolist() != second.parameters["W1"].tolist()
    monkeypatch.chdir("/")
    assert second.metrics.rows == 10
    assert mm.load(tmp_path / "run" / "best.safetensors").metrics.rows == 10


def test_numbers_of_numpy_and_nested_settings(tmp_path: Path, names_file: Path) -> None:
    options = {"data": names_file, "quiet": True}
    run = mm.train(
        "tiny",
        steps=np.int64(7),
        seed=np.int64(3),
        settings={"model": {"hidden_size": np.int32(16)}, "optim.lr": np.float32(0.5)},
        out=tmp_path / "run",
        **options,
    )
    assert (run.step, run.config["train"]["seed"], run.config["optim"]["lr"]) == (7, 3, 0.5)
    assert run.parameters["W1"].shape[1] == 16
    assert run.config["model"]["embedding_size"] == mm.load(run.path).config["model"]["embedding_size"] == 4
    assert (
        mm.train("tiny", settings="optim.lr=0.25", out=tmp_path / "text", steps=5, **options).config["optim"]["lr"]
        == 0.25
    )
    assert run.loss("val", data=NAMES) == run.loss("val", data=names_file)


def test_a_changed_file_warns(tmp_path: Path, names_file: Path) -> None:
    run = mm.train("tiny", data=names_file, steps=5, out=tmp_path / "run", quiet=True)
    names_file.write_text("\n".join(reversed(NAMES)))
    with pytest.warns(UserWarning, match="has changed since"):
        run.loss()


def test_training_off_the_main_thread(tmp_path: Path, names_file: Path) -> None:
    found: list[mm.Run] = []
    out = tmp_path / "run"
    thread = threading.Thread(target=lambda: found.append(mm.train("tiny", data=names_file, steps=9, out=out)))
    thread.start()
    thread.join()
    assert found[0].step == 9


def test_an_observer_is_told(tmp_path: Path, names_file: Path) -> None:
    class Own(mm.Observer):
        def __init__(self) -> None:
            self.steps: list[int] = []

        def progressed(self, progress: object) -> None:
            self.steps.append(progress.step)

        def should_stop(self) -> bool:
            return bool(self.steps) and self.steps[-1] >= 20

    own = Own()
    with pytest.raises(mm.StoppedError, match="and saved"):
        mm.train("tiny", data=names_file, steps=10_000_000, out=tmp_path / "run", observer=own, quiet=True)
    assert own.steps
    assert mm.load(tmp_path / "run").step >= 20


def test_scores_show_themselves() -> None:
    html = mm.Score("<b>", [0.5, 0.1, 0.9, 0.001])._repr_html_()
    assert "&lt;" in html
    assert "<b>" not in html


SCRIPT = """
import sys, threading
import makemore_cli as mm
mm.train("tiny", steps=100_000_000, out=sys.argv[1], data=["emma", "olivia", "ava", "mia", "noah", "liam"])
print("not reached")
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_signal_saves_and_does_what_it_would_do_anyway(number: str, tmp_path: Path) -> None:
    import signal
    import time

    out = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 60
        while not (out / "metrics.jsonl").exists() or (out / "metrics.jsonl").stat().st_size < 1000:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(getattr(signal, number))
        printed, told = process.communicate(timeout=60)
    assert printed == ""
    assert "and saved" in told
    assert (process.returncode, "KeyboardInterrupt: stopped after step" in told) == {
        "SIGINT": (-signal.SIGINT, True),  # as Python ends for an uncaught KeyboardInterrupt
        "SIGTERM": (-signal.SIGTERM, False),
    }[number]
    assert mm.load(out).step > 0
