"""The search for a configuration: spaces, trials, what is pruned, stopped, killed, resumed, and drawn."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from optuna.trial import TrialState

from makemore_cli.config import load as configuration
from makemore_cli.config.schema import Config
from makemore_cli.errors import MakemoreError
from makemore_cli.sweep import liveness, worker
from makemore_cli.sweep import search as sweeps
from makemore_cli.sweep import study as studies
from makemore_cli.sweep.picture import SweepPicture
from makemore_cli.sweep.space import EXPECTED, load_space, short
from makemore_cli.sweep.study import Plan, importances, open_study, outcomes
from makemore_cli.system import files
from makemore_cli.training.trainer import train
from tests.conftest import Cli
from tests.views.test_plots import drawn, readable

SPACE = """\
optim.lr: {low: 0.01, high: 1, log: true}
model.hidden_size: {low: 8, high: 16, step: 8}
train.batch_size: [16, 64]
optim.schedule: [{name: cosine}, {name: linear, final: 0.1}]
"""


def planned(folder: Path, space: str = SPACE, *settings: str, **options) -> Plan:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "space.yaml").write_text(space)
    config = configuration.load(configuration.find("tiny"), ["train.steps=100", *settings])
    return sweeps.plan(config, folder / "space.yaml", folder, **options)


class Leave(Connection):
    """In place of the process that sweeps: gives leave for some trials, and keeps what it is told."""

    def __init__(self, trials: int) -> None:
        self._handle, self.left, self.told = None, trials, []

    def recv(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def send(self, told: object) -> None:
        self.told.append(told)

    def poll(self, timeout: float = 0.0) -> bool:
        return False


def worked(plan: Plan, trials: int) -> list:
    """The trials of one process, which is this one. Returns what it said of them."""
    study = open_study(plan)
    studies.begin(study, plan)
    leave = Leave(trials)
    worker.work(plan, leave)
    assert leave.told.pop() is None
    return leave.told


# --- Trials ---


def test_trials_are_runs_and_the_best_is_written(tmp_path: Path) -> None:
    """Each is what `train` makes of its configuration; nothing else is left of them."""
    plan = planned(tmp_path, trials=6)
    assert worked(plan, 6) == list(range(6))
    results = sweeps.sweep(plan, print)  # they are all there
    assert len(results.trials) == 6
    losses = [trial.val for trial in results.trials if trial.state == "complete"]
    assert losses == sorted(losses)
    for trial in results.trials[:1] + results.trials[-1:]:
        again = train(configuration.change(plan.config, trial.settings, ""), tmp_path / str(trial.number))
        assert (again.loss["val"], again.loss["train"]) == (trial.val, trial.train)
        assert again.parameters == trial.parameters
    best = configuration.load(tmp_path / "best.yaml")
    assert configuration.flatten(best.model_dump())["optim.lr"] == results.trials[0].settings["optim.lr"]
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {
        ".lock",
        "space.yaml",
        "sweep.journal",
        "best.yaml",
        "sweep.png",
    }
    # The configuration's own values come first, as far as the space has them.
    first = next(trial for trial in results.trials if trial.number == 0)
    assert first.settings["optim.lr"] == 0.2
    assert {type(trial.settings["model.hidden_size"]) for trial in results.trials} == {int}
    assert {trial.settings["model.hidden_size"] for trial in results.trials} <= {8, 16}
    shares = results.importance
    assert shares.keys() <= plan.space.keys()
    assert not shares or sum(shares.values()) == pytest.approx(1)
    drawn(SweepPicture(results.trials, plan.space, shares, "a sweep"))


def test_bad_trials_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that learn next to nothing, once there are others to compare with, before their last step."""
    monkeypatch.setattr(studies, "RANDOM_TRIALS", 1)
    plan = planned(tmp_path, "optim.lr: [0.2, 0.0001]", trials=9)
    study = open_study(plan)
    studies.begin(study, plan)
    for lr in (0.2, 0.2, 0.0001, 0.2, 0.0001):
        study.enqueue_trial({"optim.lr": lr})
    worked(plan, 6)
    states = {(trial.settings["optim.lr"], trial.state) for trial in outcomes(study, plan.space)}
    assert states == {(0.2, "complete"), (0.0001, "pruned")}
    early = [t for t in study.trials if t.state == TrialState.PRUNED]
    assert all(20 <= max(trial.intermediate_values) < 100 for trial in early)
    complete = next(t for t in study.trials if t.state == TrialState.COMPLETE)
    assert list(complete.intermediate_values) == [10, 20, 30, 40, 50, 60, 70, 80, 90]


def test_what_fails_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    plan = planned(tmp_path, "optim.lr: [0.2, 1.0e+25]\noptim.nesterov: [true, false]", trials=4)
    study = open_study(plan)
    for lr, nesterov in ((1e25, False), (0.2, True), (0.2, False)):
        study.enqueue_trial({"optim.lr": lr, "optim.nesterov": nesterov})
    worker.work(plan, Leave(3))
    ended = outcomes(study, plan.space)
    assert [trial.state for trial in ended] == ["complete", "failed", "failed"]
    told = {trial.settings["optim.lr"]: trial.told for trial in ended[1:]}
    assert "step 2: the loss is nan" in told[1e25] or "not finite" in told[1e25]
    assert told[0.2] == "optim: nesterov needs a momentum above 0"


def test_a_study_of_something_else_is_refused(tmp_path: Path, names_file: Path) -> None:
    worked(planned(tmp_path / "one", trials=1), 1)
    told = "the {} is not what the study sweep was started with, .*; choose another folder"
    for what, plan in (
        ("configuration", planned(tmp_path / "one", SPACE, "optim.warmup=3")),
        ("space", planned(tmp_path / "one", SPACE.replace("[16, 64]", "[16, 32]"))),
        ("data", planned(tmp_path / "one", SPACE, f"data.path={names_file}")),
    ):
        with pytest.raises(MakemoreError, match=told.format(what)):
            sweeps.sweep(plan, print)
    on_another_machine = planned(tmp_path / "one", SPACE, "train.engine=tensor", trials=1)
    assert len(sweeps.sweep(on_another_machine, print).trials) == 1


# --- Stopped and killed ---


def command(folder: Path, *more: object) -> list[str]:
    space = folder.parent / "space.yaml"
    space.write_text("optim.lr: [0.1, 0.2, 0.3]\nmodel.embedding_size: {low: 2, high: 9}\n")
    options = ["--config", "tiny", "--space", space, "--out", folder, "--jobs", 2, "-n", 3, *more]
    return [sys.executable, "-m", "makemore_cli", "sweep", *map(str, options)]


def trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
    plan = Plan(Config(), "", {}, folder, None, "sweep", 1, 1)
    return open_study(plan).trials


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_sweep_that_is_ended_goes_on(number: int, tmp_path: Path) -> None:
    """Its trials are given back and tried again; none is counted twice, no process and no folder stays behind."""
    folder, places = tmp_path / "sweep", tmp_path / "places"
    places.mkdir()
    steps, environment = "--set=train.steps=150000", {**os.environ, "TMPDIR": str(places)}
    with subprocess.Popen(command(folder, steps), stderr=subprocess.PIPE, text=True, env=environment) as first:
        while not list(places.glob("makemore-trial-*/metrics.jsonl")):
            assert first.poll() is None
            time.sleep(0.02)
        first.send_signal(number)
        error = first.communicate(timeout=60)[1]  # its processes hold the other end
    if number != signal.SIGKILL:
        assert first.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
        assert error.splitlines()[-1].endswith("of 3 trials; run the same sweep again to continue it")
        assert error.count("\n") <= 2
    assert list(places.glob("makemore-trial-*")) == []
    stopped = [trial for trial in trials(folder) if trial.state in (TrialState.FAIL, TrialState.RUNNING)]
    begun = {json.dumps(trial.params) for trial in stopped if trial.params}
    assert begun
    if number != signal.SIGKILL:
        return
    with (folder / "sweep.journal").open("a") as journal:
        journal.write('{"op_code": 0, "worker')  # as a full disk would leave it
    again = subprocess.run(command(folder, steps, "--json"), capture_output=True, text=True, timeout=100)
    assert again.returncode == 0, again.stderr
    ended = json.loads(again.stdout)["trials"]
    assert len(ended) == 3
    states = [trial.state for trial in trials(folder)]
    assert states.count(TrialState.FAIL) == len(stopped)
    assert TrialState.RUNNING not in states
    assert begun <= {json.dumps(trial["settings"]) for trial in ended}
    assert configuration.load(folder / "best.yaml").train.steps == 150_000


def test_a_running_trial_of_another_machine_is_left_alone(tmp_path: Path) -> None:
    plan = planned(tmp_path, trials=2)
    study = open_study(plan)
    here = liveness.machine()
    for machine, pid in ((socket.gethostname(), 1), (here, os.getpid()), (here, 2**22 + 1)):
        trial = study.ask()
        trial.set_user_attr("machine", machine)
        trial.set_user_attr("pid", pid)
    liveness.bury(study)
    assert [trial.state for trial in study.trials] == [TrialState.RUNNING, TrialState.RUNNING, TrialState.FAIL]


def test_a_trial_of_a_machine_that_vanished_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its heartbeat does not change any more. Clocks of other machines play no part."""
    study = open_study(planned(tmp_path))
    study.enqueue_trial({"optim.lr": 0.3})
    vanished, alive = study.ask(), study.ask()
    lookout = liveness.Lookout()
    for seconds in (0, 50, 100, 150, 200):
        monkeypatch.setattr(liveness, "time", SimpleNamespace(monotonic=lambda now=seconds: now))
        alive.set_user_attr("beat", seconds)
        vanished.set_user_attr("beat", min(seconds, 50))
        lookout.look(study)
        assert study.trials[0].state == (TrialState.FAIL if seconds > 170 else TrialState.RUNNING)
        if seconds == 150:  # one who comes late has to look for as long
            liveness.Lookout().look(study)
    assert [trial.state for trial in study.trials[1:]] == [TrialState.RUNNING, TrialState.WAITING]
    assert study.ask().suggest_float("optim.lr", 0.1, 1) == 0.3


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    plan = planned(tmp_path, trials=1)
    with files.open_log(tmp_path / ".lock") as file:
        assert files.lock(file)
        with pytest.raises(MakemoreError, match="another sweep is running in this folder"):
            sweeps.sweep(plan, print)


# --- Storage ---


def test_a_data_base_instead_of_the_journal(tmp_path: Path) -> None:
    plan = planned(tmp_path / "sweep", trials=1, storage=f"sqlite:///{tmp_path}/all.db")
    worked(plan, 1)
    assert len(outcomes(open_study(plan), plan.space)) == 1
    assert not (tmp_path / "sweep" / "sweep.journal").exists()
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/all.db")
    assert [study.study_name for study in storage.get_all_studies()] == ["sweep"]
    storage.engine.dispose()


@pytest.mark.parametrize("url", ["nonsense", "sqlite:////no/such/folder/a.db", "martian://me:secret@host/a"])
def test_a_storage_that_cannot_be_had(url: str, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(SPACE)
    run = cli(
        "sweep", "--config", "tiny", "--space", tmp_path / "space.yaml", "--out", tmp_path / "s", "--storage", url
    )
    assert (run.code, run.out, run.err.count("\n")) == (2, "", 1)
    assert run.err.startswith(f"makemore: {url.replace('secret', '***')}: Optuna can't use this storage: ")
    assert "secret" not in run.err
    assert run.err.endswith("; choose another one (--storage)\n")


@pytest.mark.parametrize("name", ["best.yaml", "sweep.png", "sweep.journal"])
def test_nothing_of_others_is_replaced(name: str, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(SPACE)
    for content in ("precious: 1\n", "no line at all", "1\n2\n" * 5000):
        (tmp_path / name).write_text(content)
        run = cli("sweep", "--config", "tiny", "--space", tmp_path / "space.yaml", "--out", tmp_path, "-n", 1)
        assert (run.code, run.out, run.err.count("\n")) == (2, "", 1)
        assert run.err.startswith(f"makemore: {tmp_path / name}: exists, ")
        assert (tmp_path / name).read_text() == content


def test_a_storage_that_fails_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told in one line by the process that had the trial, which gives up."""
    plan = planned(tmp_path, trials=2)
    study = open_study(plan)
    studies.begin(study, plan)

    def fail(*_: object) -> None:
        raise optuna.exceptions.StorageInternalError("the disk is gone")

    monkeypatch.setattr(optuna.Trial, "report", fail)
    leave = Leave(2)
    worker.work(plan, leave)
    (told,) = leave.told
    assert str(told).startswith(f"{tmp_path / 'sweep.journal'}: Optuna can't use this storage: StorageInternalError: ")
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.WAITING]
    assert outcomes(study, plan.space) == []


def test_what_was_enqueued_and_not_drawn_yet_is_not_lost(tmp_path: Path) -> None:
    study = open_study(planned(tmp_path))
    study.enqueue_trial({"optim.lr": 0.3})
    trial = study.ask()
    trial.set_user_attr("pid", 1)
    liveness.give_back(study, trial.number)
    assert study.ask().suggest_float("optim.lr", 0.1, 1) == 0.3


def test_a_sweep_that_comes_to_nothing_is_a_mistake(tmp_path: Path) -> None:
    plan = planned(tmp_path, "optim.lr: [1.0e+25, 1.0e+26]", trials=1)
    worked(plan, 1)
    with pytest.raises(MakemoreError, match=r"no trial succeeded; the last one failed: step \d+: the loss is"):
        sweeps.sweep(plan, print)


# --- Spaces, the picture, the command line ---


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; a search space gives each configuration key"),
        ("- 3", f"{EXPECTED}, but this is a list"),
        ("optim.lr: 3", "optim.lr: give a list of values or {low: …, high: …}, not 3"),
        ("optim.lr: [0.1]", "optim.lr: give at least two values, all different"),
        ("optim.lr: [0.1, 0.1]", "optim.lr: give at least two values, all different"),
        ("optim.lr: {low: 1}", "optim.lr: high: is missing"),
        ("optim.lr: {low: 1, high: .nan}", "optim.lr: high: should be a number, but is nan"),
        ("optim.lr: {low: 1, high: 2, log: 3}", "optim.lr: log: should be true or false, but is 3"),
        ("optim.lr: [2020-01-01, 2020-01-02]", "optim.lr: has a value that a configuration can't have, such as a"),
        ("optim.schedule: [{name: 2020-01-01}, null]", "optim.schedule: has a value that a configuration can't have"),
        ("optim.lr.x: [1, 2]", "lr is a value, not a section"),
        ("optim.beta1: [0.5, 0.6]", "optim: beta1 belongs to adamw, but optim.name is sgd"),
        ("data.split_seed: [1, 2]", "data.split_seed: losses on different data can't be compared; remove"),
        ("'': [1, 2]", f"{EXPECTED}, but '' is not a key"),
        ("optim.lr: {low: 2, high: 1}", "optim.lr: low must be less than high"),
        ("optim.lr: {low: 0, high: 1, log: true}", "optim.lr: low must be above 0 if log is true"),
        ("optim.lr: {low: 1, high: 2, lgo: true}", "optim.lr: lgo: unknown key; known here: low, high, log, step"),
        ("optim.lr: {low: -1, high: 1}", "optim.lr: should be greater than or equal to 0, but is -1"),
        ("optim.lrr: [1, 2]", "optim.lrr: unknown key; did you mean lr?"),
        ("model.hidden_size: [8, wide]", "model.hidden_size: should be a valid integer"),
        ("model.hidden_size: {low: 8, high: 9.5}", "model.hidden_size: should be a valid integer"),
        (
            "3: [1, 2]",
            "a search space gives each configuration key a list of values or {low: …, high: …}, but 3 is not",
        ),
    ],
)
def test_mistakes_in_a_space_are_told(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(text)
    with pytest.raises(MakemoreError) as error:
        load_space(file, Config())
    assert str(error.value).startswith(f"{file}: {message}")


def test_keys_of_a_section_that_is_not_there_yet(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(
        "optim.average.decay: [0.9, 0.99]\noptim.momentum: {low: 0.0, high: 0.9}\noptim.nesterov: [true, false]"
    )
    assert list(load_space(file, Config())) == ["optim.average.decay", "optim.momentum", "optim.nesterov"]


def test_bundled_spaces_fit_their_configurations() -> None:
    spaces = sorted(configuration.find("best", "configs/spaces", "space").parent.glob("*.yaml"))
    assert [file.stem for file in spaces] == ["best", "fast"]
    for file in spaces:
        assert load_space(file, configuration.load(configuration.find(file.stem)))


@pytest.mark.slow
def test_the_picture_can_be_read(tmp_path: Path) -> None:
    plan = planned(tmp_path, trials=4)
    trial = studies.Outcome(0, {}, "complete", 2.5, 2.4, 1.0, 100, None)
    settings = {"model.hidden_size": 8, "train.batch_size": 16, "optim.schedule": {"name": "cosine"}}
    some = [
        replace(
            trial,
            number=n,
            val=2.5 + n**3 / 10,
            state="complete" if n < 4 else "pruned",
            settings=settings | {"optim.lr": lr},
        )
        for n, lr in enumerate((0.02, 0.05, 0.2, 0.5, 0.9, 0.01))
    ]
    for importance in ({"optim.lr": 0.75, "train.batch_size": 0.25}, {}):
        picture = SweepPicture(some, plan.space, importance, "sweeps/a")
        assert "2.5000" in picture.title
        assert ("optim.lr (75%)" in picture.title) == bool(importance)
        figure = readable(picture)
        panels = [axes for axes in figure.axes if axes.get_visible()]
        assert panels[0].get_title(loc="left").startswith("optim.lr")
        offsets = [point for axes in panels[:1] for c in axes.collections for point in c.get_offsets().tolist()]
        assert sorted(x for x, _ in offsets) == sorted(t.settings["optim.lr"] for t in some)
        assert {y for x, y in offsets if x <= 0.05} >= {2.5, 2.6}
    readable(SweepPicture(some[:1], {"optim.lr": plan.space["optim.lr"]}, {}, "sweeps/a"))


def test_no_importance_without_trials_that_differ(tmp_path: Path) -> None:
    assert importances(open_study(planned(tmp_path))) == {}


@pytest.mark.slow
def test_the_command_line(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(tmp_path / "s", trials=3)
    worked(plan, 3)
    options = ["--config", "tiny", "--set", "train.steps=100", "--space", tmp_path / "s" / "space.yaml"]
    shown = cli("sweep", *options, "--out", tmp_path / "s", "-n", 2)
    assert (shown.code, shown.err) == (0, "")
    assert "3 trials: 3 complete" in shown.out
    assert str(tmp_path / "s" / "best.yaml") in shown.out
    numbers = json.loads(cli("sweep", *options, "--out", tmp_path / "s", "-n", 2, "--json").out)
    assert [trial["state"] for trial in numbers["trials"]] == ["complete"] * 3
    assert (tmp_path / "s" / "sweep.png").read_bytes().startswith(b"\x89PNG")
    mistakes = [
        (
            ["--space", "nonsense"],
            "nonsense: no such space; give a YAML file, or a bundled one by its name (best, fast)",
        ),
        ([], "--space: required; give a YAML file with a search space, or a bundled one (best, fast)"),
    ]
    for arguments, message in mistakes:
        run = cli("sweep", *arguments)
        assert (run.code, run.err) == (2, f"makemore: {message}\n")
    monkeypatch.setitem(sys.modules, "optuna", None)
    run = cli("sweep", *options, "--out", tmp_path / "other")
    assert (run.code, run.err) == (
        2,
        "makemore: a sweep needs Optuna, which is not installed; run: pip install optuna\n",
    )
    assert not (tmp_path / "other").exists()


def test_values_in_few_signs() -> None:
    assert [short(value) for value in (0.0020004, 3, True, None, "a", {"name": "linear", "final": 0.1})] == [
        "0.002",
        "3",
        "true",
        "null",
        "a",
        "{name: linear, final: 0.1}",
    ]
