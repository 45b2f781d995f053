"""How a network is doing: each figure against autograd, or against its definition."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from makemore_cli.config import load as configuration
from makemore_cli.config.schema import Config
from makemore_cli.names.dataset import load
from makemore_cli.network.model import Model
from makemore_cli.network.parameters import Parameters
from makemore_cli.network.reference import forward
from makemore_cli.runs.checkpoint import Checkpoint, load_checkpoint
from makemore_cli.runs.metrics import load_metrics
from makemore_cli.training.engines import ENGINES
from makemore_cli.training.schedules import learning_rates
from makemore_cli.training.setup import set_up
from makemore_cli.training.trainer import train
from makemore_cli.views import diagnostics
from makemore_cli.views.diagnostics import diagnose, inspect, look, look_at_run, next_step
from tests.conftest import Cli, problem


def tiny(*settings: str) -> Config:
    return configuration.load(configuration.find("tiny"), settings)


def by_autograd(p: Parameters, X: torch.Tensor, Y: torch.Tensor) -> dict[str, torch.Tensor]:
    leaves = {name: view.detach().clone().requires_grad_() for name, view in p.views.items()}
    loss, _, _ = forward(leaves, X, Y, 1e-5)
    loss.backward()
    return {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}


@pytest.mark.parametrize("first_bias", [True, False])
def test_ratios_are_autograds(first_bias: bool) -> None:
    p, X, Y = problem(n=48, H=20, first_bias=first_bias, dtype=torch.float64)
    gradients = by_autograd(p, X, Y)
    after = p.to()
    for name, view in after.views.items():
        view.sub_(gradients[name], alpha=0.25)
    found = diagnose(p, after, X, Y, 1e-5)
    for name, data in p.views.items():
        assert found["grad_norm"][name] == pytest.approx(float(gradients[name].norm()), rel=1e-9, abs=1e-12)
        if name != "b1":  # whose gradient is rounding
            assert found["grad_data"][name] == pytest.approx(float(gradients[name].std() / data.std()))
            assert found["update_data"][name] == pytest.approx(0.25 * float(gradients[name].std() / data.std()))
    hprebn = p.C[X].flatten(1) @ p.W1 + (0 if p.b1 is None else p.b1)
    h = torch.tanh(p.bngain * (hprebn - hprebn.mean(0)) / (hprebn.var(0) + 1e-5).sqrt() + p.bnbias)
    assert found["saturated"] == pytest.approx(float((h.abs() > 0.97).double().mean()))


def test_a_parameter_without_spread_has_no_ratio() -> None:
    p, X, Y = problem(n=8, H=1)
    found = diagnose(p, p.to(), X, Y, 1e-5)
    assert found["grad_data"]["bngain"] is None
    assert found["update_data"]["bngain"] is None
    assert found["update_data"]["W1"] == 0
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("engine", list(ENGINES))
def test_what_a_run_logs_is_what_its_steps_did(engine: str, tmp_path: Path) -> None:
    """A run that is diagnosed every 7 steps, against a loop of its own, step by step."""
    config = tiny("train.steps=30", "train.diagnose_every=7", f"train.engine={engine}")
    train(config, tmp_path / "run")
    found = dict(load_metrics(tmp_path / "run").diagnoses)
    assert list(found) == [7, 14, 21, 28]
    begun = set_up(config)
    p = begun.parameters
    X, Y = begun.batches(30)
    for at, lr in enumerate(learning_rates(config.optim, 0, 30, 30)):
        gradients = by_autograd(p, X[at], Y[at])
        if at + 1 in found:
            for name, data in p.views.items():
                if name != "b1":
                    ratio = float(gradients[name].std() / data.std())
                    assert found[at + 1]["grad_data"][name] == pytest.approx(ratio, rel=1e-3)
                    assert found[at + 1]["update_data"][name] == pytest.approx(lr * ratio, rel=1e-3)
        for name, view in p.views.items():
            view.sub_(gradients[name], alpha=lr)


@pytest.mark.every(3)
@pytest.mark.parametrize("engine", list(ENGINES))
def test_looking_changes_nothing(engine: str, tmp_path: Path) -> None:
    """However often: each step, or never."""
    kept = {}
    for every in (0, 1, 13):
        train(
            tiny("train.steps=60", f"train.diagnose_every={every}", f"train.engine={engine}"),
            tmp_path / str(every),
        )
        kept[every] = load_checkpoint(tmp_path / str(every)).model.parameters
        assert load_metrics(tmp_path / str(every)).loss.tolist() == load_metrics(tmp_path / "0").loss.tolist()
        for name, tensor in kept[0].items():
            np.testing.assert_array_equal(kept[every][name], tensor)


def changed(checkpoint: Checkpoint, **parameters: np.ndarray) -> Checkpoint:
    """A checkpoint with other parameters."""
    model = checkpoint.model
    new = Model(model.sizes, {**model.parameters, **parameters}, model.bnmean, model.bnvar, model.epsilon)
    return replace(checkpoint, model=new)


def test_dead_neurons_are_found(trained: Path) -> None:
    """Three neurons that are driven far out for whatever comes in."""
    checkpoint = load_checkpoint(trained)
    dataset = load(checkpoint.config.data, 3)
    bnbias = checkpoint.model.parameters["bnbias"].copy()
    bnbias[0, [4, 9, 31]] = 100, -100, 100
    numbers = inspect(look(changed(checkpoint, bnbias=bnbias), dataset))
    assert numbers["dead"] == [4, 9, 31]
    verdict = next(v for v in numbers["verdicts"] if v["what"] == "dead")
    assert verdict == {
        "what": "dead",
        "fine": False,
        "text": "3 of 32 neurons are dead (saturated on all 1,000 examples)",
    }
    one = inspect(look(changed(checkpoint, bnbias=np.where(np.arange(32) == 4, 100, bnbias * 0)), dataset))
    assert "1 of 32 neurons is dead" in next(v["text"] for v in one["verdicts"] if v["what"] == "dead")


def test_verdicts_on_saturation_and_updates(trained: Path) -> None:
    checkpoint = load_checkpoint(trained)
    dataset = load(checkpoint.config.data, 3)
    fine = {v["what"]: v["fine"] for v in inspect(look(checkpoint, dataset))["verdicts"]}
    assert all(fine.values())
    bngain = checkpoint.model.parameters["bngain"]
    bad = {v["what"]: v for v in inspect(look(changed(checkpoint, bngain=1000 * bngain), dataset))["verdicts"]}
    assert not bad["saturated"]["fine"]
    assert "almost no gradient passes through" in bad["saturated"]["text"]
    fast = replace(checkpoint, config=tiny("optim.lr=1000"))
    bad = {v["what"]: v for v in inspect(look(fast, dataset))["verdicts"]}
    assert not bad["update_data.W2"]["fine"]
    assert "too large" in bad["update_data.W2"]["text"]
    still = replace(checkpoint, config=tiny("optim.lr=0.0"))
    bad = {v["what"]: v for v in inspect(look(still, dataset))["verdicts"]}
    assert bad["update_data.W1"]["text"] == "W1: the next step would not change it"


def test_the_next_step_is_the_engines(trained: Path) -> None:
    seen = look_at_run(trained)
    found = next_step(seen)
    index = torch.from_numpy(np.random.default_rng(seen.checkpoint.config.train.seed).integers(0, 1000, 32))
    gradients = by_autograd(seen.parameters, seen.X[index], seen.Y[index])
    for name in ("C", "W1", "W2", "b2", "bngain", "bnbias"):
        ratio = float(gradients[name].std() / seen.parameters.views[name].std())
        assert found["update_data"][name] == pytest.approx(0.02 * ratio, rel=1e-3)  # the rate after the milestone


def test_the_examples_are_the_training_splits_and_none_is_there_twice(trained: Path, names_file: Path) -> None:
    checkpoint = load_checkpoint(trained)
    few = load(tiny(f"data.path={names_file}").data, 3, checkpoint.vocabulary)
    seen = look(checkpoint, few)
    assert len(seen.X) == len(few.train)
    X, Y = few.train.examples(np.arange(len(few.train)))
    assert sorted(map(tuple, np.column_stack([seen.X, seen.Y]).tolist())) == sorted(
        map(tuple, np.column_stack([X, Y]).tolist())
    )


def test_wide_networks_are_looked_at_with_fewer_examples(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnostics, "LARGEST_TENSOR_NUMBERS", 32 * 50)
    assert len(look_at_run(trained).X) == 50


def test_the_command(cli: Cli, trained: Path, tmp_path: Path) -> None:
    shown = cli("inspect", trained)
    assert shown.code == 0
    assert "0 of 32 neurons are dead (saturated on all 1,000 examples)" in shown.out
    told = json.loads(cli("inspect", trained, "--json").out)
    for name, tensor in look_at_run(trained).values.items():
        if name in told["activations"]:
            assert told["activations"][name]["std"] == pytest.approx(float(tensor.std(correction=0)), rel=1e-5)
    assert {"loss", "saturated", "dead", "grad_norm", "grad_data", "update_data", "verdicts"} <= told.keys()
    assert next(iter(told["grad_norm"])) == "logits"
    missing = cli("inspect", tmp_path / "none")
    assert (missing.code, missing.out) == (2, "")
    assert "no such run" in missing.err


def test_data_that_has_changed_is_told(cli: Cli, names_file: Path, tmp_path: Path) -> None:
    assert cli("train", "-c", "tiny", "--steps", 20, "--data", names_file, "--out", tmp_path / "run").code == 0
    names_file.write_text("\n".join(reversed(names_file.read_text().split())))
    result = cli("inspect", tmp_path / "run")
    assert result.code == 0
    assert "has changed since the model was trained on it" in result.err
    names_file.unlink()
    result = cli("inspect", tmp_path / "run")
    assert (result.code, result.out) == (2, "")
    assert "no such file" in result.err


def test_a_network_that_knows_its_names_by_heart(cli: Cli, tmp_path: Path, names_file: Path) -> None:
    run = tmp_path / "run"
    settings = ["--set", "model.context_length=8", "--set", "optim.schedule=null", "--set", "train.batch_size=16"]
    assert cli("train", "-c", "tiny", "--data", names_file, "--out", run, "--quiet", *settings).code == 0
    told = json.loads(cli("inspect", run, "--json").out)
    summary = json.loads((run / "summary.json").read_text())
    assert told["losses"]["val"] == pytest.approx(summary["loss"]["val"])
    verdict = next(v for v in told["verdicts"] if v["what"] == "generalisation")
    assert not verdict["fine"]
    assert "overfits" in verdict["text"]
