"""Training on a GPU that is not there (`tests/fake_gpu.py`): tensors stay on it, and have the values of the CPU's."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from makemore_cli.bench.contenders import Case
from makemore_cli.config import load as configuration
from makemore_cli.errors import MakemoreError
from makemore_cli.runs.checkpoint import load_checkpoint
from makemore_cli.runs.metrics import load_metrics
from makemore_cli.training import engines, loop, setup
from makemore_cli.training.engines import AutogradEngine, Engine, TensorEngine
from makemore_cli.training.step_statistics import diagnose
from makemore_cli.training.trainer import train
from tests.fake_gpu import GPU, Gpu
from tests.test_documentation import DOCS, loaded
from tests.training.capture import CaptureError, record
from tests.training.test_cuda_graph import OPTIMS, batches, built, rates

NETWORKS = [
    {"dtype": torch.float32},
    {"dtype": torch.float64, "first_bias": False, "smoothing": 0.1, "running": True},
]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`cuda:1` for whole runs, in the thread that trains as well."""
    monkeypatch.setattr(setup, "resolve_device", lambda name: name)
    monkeypatch.setattr(engines, "record", record)
    monkeypatch.setattr(loop, "ThreadPoolExecutor", partial(ThreadPoolExecutor, initializer=Gpu().__enter__))
    with Gpu():
        yield


def results(kind: type[Engine], settings: str, network: dict, device: str) -> list[Tensor]:
    engine = built(kind, settings, **network, device=device)
    (X, Y), lrs = batches(8, device=device), rates(engine)
    losses = [engine.run(X[:3], Y[:3], lrs[:3]), engine.run(X[3:], Y[3:], lrs[3:8], 3)]
    before = engine.state()
    engine.restore(before)
    assert engine.is_finite()
    return [*losses, *engine._changing(), *before, engine.averaged.flat]


@pytest.mark.every(5)
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("network", NETWORKS, ids=["plain", "smoothed, running, without b1"])
@pytest.mark.parametrize("settings", OPTIMS)
@pytest.mark.parametrize("kind", [TensorEngine, AutogradEngine])
def test_engines_stay_on_their_device(kind: type[Engine], settings: str, network: dict) -> None:
    ours, cpu = (results(kind, settings, network, device) for device in ("cuda:1", "cpu"))
    for one, other in zip(ours, cpu, strict=True):
        assert one.device == GPU
        assert torch.equal(one.cpu(), other)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("network", NETWORKS, ids=["plain", "without b1"])
def test_a_step_is_diagnosed(network: dict) -> None:
    found = []
    for device in ("cuda:1", "cpu"):
        engine = built(TensorEngine, **network, device=device)
        (X, Y), before = batches(1, device=device), engine.parameters.to()
        engine.run(X, Y, [0.1])
        found.append(diagnose(before, engine.parameters, X[0], Y[0], engine.eps, engine.smoothing))
    assert found[0] == found[1]


RUN = ["train.steps=40", "train.eval_every=20", "train.sample_every=30", "train.diagnose_every=15", "optim.warmup=9"]
SETTINGS = {
    "averaged": ["optim.average={decay: 0.9}", "optim.momentum=0.9", "train.context_dropout=0.1", "optim.clip=0.5"],
    "running": ["model.batchnorm.statistics=running", "train.label_smoothing=0.1", "model.first_bias=false"],
    "adamw": ["optim={name: adamw, lr: 0.01, average: {name: mean, share: 0.5}}", "train.dtype=float64"],
}


@pytest.mark.every(4)
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("engine", ["tensor", "autograd"])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_run_trains_and_resumes_as_on_the_cpu(settings: list[str], engine: str, tmp_path: Path) -> None:
    """With evaluations, samples, diagnostics, a checkpoint half way, and crosschecks, which take the longest."""

    def config(device: str, *more: str) -> configuration.Config:
        return configuration.load(
            configuration.find("tiny"), [*RUN, *settings, f"train.engine={engine}", f"train.device={device}", *more]
        )

    for device in ("cuda:1", "cpu"):
        run = tmp_path / device.replace(":", "")
        train(config(device, "train.steps=25"), run, crosscheck_every=20 * ("train.dtype=float64" in settings))
        train(config(device), run, resume=True)
    ours, cpu = (load_checkpoint(tmp_path / run) for run in ("cuda1", "cpu"))
    assert ours.step == 40
    for one, other in ((ours.model.parameters, cpu.model.parameters), (ours.training, cpu.training)):
        assert one.keys() == other.keys()
        assert all((one[name] == other[name]).all() for name in one)
    assert (ours.model.bnvar == cpu.model.bnvar).all()
    metrics = [load_metrics(tmp_path / run) for run in ("cuda1", "cpu")]
    assert metrics[0].loss.tolist() == metrics[1].loss.tolist()


@pytest.mark.usefixtures("gpu")
def test_numbers_that_are_not_finite_are_explained(tmp_path: Path) -> None:
    told = []
    for device in ("cuda:1", "cpu"):
        settings = [*RUN, "train.engine=tensor", f"train.device={device}", "optim.lr=1e30"]
        with pytest.raises(MakemoreError) as error:
            train(configuration.load(configuration.find("tiny"), settings), tmp_path / device.replace(":", ""))
        told.append(str(error.value))
    assert "not finite" in told[0]
    assert told[0] == told[1]


@pytest.mark.usefixtures("gpu")
def test_the_script_for_whoever_has_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    script = loaded("gpu", DOCS / "gpu.py")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU that is not there")
    script.main("cuda:1", [Case(8, 9), Case(5, 3)], 3)
    first, _, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("a GPU that is not there")
    assert [line.split()[:2] for line in lines] == [["8", "9"], ["5", "3"]]
    assert all(float(line.split()[2]) < 1e-5 for line in lines)


# --- Mistakes that such a run finds ---


@pytest.mark.usefixtures("gpu")
def test_factors_on_the_host_are_found() -> None:
    """CUDA would accept single numbers on the CPU, and a graph would keep those of the first step."""
    engine = built(TensorEngine, device="cuda:1")
    engine.optimiser._like = torch.empty(0)
    with pytest.raises(CaptureError, match="mixes devices"):
        engine.prepare(7, print)


def on_the_cpu(like: Tensor) -> Tensor:
    return torch.zeros(like.shape, dtype=like.dtype)


def on_another_gpu(like: Tensor) -> Tensor:
    return torch.zeros(like.shape, dtype=like.dtype, device="cuda")


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("wrong", [on_the_cpu, on_another_gpu])
@pytest.mark.parametrize("network", NETWORKS, ids=["plain", "without b1"])
def test_a_tensor_on_another_device_is_found(wrong: object, network: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the pass, the optimiser's memory and the running statistics."""
    with monkeypatch.context() as change:
        change.setattr("makemore_cli.backprop.fused.torch.zeros_like", wrong)
        with pytest.raises(RuntimeError, match="device"):
            results(TensorEngine, "{}", network, "cuda:1")
    with monkeypatch.context() as change:
        change.setattr("makemore_cli.training.optimisers.torch.zeros_like", wrong)
        with pytest.raises(RuntimeError, match="device"):
            results(TensorEngine, "{momentum: 0.9}", network, "cuda:1")
