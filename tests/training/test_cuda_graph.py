"""The training step as a CUDA graph, without a GPU: what it may not do, and that replaying it trains the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from pydantic import TypeAdapter
from torch import Tensor

from makemore_cli.config import load as configuration
from makemore_cli.config.schema import OptimConfig
from makemore_cli.errors import ParameterError
from makemore_cli.network.model import Sizes
from makemore_cli.network.parameters import Parameters, initialise
from makemore_cli.training import cuda_graph
from makemore_cli.training.engines import ENGINES, Engine, RunningStatistics, TensorEngine
from makemore_cli.training.optimisers import Optimiser
from makemore_cli.training.ranks import SharedEngine
from makemore_cli.training.schedules import learning_rates
from makemore_cli.training.trainer import train
from tests.conftest import DEVICES
from tests.training.capture import Capture, CaptureError, record

STEPS, BATCH, V, T = 40, 7, 5, 3
OPTIM: TypeAdapter[OptimConfig] = TypeAdapter(OptimConfig)
OPTIMS = [
    "{}",
    "{momentum: 0.9, warmup: 10, average: {name: mean, share: 0.4}}",
    "{momentum: 0.8, nesterov: true, weight_decay: 0.01, schedule: {milestones: [5, 20], gamma: 0.3}}",
    "{weight_decay: 0.1, clip: 0.3, average: {decay: 0.9}, schedule: {name: linear}}",
    "{name: adamw, lr: 0.01, weight_decay: 0.2, warmup: 5, schedule: {name: cosine}, average: {decay: 0.95}}",
    "{name: adamw, lr: 0.01, beta1: 0.8, clip: 0.2, average: {name: mean, share: 1}}",
]


class Replayed(TensorEngine):
    """The tensor engine with a recorded step on the CPU."""

    @property
    def recorder(self) -> cuda_graph.Recorder:
        return record


Make = Callable[[type[Engine]], Engine]


@pytest.fixture(params=OPTIMS)
def make(request: pytest.FixtureRequest, network: dict) -> Make:
    return lambda kind: built(kind, request.param, **network)


@pytest.fixture(
    params=[
        {"dtype": torch.float32},
        {"dtype": torch.float64, "first_bias": False, "smoothing": 0.1, "running": True},
    ],
    ids=["plain", "smoothed, running, without b1"],
)
def network(request: pytest.FixtureRequest) -> dict:
    return request.param


def built(
    kind: type[Engine],
    settings: str = "{}",
    *,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    first_bias: bool = True,
    smoothing: float = 0.0,
    running: bool = False,
) -> Engine:
    p, _ = initialise(Sizes(V, T, 4, 9, first_bias), 3)
    p = p.to(dtype=dtype, device=device)
    statistics = RunningStatistics(torch.zeros_like(p.bngain), torch.ones_like(p.bngain), 0.1) if running else None
    optimiser = Optimiser(OPTIM.validate_python(yaml.safe_load(settings)), STEPS, p.flat)
    return kind(p, statistics, 1e-5, optimiser, smoothing)


def batches(count: int = STEPS, size: int = BATCH, device: str = "cpu") -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    X = torch.randint(0, V, (count, size, T), generator=generator)
    return X.to(device), torch.randint(0, V, (count, size), generator=generator).to(device)


def rates(engine: Engine) -> list[float]:
    return learning_rates(engine.optimiser.config, 0, STEPS, STEPS)


def captures(step: Callable[..., Tensor], engine: Engine, count: int = 4) -> list[list]:
    """What captures of the first steps would keep, after one step. All inputs come to the same places."""
    (X, Y), factors = batches(), engine.optimiser.factors(rates(engine), 0)
    inputs = (X[0].clone(), Y[0].clone(), factors[0].clone())
    found, kept = [], []
    for at in range(count + 1):
        for place, given in zip(inputs, (X[at], Y[at], factors[at]), strict=True):
            place.copy_(given)
        if at == 0:
            step(*inputs)
            continue
        with Capture() as capture:
            step(*inputs)
        kept.append(capture)  # its tensors stay, so no address comes twice
        found.append(capture.described())
    return found


# --- What a capture forbids ---


@torch.inference_mode()
def test_every_step_is_what_a_capture_of_the_first_one_keeps(make: Make) -> None:
    engine = make(TensorEngine)
    assert isinstance(engine, TensorEngine)
    first, *others = captures(engine.step, engine)
    assert len(first) > 30
    assert all(other == first for other in others)


def reads_a_value(engine: TensorEngine, *given: Tensor) -> Tensor:
    loss = engine.step(*given)
    return loss if loss.item() < 100 else loss * 0


def decides_by_a_value(engine: TensorEngine, *given: Tensor) -> Tensor:
    loss = engine.step(*given)
    return loss if loss < 100 else loss * 0


def asks_numpy(engine: TensorEngine, *given: Tensor) -> Tensor:
    given[0].numpy()
    return engine.step(*given)


def moves_to_the_host(engine: TensorEngine, *given: Tensor) -> Tensor:
    return engine.step(*given).cpu()


def makes_a_tensor_of_a_number(engine: TensorEngine, *given: Tensor) -> Tensor:
    return engine.step(*given) * torch.tensor(1.0)


def draws(engine: TensorEngine, *given: Tensor) -> Tensor:
    return engine.step(*given) + torch.rand(())


def selects_by_a_mask(engine: TensorEngine, *given: Tensor) -> Tensor:
    return engine.step(*given) + engine.parameters.flat[engine.parameters.flat > 0].sum()


def counts_different_tokens(engine: TensorEngine, *given: Tensor) -> Tensor:
    return engine.step(*given) + len(given[0].unique())


FORBIDDEN = [
    (reads_a_value, "waits"),
    (decides_by_a_value, "waits"),
    (asks_numpy, "waits"),
    (moves_to_the_host, "waits"),
    (makes_a_tensor_of_a_number, "copies between host and device"),
    (draws, "random"),
    (selects_by_a_mask, "as the data say"),
    (counts_different_tokens, "as the data say"),
]


@torch.inference_mode()
@pytest.mark.parametrize(("step", "why"), FORBIDDEN, ids=[step.__name__ for step, _ in FORBIDDEN])
def test_a_step_that_a_capture_forbids_is_found(step: Callable[..., Tensor], why: str) -> None:
    engine = built(TensorEngine)
    with pytest.raises(CaptureError, match=why):
        captures(lambda *given: step(engine, *given), engine)


class _NumberRates(TensorEngine):
    """Its learning rate is a Python number, which changes from step to step."""

    at = 0

    def step(self, x: Tensor, y: Tensor, factors: Tensor) -> Tensor:
        loss = super().step(x, y, factors * 0)
        self.at += 1
        self.parameters.flat.sub_(self.gradients.flat, alpha=0.1 / self.at)
        return loss


class _NewParameters(TensorEngine):
    """Its parameters are new tensors after each step."""

    def step(self, x: Tensor, y: Tensor, factors: Tensor) -> Tensor:
        loss = super().step(x, y, factors)
        self.parameters = Parameters(self.parameters.sizes, self.parameters.flat.clone())
        return loss


class _NewMemory(TensorEngine):
    """Its optimiser's memory is a new tensor after each step."""

    def step(self, x: Tensor, y: Tensor, factors: Tensor) -> Tensor:
        loss = super().step(x, y, factors)
        self.optimiser.kept["velocity"] = self.optimiser.kept["velocity"] + 1
        return loss


class _GrowingMemory(TensorEngine):
    """It allocates more from step to step."""

    at = 0

    def step(self, x: Tensor, y: Tensor, factors: Tensor) -> Tensor:
        self.at += 1
        return super().step(x, y, factors) + x.new_zeros(self.at).sum()


@torch.inference_mode()
@pytest.mark.parametrize("kind", [_NumberRates, _NewParameters, _NewMemory, _GrowingMemory])
def test_a_step_that_a_replay_would_not_repeat_is_found(kind: type[TensorEngine]) -> None:
    engine = built(kind, "{momentum: 0.9}")
    first, *others = captures(engine.step, engine)
    assert all(other != first for other in others)


# --- Replaying ---


def trained(engine: Engine, cuts: tuple[int, ...] = (1, 4, 20, 15)) -> list[Tensor]:
    """Train in chunks. The third chunk's result is undone and trained again. Returns losses, and all that changed."""
    (X, Y), start, losses = batches(), 0, []
    for number, count in enumerate(cuts):
        here, before = slice(start, start + count), engine.state()
        losses.append(engine.run(X[here], Y[here], rates(engine)[here], start))
        if number == 2:
            engine.restore(before)
            assert torch.equal(engine.run(X[here], Y[here], rates(engine)[here], start), losses[-1])
        start += count
    return [torch.cat(losses), *engine.state(), engine.averaged.flat]


def assert_equal(ours: list[Tensor], theirs: list[Tensor]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one, other)


def test_a_replayed_step_trains_bit_for_bit_the_same(make: Make) -> None:
    eager, replayed = make(TensorEngine), make(Replayed)
    assert isinstance(replayed, Replayed)
    replayed.prepare(BATCH, print)
    assert_equal(replayed.state(), eager.state())  # recording has left no trace
    flat = replayed.parameters.flat.data_ptr()
    assert_equal(trained(replayed), trained(eager))
    assert flat == replayed.parameters.flat.data_ptr()


def test_batches_of_another_size_have_a_recording_of_their_own() -> None:
    eager, replayed = built(TensorEngine), built(Replayed)
    for size in (BATCH, 12, BATCH):
        given = (*batches(3, size), [0.1, 0.2, 0.3])
        assert torch.equal(replayed.run(*given), eager.run(*given))
    assert torch.equal(replayed.parameters.flat, eager.parameters.flat)


def test_a_step_is_recorded_once() -> None:
    recorded = []

    class Counting(Replayed):
        @property
        def recorder(self) -> cuda_graph.Recorder:
            return lambda work, device: (recorded.append(device), record(work, device))[1]

    trained(built(Counting))
    assert recorded == [torch.device("cpu")]


@pytest.mark.parametrize("kind", [_NumberRates, _NewMemory])
def test_a_replay_would_show_a_step_that_it_can_not_repeat(kind: type[TensorEngine]) -> None:
    """The stand-in for the graph keeps numbers and addresses, as a graph does."""

    class Wrong(Replayed, kind):  # type: ignore[misc, valid-type]
        pass

    ends = [built(one, "{momentum: 0.9}") for one in (kind, Wrong)]
    for end in ends:
        end.run(*batches(), rates(end), 0)
    assert not torch.equal(ends[0].parameters.flat, ends[1].parameters.flat)


RUN = ["train.steps=60", "train.engine=tensor", "train.device=cpu", "train.context_dropout=0.1", "optim.momentum=0.9"]
RUN += ["optim.average={decay: 0.9}", "train.diagnose_every=25", "optim.warmup=9"]


def test_a_run_by_replays_has_the_same_checkpoint_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = configuration.find("tiny")
    train(configuration.load(tiny, RUN), tmp_path / "eager")
    monkeypatch.setitem(ENGINES, "tensor", Replayed)
    train(configuration.load(tiny, RUN), tmp_path / "replayed")
    stopped = [*RUN, "train.steps=30"]
    train(configuration.load(tiny, stopped), tmp_path / "resumed")
    train(configuration.load(tiny, RUN), tmp_path / "resumed", resume=True)
    contents = [(tmp_path / run / "checkpoint.safetensors").read_bytes() for run in ("eager", "replayed", "resumed")]
    assert contents[0] == contents[1] == contents[2]


def test_only_cuda_records_and_ranks_never() -> None:
    assert built(TensorEngine).recorder is None
    assert built(SharedEngine).recorder is None


def test_a_step_that_can_not_be_recorded_is_an_error_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no silent return to launching the operations one by one."""
    for name in ("device", "stream"):
        monkeypatch.setattr(torch.cuda, name, lambda _: torch.inference_mode())
    for name in ("Stream", "CUDAGraph", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, _Nothing)

    def refuse(*_: object, **__: object) -> object:
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    monkeypatch.setattr(torch.cuda, "graph", refuse)
    with pytest.raises(ParameterError, match="tensor can't record its step as a CUDA graph: operation not permitted w"):
        cuda_graph.record(lambda: torch.zeros(()), torch.device("cpu"))


class _Nothing:
    def wait_stream(self, other: object) -> None:
        pass


# --- With a GPU ---


@pytest.mark.parametrize("device", DEVICES[1:])
def test_the_graph_trains_what_the_launched_operations_train(device: str, network: dict) -> None:
    """Up to the order in which index_add_ adds on CUDA, which changes from call to call."""

    class Launched(TensorEngine):
        @property
        def recorder(self) -> None:
            return None

    for settings in OPTIMS:
        ends = []
        for kind in (Launched, TensorEngine):
            engine = built(kind, settings, **network | {"dtype": torch.float64}, device=device)
            (X, Y), lrs = batches(device=device), rates(engine)
            losses = [engine.run(X[:15], Y[:15], lrs[:15]), engine.run(X[15:], Y[15:], lrs[15:], 15)]
            ends.append([torch.cat(losses), *engine.state()])
        for ours, theirs in zip(*ends, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)
