"""The compiled kernel: gradients against float64, steps against the tensor engine's, its arithmetic, its cache."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from makemore_cli.backprop import fused, kernel
from makemore_cli.backprop.update_factors import Factors
from makemore_cli.config import load as configuration
from makemore_cli.errors import MakemoreError
from makemore_cli.gradcheck import network
from makemore_cli.gradcheck.check import compare_sources
from makemore_cli.gradcheck.network import SOURCES, NetworkProblem
from makemore_cli.gradcheck.sources import Source
from makemore_cli.network.parameters import Parameters
from makemore_cli.network.reference import forward
from makemore_cli.training.engines import Engine, KernelEngine, RunningStatistics, TensorEngine
from makemore_cli.training.setup import resolve
from tests.conftest import problem

EPS = 1e-5


def agree(*sizes: int, dtype: torch.dtype, first_bias: bool = True, smoothing: float = 0.0, seed: int = 0) -> None:
    p, X, Y = problem(*sizes, dtype=dtype, first_bias=first_bias, seed=seed)
    report = compare_sources(NetworkProblem(p, X, Y, EPS, smoothing), SOURCES["kernel"], SOURCES["float64"])
    assert report.ok, f"{sizes}: {report.failures()}"
    looked_up, multiplied = report.sections
    for finding in looked_up.findings + multiplied.findings:
        tolerance = 3e-6 if dtype == torch.float32 else 1e-12
        assert finding.comparison.relative <= tolerance, f"{sizes}: {finding}"


@pytest.mark.every(4)
# Every width is compiled once for each precision, some seconds each, so float64 tries fewer.
@pytest.mark.parametrize("H", [17, 1, 15, 16])
def test_gradients_in_both_precisions(H: int) -> None:
    for number, (T, E, V, n) in enumerate(product([1, 3, 8], [1, 10, 24], [2, 27, 300], [2, 5, 32, 257])):
        if (number + H) % 3 == 0:
            agree(n, T, E, H, V, dtype=torch.float64, seed=number)


@pytest.mark.slow
@pytest.mark.parametrize("H", [200, 768])
def test_gradients_of_wide_layers(H: int) -> None:
    """In float32 alone, against autograd in float64."""
    for number, (T, E, V, n) in enumerate(product([1, 3, 8], [2, 10, 24], [2, 27, 300], [2, 5, 32, 257])):
        if number % 6 == 0:
            p, X, Y = problem(n, T, E, H, V, seed=number)
            ours, truth = (SOURCES[name].gradients(NetworkProblem(p, X, Y, EPS, 0.0)) for name in ("kernel", "float64"))
            if n > 2:  # where a batch of two gives ±1/√2 whatever came in, the largest entry is no scale
                for name in ("C", "W1", "W2", "b2", "bngain", "bnbias"):
                    if V > 2:
                        scale = truth[name].abs().max()
                        assert (ours[name] - truth[name]).abs().max() <= 3e-6 * scale, (T, E, V, n, name)


@given(
    n=st.integers(2, 70),
    T=st.integers(1, 9),
    E=st.integers(1, 24),
    H=st.integers(1, 32),
    V=st.integers(2, 60),
    first_bias=st.booleans(),
    smoothing=st.sampled_from([0.0, 0.2]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=25)
def test_gradients_for_any_sizes(
    n: int, T: int, E: int, H: int, V: int, first_bias: bool, smoothing: float, seed: int
) -> None:
    """On both paths of the first layer, whatever the length of the batch beside the vocabulary."""
    agree(n, T, E, H, V, dtype=torch.float32, first_bias=first_bias, smoothing=smoothing, seed=seed)


@pytest.mark.every(4)
@pytest.mark.parametrize("tensor", ["C", "W1", "b1", "W2", "b2", "bngain", "bnbias"])
def test_a_wrong_entry_of_any_gradient_is_seen(tensor: str) -> None:
    def wrong(problem: NetworkProblem) -> dict[str, torch.Tensor]:
        gradients = SOURCES["kernel"].gradients(problem)
        gradients[tensor].flatten()[3] += 1e-3
        return gradients

    report = compare_sources(NetworkProblem(*problem(H=16), EPS, 0.0), Source("wrong", "", wrong), SOURCES["autograd"])
    assert [f.comparison.tensor for f in report.sections[0].findings if not f.ok] == [tensor]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("engine", [KernelEngine, TensorEngine])
def test_scores_beyond_what_exp_can_take(engine: type[Engine], dtype: torch.dtype) -> None:
    """What is added to all scores changes neither loss nor gradient, and one that beats the others by far is right."""
    p, X, Y = problem(n=9, H=16, dtype=dtype)
    plain = p.to()
    loss = float(engine(plain, None, EPS).run(X[None], Y[None], [1.0])[0])
    tolerance = 3e-4 if dtype == torch.float32 else 1e-10
    for shift in (100.0, 1000.0, -1000.0):
        shifted = p.to()
        shifted.b2.add_(shift)
        assert float(engine(shifted, None, EPS).run(X[None], Y[None], [1.0])[0]) == pytest.approx(loss, abs=tolerance)
        shifted.b2.sub_(shift)
        torch.testing.assert_close(shifted.flat, plain.flat, rtol=0, atol=tolerance)
    for letter in (0, 26):
        hot = p.to()
        hot.b2[letter] += 5000
        leaves = {name: view.detach().double().requires_grad_() for name, view in hot.views.items()}
        truth, _, _ = forward(leaves, X, Y, EPS)
        truth.backward()
        assert truth.item() > 4000
        trained = hot.to()
        assert float(engine(trained, None, EPS).run(X[None], Y[None], [1.0])[0]) == pytest.approx(
            truth.item(), rel=1e-6
        )
        for name, leaf in leaves.items():
            update = (hot.views[name] - trained.views[name]).double()
            torch.testing.assert_close(update, leaf.grad.view_as(update), rtol=0, atol=10 * tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("lookup", [True, False])
@pytest.mark.parametrize("first_bias", [True, False])
def test_the_first_layers_gradients_under_any_gradient_from_above(
    lookup: bool, first_bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batchnorm lets no gradient through to b1. So random numbers stand in for dhprebn, in autograd as in the pass.

    The pass runs uncompiled, but for the functions that it calls.
    """
    p, X, Y = problem(n=7, V=5, E=3, H=17, first_bias=first_bias, dtype=torch.float64)
    above = torch.randn(7, 17, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    leaves = {name: view.detach().clone().requires_grad_() for name, view in p.views.items() if name in "C W1 b1"}
    hprebn = leaves["C"][X].flatten(1) @ leaves["W1"] + leaves.get("b1", 0)
    truth = torch.autograd.grad(hprebn, list(leaves.values()), above)

    def batchnorm_backward(dhpreact: np.ndarray, *_: object) -> None:
        dhpreact[:7, :17] = above.numpy()

    monkeypatch.setattr(kernel, "batchnorm_backward", batchnorm_backward)
    compiled = kernel.Kernel(p.sizes, 7, np.dtype(np.float64), EPS, lookup=lookup)
    compiled.load(p.arrays())
    kernel.training_pass.py_func(
        compiled.weights, compiled.gradients, compiled.activations, X.numpy(), Y.numpy(), 7.0, EPS, 0.0,
        p.sizes.vocabulary, p.sizes.embedding, first_bias, compiled.lanes, None,
    )  # fmt: skip
    ours = compiled.named(compiled.gradients)
    for (name, leaf), gradient in zip(leaves.items(), truth, strict=True):
        assert gradient.abs().max() > 0.1
        np.testing.assert_allclose(ours[name], gradient.view_as(leaf), rtol=0, atol=1e-13)
    if not first_bias:
        assert not compiled.gradients.b1.any()


def test_the_bias_gradient_is_what_rounding_has_left() -> None:
    """The compiled db1 is the sum of the rows of dhprebn, from the first to the last, bit for bit."""
    for n in (7, 96):
        p, X, Y = problem(n=n, H=17)
        compiled = KernelEngine(p, None, EPS).kernel(n)
        compiled.prepare(lambda: None)
        compiled.load(p.arrays())
        compiled.train(X[None].numpy(), Y[None].numpy(), [Factors(0.0)])
        expected = np.zeros(17, np.float32)
        for row in compiled.activations.dhprebn[:n, :17]:
            expected += row
        assert np.count_nonzero(expected) > 8
        np.testing.assert_array_equal(compiled.named(compiled.gradients)["b1"], expected)


PATHS = ["first layer looked up", "first layer as a product"]


@pytest.mark.parametrize("n", [5, 96])
def test_the_length_of_a_batch_chooses_the_path_unless_it_is_given(n: int) -> None:
    sizes = problem(H=16)[0].sizes
    for lookup, looked_up in ((None, n == 96), (True, True), (False, False)):
        activations = kernel.Kernel(sizes, n, np.dtype(np.float32), EPS, lookup=lookup).activations
        assert len(activations.tables) == (3 if looked_up else 0)
        assert len(activations.embcat) == (0 if looked_up else kernel._up(n, kernel.BLOCK))


@pytest.mark.every(4)
@pytest.mark.parametrize("n", [5, 96])
@pytest.mark.parametrize("path", [0, 1])
def test_a_mistake_on_either_path_is_seen_and_the_path_named(
    n: int, path: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a letter that a batch holds twice, dC keeps one use only; and the same path's loss is off by a little."""
    right = network.kernel_pass

    def wrong(problem: NetworkProblem, lookup: bool | None):
        loss, gradients = right(problem, lookup)
        if lookup is (path == 0):
            gradients["C"][problem.X[0, 0]] *= 0.5
            loss *= 1 + 1e-6
        return loss, gradients

    monkeypatch.setattr(network, "kernel_pass", wrong)
    report = compare_sources(NetworkProblem(*problem(n=n, H=16), EPS, 0.0), SOURCES["kernel"], SOURCES["autograd"])
    gradient, loss = report.failures()
    assert gradient.startswith(f"kernel, {PATHS[path]}, against autograd: ")
    assert "C (27, 10)" in gradient
    assert loss.startswith(f"the training pass, compiled, {PATHS[path]}, computes a loss of ")


@pytest.mark.parametrize("of", ["fused", "kernel"])
def test_a_wrong_loss_is_seen_on_either_side(of: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chain's loss is PyTorch's; a training pass's that is off is told once, as source and as witness."""
    if of == "fused":
        right = fused.training_pass
        monkeypatch.setattr(fused, "training_pass", lambda *a: (found := right(*a))._replace(loss=found.loss * 1.001))
    else:
        compiled = network.kernel_pass
        monkeypatch.setattr(network, "kernel_pass", lambda *a: ((found := compiled(*a))[0] * 1.001, found[1]))
    for pair in ((of, "autograd"), ("atomic", of), (of, of)):
        report = compare_sources(NetworkProblem(*problem(n=7, H=16), EPS, 0.0), *(SOURCES[name] for name in pair))
        assert len(report.failures()) == {"fused": 1, "kernel": 2}[of]
        assert all("computes a loss of" in failure for failure in report.failures())


def batches(p: Parameters, steps: int, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    s = p.sizes
    X = torch.randint(0, s.vocabulary, (steps, n, s.context), generator=generator)
    return X, torch.randint(0, s.vocabulary, (steps, n), generator=generator)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("first_bias", "running"), [(True, False), (False, True)])
def test_steps_are_the_tensor_engines(dtype: torch.dtype, first_bias: bool, running: bool) -> None:
    """Losses, parameters and running statistics after 50 steps whose learning rate changes; n is no multiple of 4."""
    results = []
    for engine in (KernelEngine, TensorEngine):
        p, _, _ = problem(H=17, V=5, E=3, first_bias=first_bias, dtype=dtype)
        average = None
        if running:
            average = RunningStatistics(torch.zeros(1, 17, dtype=dtype), torch.ones(1, 17, dtype=dtype), 0.1)
        X, Y = batches(p, 50, 7)
        losses = engine(p, average, EPS).run(X, Y, [0.1] * 25 + [0.03] * 25)
        results.append((losses.double(), p.flat, average))
    (losses, flat, average), (theirs, their_flat, their_average) = results
    tolerance = 2e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(losses, theirs, rtol=0, atol=tolerance)
    torch.testing.assert_close(flat, their_flat, rtol=0, atol=tolerance)
    if average is not None and their_average is not None:
        torch.testing.assert_close(average.mean, their_average.mean, rtol=0, atol=tolerance)
        torch.testing.assert_close(average.var, their_average.var, rtol=tolerance, atol=tolerance)


def test_one_step_is_as_near_to_float64_as_pytorchs() -> None:
    p, _, _ = problem(H=16)
    X, Y = batches(p, 1, 32)
    ends = []
    for engine, dtype in ((KernelEngine, torch.float32), (TensorEngine, torch.float32), (TensorEngine, torch.float64)):
        ends.append(p.to(dtype=dtype))
        engine(ends[-1]).run(X, Y, [0.1])
    ours, theirs = ((end.flat.double() - ends[2].flat).abs().max() for end in ends[:2])
    assert ours < 2e-7
    assert ours < 2 * theirs + 1e-7


def test_what_is_padded_stays_zero() -> None:
    p, _, _ = problem(H=17, V=5, E=3)
    X, Y = batches(p, 100, 7)
    engine = KernelEngine(p)
    engine.run(X, Y, [0.5] * 100)
    compiled = engine.kernel(7)
    for weights in (compiled.weights, compiled.gradients):
        for view in compiled.named(weights).values():
            view[...] = 0
    rest = compiled.flat.copy()
    assert not rest.any()
    assert not compiled.dflat.any()
    assert set(compiled.weights.b2[5:]) == {np.float32(kernel.NO_LETTER)}


def test_more_threads_change_no_digit() -> None:
    ends = []
    for count in (1, 2):
        p, _, _ = problem(H=16)
        X, Y = batches(p, 20, 33)
        compiled = KernelEngine(p).kernel(33)
        compiled.prepare(lambda: None, count)
        compiled.load(p.arrays())
        losses = compiled.train(X.numpy(), Y.numpy(), [Factors(0.1)] * 20, threads=count)
        ends.append((losses.tolist(), compiled.flat.tolist()))
    assert ends[0] == ends[1]


@njit
def each(function, x):
    out = np.empty_like(x)
    for i in range(x.size):
        out[i] = function(x[i])
    return out


def test_exp_and_tanh() -> None:
    """Against NumPy in float64, within three roundings, from the smallest numbers to where they end."""
    small = np.geomspace(1e-38, 90, 200_000)
    x = np.concatenate([np.linspace(-100, 100, 400_001), small, -small]).astype(np.float32)
    true = np.tanh(x.astype(np.float64))
    np.testing.assert_allclose(each(kernel.tanh32, x), true, rtol=3 * 2.0**-24, atol=0)
    negative = x[(x <= 0) & (x >= -87)]
    np.testing.assert_allclose(each(kernel.exp32, negative), np.exp(negative.astype(np.float64)), rtol=3 * 2.0**-24)
    ends = np.array([-np.inf, np.inf, np.nan, 0, -1e30, 1e30], np.float32)
    np.testing.assert_array_equal(each(kernel.tanh32, ends), np.tanh(ends))
    np.testing.assert_array_equal(each(kernel.exp32, ends[[0, 2, 3, 4]]), np.exp(ends[[0, 2, 3, 4]]))


def test_each_precision_has_its_own_exp_and_tanh() -> None:
    """In float32 those that become vectors, and in float64 the C library's, to the last bit."""
    x = np.linspace(-20, 20, 10_001)
    for both, single, double in ((kernel.exp, kernel.exp32, math.exp), (kernel.tanh, kernel.tanh32, math.tanh)):
        call = njit(lambda number, both=both: both(number))
        small = x.astype(np.float32)
        np.testing.assert_array_equal(each(call, small), each(single, small))
        assert (each(call, small) != [np.float32(double(number)) for number in small]).any()
        np.testing.assert_array_equal(each(call, x), [double(number) for number in x])


@pytest.mark.parametrize("where", ["W1", "W2", "C", "b2", "bngain"])
@pytest.mark.parametrize("what", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_not_hidden(where: str, what: float) -> None:
    p, X, Y = problem(H=16)
    p.views[where].fill_(what)
    finite, true = (engine(p.to()).run(X[None], Y[None], [0.1]).isfinite() for engine in (KernelEngine, TensorEngine))
    assert finite == true
    assert not finite or (where, what) == ("bngain", float("inf"))  # tanh of infinity is 1


def test_on_another_device_it_is_refused() -> None:
    p, X, Y = problem(H=16)
    with pytest.raises(MakemoreError, match=r"^train\.device must be cpu for the source kernel"):
        SOURCES["kernel"].gradients(NetworkProblem(p.to(device="meta"), X, Y, EPS, 0.0))


@pytest.mark.slow
@pytest.mark.parametrize("damaged", [False, True])
def test_compiled_once_kept_and_mended(damaged: bool, tmp_path: Path) -> None:
    """The first run says that it compiles; the second has nothing to say; one whose kept code is damaged runs too.

    The first two end at the same bytes: what was just compiled is what will be taken from the disk.
    """
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def train(name: str) -> str:
        command = [sys.executable, "-m", "makemore_cli", "train", "--config", "tiny", "--steps", "2000", "--out", name]
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100)
        assert result.returncode == 0, result.stderr
        return result.stderr

    assert "compiling the kernel for this hidden size, once" in train("first")
    assert "compil" not in train("second")
    kept = list((tmp_path / "cache").rglob("*.nb*"))
    assert kept
    if damaged:
        for file in kept:
            file.write_bytes(file.read_bytes()[:100])
        train("third")
    ends = [(tmp_path / name / "checkpoint.safetensors").read_bytes() for name in ("first", "second")]
    assert ends[0] == ends[1]


def test_who_trains() -> None:
    wide = ["model.hidden_size=10000"]
    for changes, engine in (([], "kernel"), (wide, "tensor"), (["train.engine=tensor"], "tensor")):
        config = configuration.load(configuration.find("tiny"), [*changes, "train.device=cpu"])
        assert resolve(config).train.engine == engine
    with pytest.raises(MakemoreError, match=r"^train\.engine kernel takes at most 8,192 hidden units; choose tensor"):
        resolve(configuration.load(configuration.find("tiny"), [*wide, "train.engine=kernel"]))
