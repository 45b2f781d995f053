"""Training: engines agree, runs repeat bit by bit, the published behaviour comes out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from makemore_cli.backprop import fused
from makemore_cli.checks.network import SOURCES
from makemore_cli.config import load as configuration
from makemore_cli.config.schema import Config
from makemore_cli.errors import CheckFailedError, MakemoreError
from makemore_cli.inference import evaluate
from makemore_cli.network import model
from makemore_cli.network.model import Sizes
from makemore_cli.network.parameters import Parameters, initialise
from makemore_cli.network.threads import threads
from makemore_cli.runs.checkpoint import load_checkpoint
from makemore_cli.runs.summary import Summary
from makemore_cli.training.engines import ENGINES, RunningStatistics
from makemore_cli.training.setup import set_up
from makemore_cli.training.trainer import train
from tests.conftest import DEVICES, Cli, logits_in_float64, problem


def tiny(*settings: str) -> Config:
    return configuration.load(configuration.find("tiny"), settings)


def run(config: Config, folder: Path, **options) -> Summary:
    return train(config, folder, **options)


def losses(folder: Path) -> list[float]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [record for record in records if "loss" in record]
    assert [record["step"] for record in steps] == list(range(1, len(steps) + 1))
    return [record["loss"] for record in steps]


def test_the_stream_of_numbers_is_the_lectures() -> None:
    """One generator draws C, W1, b1, W2, b2 and then each batch, exactly as the notebook's lines do."""
    g = torch.Generator().manual_seed(2147483647)
    C = torch.randn((27, 10), generator=g)
    W1 = torch.randn((3 * 10, 200), generator=g) * (5 / 3) / ((10 * 3) ** 0.5)
    b1 = torch.randn(200, generator=g) * 0.1
    W2 = torch.randn((200, 27), generator=g) * 0.1
    b2 = torch.randn(27, generator=g) * 0.1

    begun = set_up(Config())
    p = begun.parameters
    assert p.b1 is not None
    for ours, lectures in ((p.C, C), (p.W1, W1), (p.b1, b1), (p.W2, W2), (p.b2, b2)):
        assert torch.equal(ours, lectures)
    n = len(begun.dataset.train)
    drawn = [begun.batches(steps) for steps in (1, 2, 5)]
    for x, y in zip(torch.cat([X for X, _ in drawn]), torch.cat([Y for _, Y in drawn]), strict=True):
        index = torch.randint(0, n, (32,), generator=g).numpy()
        X, Y = begun.dataset.train.examples(index)
        assert x.tolist() == X.tolist()
        assert y.tolist() == Y.tolist()


def test_initial_values_have_the_lectures_spread() -> None:
    p, _ = initialise(Sizes(27, 3, 10, 4000), 1)
    assert p.b1 is not None
    for view, mean, std in (
        (p.C, 0, 1),
        (p.W1, 0, 5 / 3 / 30**0.5),
        (p.b1, 0, 0.1),
        (p.W2, 0, 0.1),
        (p.bngain, 1, 0.1),
        (p.bnbias, 0, 0.1),
    ):
        assert view.std().item() == pytest.approx(std, rel=0.1)
        assert view.mean().item() == pytest.approx(mean, abs=4 * std / view.numel() ** 0.5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("first_bias", [True, False])
@pytest.mark.parametrize("running", [True, False])
def test_engines_agree(running: bool, first_bias: bool, device: str) -> None:
    """The same parameters, losses and running statistics, step after step, in float64 nearly to the last bit."""
    results = []
    for name, make in ENGINES.items():
        where = "cpu" if name == "kernel" else device
        p, X, Y = problem(n=300, H=17, first_bias=first_bias, dtype=torch.float64, device=where)
        statistics = RunningStatistics(torch.zeros_like(p.bngain), torch.ones_like(p.bngain), 0.1) if running else None
        engine = make(p, statistics, 1e-5)
        result = engine.run(X.view(10, 30, -1), Y.view(10, 30), [0.1] * 5 + [0.01] * 5)
        averages = None if statistics is None else RunningStatistics(statistics.mean.cpu(), statistics.var.cpu(), 0.1)
        results.append((result.cpu(), p.flat.cpu(), averages))
    first = results[0]
    for other in results[1:]:
        torch.testing.assert_close(other[0], first[0], rtol=1e-12, atol=0)
        torch.testing.assert_close(other[1], first[1], rtol=0, atol=1e-12)
        if running:
            torch.testing.assert_close(other[2].mean, first[2].mean, rtol=0, atol=1e-12)
            torch.testing.assert_close(other[2].var, first[2].var, rtol=1e-12, atol=0)


def by_definition(p: Parameters, X: torch.Tensor, Y: torch.Tensor, eps: float) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients in float64, by definitions and autograd alone."""
    leaves = {name: view.double().clone().requires_grad_() for name, view in p.views.items()}
    hprebn = leaves["C"][X].flatten(1) @ leaves["W1"] + leaves.get("b1", 0)
    mean = hprebn.sum(0) / len(X)
    variance = ((hprebn - mean) ** 2).sum(0) / (len(X) - 1)
    h = torch.tanh(leaves["bngain"] * (hprebn - mean) / (variance + eps) ** 0.5 + leaves["bnbias"])
    logits = h @ leaves["W2"] + leaves["b2"]
    loss = (logits.logsumexp(1) - logits[torch.arange(len(Y)), Y]).mean()
    return loss.item(), dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("eps", [1e-5, 0.3, 10.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_step_has_the_epsilon_that_it_was_given(engine: str, eps: float, dtype: torch.dtype) -> None:
    """One step of plain descent is its gradient: loss and gradient are those of the definition with this epsilon."""
    for n in (7, 60):
        p, X, Y = problem(n=n, V=9, E=3, H=17, dtype=dtype)
        expected, gradients = by_definition(p, X, Y, eps)
        after = p.to()
        loss = ENGINES[engine](after, None, eps).run(X[None], Y[None], [1.0])
        tolerance = 2e-6 if dtype == torch.float32 else 1e-13
        assert float(loss[0]) == pytest.approx(expected, abs=tolerance)
        for name, gradient in gradients.items():
            update = (p.views[name] - after.views[name]).double()
            torch.testing.assert_close(update, gradient.view_as(update), rtol=0, atol=tolerance)


@pytest.mark.every(4)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("statistics", ["calibrated", "running"])
def test_a_run_has_the_epsilon_of_its_configuration(engine: str, statistics: str, tmp_path: Path) -> None:
    """From the first batch's loss to the losses of whole splits, by the file that is left, and after a resume."""
    settings = [f"train.engine={engine}", "train.steps=40", f"model.batchnorm.statistics={statistics}"]
    config = tiny(*settings, "model.batchnorm.epsilon=0.3")
    begun = set_up(config)
    X, Y = (batch[0] for batch in begun.batches(1))
    first = by_definition(begun.parameters, X, Y, 0.3)[0]
    assert abs(first - by_definition(begun.parameters, X, Y, 1e-5)[0]) > 1e-3
    summary = run(config, tmp_path / "run")
    assert losses(tmp_path / "run")[0] == pytest.approx(first, abs=1e-6)

    saved = load_checkpoint(tmp_path / "run").model
    val = begun.dataset.val
    X, Y = (torch.from_numpy(a.astype(np.int64)) for a in val.examples(np.arange(len(val))))
    expected = F.cross_entropy(logits_in_float64(replace(saved, epsilon=0.3), X), Y).item()
    assert summary.loss["val"] == pytest.approx(expected, abs=1e-6)
    assert evaluate.loss(saved, val) == pytest.approx(expected, abs=1e-6)

    whole = run(tiny(*settings, "train.steps=60", "model.batchnorm.epsilon=0.3"), tmp_path / "whole")
    further = run(configuration.override(config, train__steps=60), tmp_path / "run", resume=True)
    assert further.loss == whole.loss


def test_calibration_keeps_the_epsilon() -> None:
    p, _ = initialise(Sizes(27, 3, 4, 16), 5)
    val = set_up(tiny()).dataset.val
    for eps in (1e-5, 0.3):
        assert evaluate.calibrate(p.sizes, p.arrays(), val, eps).epsilon == eps
    assert evaluate.calibrate(p.sizes, p.arrays(), val).epsilon == 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shift", [0.0, 100.0, 1000.0, -1000.0])
def test_losses_of_scores_beyond_what_exp_can_take(shift: float, dtype: torch.dtype) -> None:
    """What is added to all scores changes no loss; e^88.7 leaves float32, and e^709.8 leaves float64."""
    p, _ = initialise(Sizes(27, 3, 4, 16), 5)
    p = p.to(dtype=dtype)
    val = set_up(tiny()).dataset.val
    plain = evaluate.loss(evaluate.calibrate(p.sizes, p.arrays(), val), val)
    assert 3 < plain < 5
    p.b2.add_(shift)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-11
    assert evaluate.loss(evaluate.calibrate(p.sizes, p.arrays(), val), val) == pytest.approx(plain, abs=tolerance)
    # A score that beats all others by far: the loss is how far, wherever another letter follows.
    p.b2[3] += 5000
    model = evaluate.calibrate(p.sizes, p.arrays(), val)
    X, Y = val.examples(np.arange(len(val)))
    logits = logits_in_float64(model, torch.from_numpy(X.astype(np.int64)))
    expected = (logits[:, 3] - logits[torch.arange(len(Y)), torch.from_numpy(Y.astype(np.int64))]).mean().item()
    assert evaluate.loss(model, val) == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_the_first_2000_losses_agree_between_engines(tmp_path: Path) -> None:
    config = configuration.load(configuration.find("lecture"), ["train.steps=2000"])
    both = []
    for engine in ("tensor", "autograd"):
        run(configuration.override(config, train__engine=engine), tmp_path / engine)
        both.append(losses(tmp_path / engine))
    assert len(both[0]) == 2000
    assert np.abs(np.subtract(*both)).max() < 1e-4


@pytest.mark.every(3)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("more", [[], ["model.batchnorm.statistics=running", "model.first_bias=false"]])
def test_a_run_repeats_bit_by_bit(engine: str, more: list[str], tmp_path: Path) -> None:
    """Also with chunks that end elsewhere: evaluating, sampling and saving on the way change nothing."""
    config = tiny("train.steps=300", f"train.engine={engine}", *more)
    busy = tiny(
        "train.steps=300",
        f"train.engine={engine}",
        *more,
        "train.eval_every=70",
        "train.sample_every=110",
        "train.checkpoint_every=90",
    )
    first = run(config, tmp_path / "first")
    second = run(config, tmp_path / "second")
    third = run(busy, tmp_path / "third")
    assert first.loss == second.loss == third.loss
    assert first.samples == second.samples == third.samples
    files = [(tmp_path / name / "checkpoint.safetensors").read_bytes() for name in ("first", "second")]
    assert files[0] == files[1]
    assert losses(tmp_path / "first") == losses(tmp_path / "third")
    ours, theirs = (load_checkpoint(tmp_path / name).model for name in ("first", "third"))
    for name, parameter in ours.parameters.items():
        np.testing.assert_array_equal(parameter, theirs.parameters[name])


def test_dropped_letters(tmp_path: Path) -> None:
    """Each letter of a context by itself, as often as asked for; the batches are the same but for that."""
    plain, dropping = (set_up(tiny("train.batch_size=1000", f"train.context_dropout={p}")) for p in (0.0, 0.25))
    (X, Y), (dropped, same) = plain.batches(40), dropping.batches(40)
    assert torch.equal(Y, same)
    kept = dropped == X
    assert (dropped[~kept] == 0).all()
    letters = X != 0
    share = (~kept[letters]).double().mean().item()
    assert share == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / letters.sum().item()) ** 0.5)
    both = (~kept[..., 0] & ~kept[..., 1])[letters[..., 0] & letters[..., 1]].double().mean().item()
    assert both == pytest.approx(0.25**2, abs=0.01)  # independently of each other
    again = set_up(tiny("train.batch_size=1000", "train.context_dropout=0.25"))
    parts = [again.batches(steps)[0] for steps in (1, 7, 32)]
    assert torch.equal(torch.cat(parts), dropped)  # however many are drawn at a time


def test_dropped_letters_are_a_penalty_in_training_only(tmp_path: Path) -> None:
    """A network that saw nothing but full stops knows no more than how often letters are."""
    summary = run(tiny("train.context_dropout=0.999999", "train.steps=1000"), tmp_path / "run")
    whole = run(tiny("train.steps=1000"), tmp_path / "whole")
    assert summary.loss["train"] > whole.loss["train"] + 0.1
    saved = load_checkpoint(tmp_path / "run")
    assert set(saved.training) == {"generator", "dropout"}
    assert set(load_checkpoint(tmp_path / "whole").training) == {"generator"}


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    runs = [run(tiny("train.steps=20", f"train.seed={seed}"), tmp_path / str(seed)).loss for seed in (1, 2)]
    assert runs[0] != runs[1]


def test_what_a_run_folder_holds(trained: Path) -> None:
    assert sorted(path.name for path in trained.iterdir()) == [
        "best.safetensors",
        "checkpoint.safetensors",
        "config.yaml",
        "metrics.jsonl",
        "summary.json",
    ]
    summary = json.loads((trained / "summary.json").read_text())
    assert len(losses(trained)) == summary["steps"] == 2000
    assert losses(trained)[0] > 3.2  # nearly log 27 = 3.30, as nothing is learned yet
    assert summary["loss"]["val"] < 2.6
    last = json.loads((trained / "metrics.jsonl").read_text().splitlines()[-1])
    assert last == {"step": 2000, "eval": summary["loss"]}


def test_loss_over_distinct_contexts_is_the_plain_mean(trained: Path) -> None:
    checkpoint = load_checkpoint(trained)
    data = set_up(checkpoint.config).dataset
    X, Y = (torch.from_numpy(a.astype(np.int64)) for a in data.val.examples(np.arange(len(data.val))))
    plain = F.cross_entropy(logits_in_float64(checkpoint.model, X), Y).item()
    assert evaluate.loss(checkpoint.model, data.val) == pytest.approx(plain, abs=1e-6)


@pytest.mark.parametrize("rows", [1, 1000, 1 << 22])
def test_calibration_is_the_plain_mean_and_unbiased_variance(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows are taken at a time."""
    monkeypatch.setattr(model, "LAYER_NUMBERS", rows * 27)
    p, _ = initialise(Sizes(27, 2, 3, 16), 5)
    data = set_up(tiny("model.context_length=2")).dataset
    X, _ = data.val.examples(np.arange(len(data.val)))
    hprebn = p.C.double()[torch.from_numpy(X.astype(np.int64))].flatten(1) @ p.W1.double() + p.b1.double()
    trained = evaluate.calibrate(p.sizes, p.arrays(), data.val)
    np.testing.assert_allclose(trained.bnmean, hprebn.mean(0, keepdim=True), rtol=0, atol=1e-6)
    np.testing.assert_allclose(trained.bnvar, hprebn.var(0, keepdim=True), rtol=1e-6, atol=0)


def test_running_statistics_come_near_the_calibrated_ones(tmp_path: Path) -> None:
    settings = ["train.steps=1000", "optim.lr=0.01"]
    calibrated = run(tiny(*settings), tmp_path / "calibrated")
    running = run(
        tiny(*settings, "model.batchnorm.statistics=running", "model.batchnorm.momentum=0.01"), tmp_path / "running"
    )
    assert running.loss["val"] == pytest.approx(calibrated.loss["val"], abs=0.02)
    assert running.loss["val"] != calibrated.loss["val"]


def test_crosscheck_lets_right_gradients_pass(tmp_path: Path) -> None:
    plain = run(tiny("train.steps=50"), tmp_path / "plain")
    checked = run(tiny("train.steps=50"), tmp_path / "checked", crosscheck_every=7)
    assert checked.loss == plain.loss


def test_crosscheck_stops_at_a_wrong_gradient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line goes wrong in mid-run; the next check names the tensor and leaves no checkpoint."""
    right, calls = fused.batchnorm_backward, 0

    def wrong(*arguments):
        nonlocal calls  # one a step and one a check
        calls += 1
        dhprebn, dbngain, dbnbias = right(*arguments)
        return dhprebn, dbngain, dbnbias * (1 if calls < 30 else -1)

    monkeypatch.setattr(fused, "batchnorm_backward", wrong)
    with pytest.raises(
        CheckFailedError, match=r"^step 31: the hand-written training pass.* disagrees with .* bnbias \(1, 32\)"
    ):
        run(tiny("train.steps=100", "train.engine=tensor"), tmp_path / "run", crosscheck_every=10)
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_a_loss_that_explodes_is_told(tmp_path: Path) -> None:
    with pytest.raises(MakemoreError, match=r"step \d+: the loss is (nan|inf): .*; try a smaller learning rate"):
        run(tiny("optim.lr=1e30", "train.steps=200"), tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


@pytest.mark.parametrize(
    ("batch_size", "T", "E", "H", "shared"),
    [
        (32, 3, 10, 200, False),  # the lecture's: 364,800 multiplications
        (256, 6, 48, 768, True),  # those of `best`: 61,931,520
        (64, 8, 24, 142, False),  # 1,990,272, just below two million
        (64, 8, 24, 143, True),  # 2,004,288
    ],
)
def test_a_small_batch_is_not_shared_among_threads(batch_size: int, T: int, E: int, H: int, shared: bool) -> None:
    p, _ = initialise(Sizes(27, T, E, H), 1)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with threads(p, batch_size):
            assert torch.get_num_threads() == (2 if shared else 1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_float64_trains_too(tmp_path: Path) -> None:
    single = run(tiny("train.steps=100"), tmp_path / "single")
    double = run(tiny("train.steps=100", "train.dtype=float64"), tmp_path / "double")
    assert double.loss["val"] == pytest.approx(single.loss["val"], abs=1e-5)
    assert load_checkpoint(tmp_path / "double").model.parameters["W1"].dtype == np.float64


def test_what_trains_is_what_is_crosschecked(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Autograd's own gradients are held against the chain by hand."""
    options = ["train", "-c", "tiny", "--steps", 3, "--crosscheck", 1, "-q"]
    told = {}
    for engine in ENGINES:
        result = cli(*options[:-1], "--engine", engine, "--out", tmp_path / engine)
        assert result.code == 0, result.err
        (told[engine],) = [line for line in result.err.splitlines() if "crosschecks" in line]
    assert told["autograd"].endswith(
        "autograd through PyTorch's own functions, against the hand-written chain, line by line"
    )
    assert told["tensor"].endswith("the hand-written training pass, against autograd through PyTorch's own functions")
    broken = replace(SOURCES["functions"], gradients=lambda *problem: {"b2": torch.zeros(27)})
    monkeypatch.setitem(SOURCES, "functions", broken)
    failed = cli(*options, "--engine", "autograd", "--out", tmp_path / "wrong")
    assert failed.code == 1
    assert "autograd through PyTorch's own functions disagrees with the hand-written chain" in failed.err
