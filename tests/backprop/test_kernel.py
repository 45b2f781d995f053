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

from makemore_cli.backprop import fused
from makemore_cli.backprop.kernel import arithmetic, first_layer, pointers, products
from makemore_cli.backprop.kernel.intrinsics import at
from makemore_cli.backprop.kernel.kernel import Kernel
from makemore_cli.backprop.kernel.layout import LINE, TILE, Layout
from makemore_cli.backprop.update_numbers import Factors, Rule
from makemore_cli.checks import network
from makemore_cli.checks.check import compare_sources
from makemore_cli.checks.network import SOURCES, NetworkProblem
from makemore_cli.checks.sources import Source
from makemore_cli.config import load as configuration
from makemore_cli.errors import MakemoreError
from makemore_cli.network.model import Sizes
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
    for finding in report.sections[0].findings:
        tolerance = 3e-6 if dtype == torch.float32 else 1e-12
        assert finding.comparison.relative <= tolerance, f"{sizes}: {finding}"


@pytest.mark.every(7)
@pytest.mark.parametrize("H", [17, 1, 15, 16, 64, 65, 200])
def test_gradients_in_both_precisions(H: int) -> None:
    for number, (T, E, V, n) in enumerate(product([1, 3, 8], [1, 10, 24], [2, 27, 300], [2, 5, 32, 257])):
        if (number + H) % 5 == 0:
            agree(n, T, E, H, V, dtype=torch.float64 if number % 2 else torch.float32, seed=number)


@pytest.mark.slow
@pytest.mark.parametrize("H", [200, 768, 1500])
def test_gradients_of_wide_layers(H: int) -> None:
    """In float32 alone, against autograd in float64. At 1,500 hidden units, a group has several tiles."""
    for number, (T, E, V, n) in enumerate(product([1, 3, 8], [2, 10, 24], [2, 27, 300], [2, 5, 32, 257])):
        if number % 5 == 0 and n > 2 and V > 2:  # a batch of two gives ±1/√2 whatever came in: there is no scale
            p, X, Y = problem(n, T, E, H, V, seed=number)
            ours, truth = (SOURCES[name].gradients(NetworkProblem(p, X, Y, EPS, 0.0)) for name in ("kernel", "float64"))
            for name in ("C", "W1", "W2", "b2", "bngain", "bnbias"):
                scale = truth[name].abs().max()
                assert (ours[name] - truth[name]).abs().max() <= 4e-6 * scale, (T, E, V, n, name)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "sizes", [(9, 3, 10, 1300, 1000), (40, 2, 5, 200, 8192), (300, 3, 10, 64, 129), (5, 1, 3, 33, 128)]
)
def test_gradients_of_large_vocabularies(sizes: tuple[int, ...], dtype: torch.dtype) -> None:
    """Of several panels, and of groups with several tiles."""
    agree(*sizes, dtype=dtype, smoothing=0.1)


@given(
    n=st.integers(2, 70),
    T=st.integers(1, 9),
    E=st.integers(1, 24),
    H=st.integers(1, 150),
    V=st.integers(2, 300),
    first_bias=st.booleans(),
    smoothing=st.sampled_from([0.0, 0.2]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=25)
def test_gradients_for_any_sizes(
    n: int, T: int, E: int, H: int, V: int, first_bias: bool, smoothing: float, seed: int
) -> None:
    dtype = torch.float32 if seed % 2 else torch.float64
    agree(n, T, E, H, V, dtype=dtype, first_bias=first_bias, smoothing=smoothing, seed=seed)


@pytest.mark.every(7)
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


@njit
def first_layer_backward(m, s, X):
    """The gradients of the first layer for what is in dhprebn, as in `train_steps`."""
    me = np.int64(0)
    b = pointers.letters_of(m, me)
    slots = first_layer.find_letters(b, X, me)
    first_layer.embed(at(m.emb, me, 0, 0), at(m.C, 0, 0, 0), b, s)
    for tile in range(s.tiles):
        t = pointers.tile_at(m, s, tile)
        first_layer.gather_dtables(t, b, slots)
        for p in range(s.T):
            x = pointers.position_at(m, s, t, b, me, p)
            products.product(x.dW1, products.transposed(x.emb), x.dtable, s.E, x.slots, t.width)
            products.transpose(x.W1T, x.W1, s.padded_E, t.width)
            products.product(x.partial_demb, x.dtable, x.W1T, x.slots, t.width, s.padded_E)
    first_layer.gather_dC(at(m.C, 1, 0, 0), m.partial_demb, b, s, me, s.V)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("n", "V"), [(7, 5), (100, 27), (64, 300)])
def test_the_first_layers_gradients_under_any_gradient_from_above(n: int, V: int, dtype: torch.dtype) -> None:
    """Batchnorm lets little of a gradient through. So random numbers stand in for dhprebn, in autograd as here."""
    p, X, _ = problem(n=n, V=V, E=3, H=90, dtype=dtype)
    above = torch.randn(n, 90, dtype=dtype, generator=torch.Generator().manual_seed(1))
    C, W1 = (p.views[name].detach().double().requires_grad_() for name in ("C", "W1"))
    truth = torch.autograd.grad(C[X].flatten(1) @ W1, (C, W1), above.double())
    layout = Layout(p.sizes, n, p.flat.numpy().dtype, 0.0, 2)
    layout.put(0, p.arrays())
    for tile, units in enumerate(layout.units):
        layout.memory.units[tile, 2, :n, : units.stop - units.start] = above[:, units]
    first_layer_backward(layout.memory, layout.dimensions, X[None].numpy())
    ours = p.to().arrays()
    layout.take(1, ours)
    for name, gradient in zip(("C", "W1"), truth, strict=True):
        assert gradient.abs().max() > 0.1
        tolerance = 1e-5 if dtype == torch.float32 else 1e-13
        np.testing.assert_allclose(ours[name], gradient, rtol=0, atol=tolerance)


def compiled_pass(p: Parameters, X: torch.Tensor, Y: torch.Tensor) -> Kernel:
    """The kernel after one step whose learning rate is 0."""
    compiled = Kernel(p.sizes, len(X), p.flat.numpy().dtype, EPS)
    compiled.prepare()
    compiled.load(p.arrays())
    compiled.train(X[None].numpy(), Y[None].numpy(), [Factors(0.0)])
    return compiled


def test_the_bias_gradient_is_what_rounding_has_left() -> None:
    """The compiled db1 is the sum of the rows of dhprebn, from the first to the last, bit for bit."""
    for n in (7, 96):
        p, X, Y = problem(n=n, H=17)
        compiled = compiled_pass(p, X, Y)
        for tile, units in enumerate(compiled.layout.units):
            expected = np.zeros(units.stop - units.start, np.float32)
            for row in compiled.layout.memory.units[tile, 2, :n, : len(expected)]:
                expected += row
            assert np.count_nonzero(expected) > 0
            np.testing.assert_array_equal(compiled.gradients()["b1"][units], expected)


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
        assert len(report.failures()) == 1
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
    memory, layout = engine.kernel(7).layout.memory, engine.kernel(7).layout
    zero = {name: np.zeros_like(array) for name, array in p.arrays().items()}
    for copy in range(2):
        for padded, own in layout._views(copy, zero):
            padded[...] = own
        for part in (memory.weights, memory.b2, memory.C):
            assert not part[copy].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("sizes", [(7, 3, 3, 17, 5), (33, 2, 10, 90, 300), (6, 8, 1, 200, 27), (2, 1, 24, 1100, 2)])
def test_what_is_padded_elsewhere_does_not_matter(sizes: tuple[int, ...], dtype: torch.dtype) -> None:
    """All of the memory, but for the parameters, is filled with what is no number: the steps are the same."""
    p, _, _ = problem(*sizes, dtype=dtype)
    X, Y = batches(p, 5, sizes[0])
    ends = []
    for nothing in (0.0, math.nan, -1e30):
        compiled = Kernel(p.sizes, sizes[0], p.flat.numpy().dtype, EPS, rule=Rule(clip=0.5), smoothing=0.1)
        compiled.prepare()
        memory = compiled.layout.memory
        for name, array in memory._asdict().items():
            if name not in ("weights", "b2", "C", "target", "tiles"):
                array.fill(nothing if array.dtype.kind == "f" else 10**6)
        memory.statistics[:, 3:] = 0  # the averages
        compiled.load(p.arrays())
        losses = compiled.train(X.numpy(), Y.numpy(), [Factors(0.1)] * 5)
        own = p.to().arrays()
        compiled.store(own)
        ends.append((losses.tolist(), {name: array.tolist() for name, array in own.items()}))
    assert ends[0] == ends[1] == ends[2]


RULES = [
    Rule(adamw=True, rest1=0.1, beta2=0.95, rest2=0.05, epsilon=1e-8, clip=0.05),
    Rule(momentum=0.9, nesterov=True, weight_decay=0.01),
]


@pytest.mark.every(4)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rule", RULES, ids=["adamw", "sgd"])
@pytest.mark.parametrize("sizes", [(33, 3, 10, 16, 27), (40, 3, 10, 200, 300), (9, 2, 5, 1300, 40)])
def test_more_threads_change_no_digit(sizes: tuple[int, ...], rule: Rule, dtype: type[np.floating]) -> None:
    ends = []
    for threads in (1, 2, 3, 16):
        p = problem(*sizes)[0].to(dtype=torch.float32 if dtype is np.float32 else torch.float64)
        X, Y = batches(p, 20, sizes[0])
        kept = {name: p.to().arrays() for name in (("m", "v") if rule.adamw else ("velocity",))}
        for arrays in kept.values():
            for array in arrays.values():
                array[...] = 0
        kept["average"] = p.to().arrays()
        running = np.zeros(sizes[3], dtype), np.ones(sizes[3], dtype), 0.1
        compiled = Kernel(p.sizes, sizes[0], np.dtype(dtype), EPS, rule=rule, kept=list(kept))
        compiled.load(p.arrays(), kept)
        factors = [Factors(0.1, 0.99, 0.01, 0.5, 0.1)] * 20
        losses = compiled.train(X.numpy(), Y.numpy(), factors, running, threads=threads)
        compiled.store(p.arrays(), kept)
        everything = [p.arrays(), *kept.values(), dict(enumerate(running[:2]))]
        ends.append((losses.tolist(), [array.tolist() for arrays in everything for array in arrays.values()]))
    assert all(end == ends[0] for end in ends[1:])


@given(
    n=st.integers(2, 300),
    T=st.integers(1, 20),
    E=st.integers(1, 70),
    H=st.integers(1, 9000),
    V=st.integers(2, 9000),
)
@settings(max_examples=50)
def test_memory_for_any_sizes(n: int, T: int, E: int, H: int, V: int) -> None:
    """Each hidden unit has one place. Every array begins at a cache line, and no two threads write to the same line."""
    sizes = Sizes(V, T, E, H)
    layout = Layout(sizes, n, np.dtype(np.float32), 0.0, 2)
    units = [unit for part in layout.units for unit in range(part.start, part.stop)]
    assert units == list(range(H))
    widths, groups, places = layout.memory.tiles.T
    assert all(width % LINE == 0 and width <= TILE for width in widths)
    assert max(widths) - min(widths) <= LINE
    assert sorted(set(groups)) == list(range(layout.dimensions.groups))
    assert all(
        (place == 0) == (i == 0 or group != groups[i - 1])
        for i, (group, place) in enumerate(zip(groups, places, strict=True))
    )
    for array in layout.memory:
        assert array.ctypes.data % 64 == 0


@njit
def each(function, x):
    out = np.empty_like(x)
    for i in range(x.size):
        out[i] = function(x[i])
    return out


@pytest.mark.parametrize(("dtype", "lowest", "roundings"), [(np.float32, -87, 3), (np.float64, -708, 4)])
def test_exp_and_tanh(dtype: type[np.floating], lowest: float, roundings: int) -> None:
    """Against the next better precision, within a few roundings, from the smallest numbers to where they end."""
    small = np.geomspace(1e-38, 90, 200_000)
    x = np.concatenate([np.linspace(-100, 100, 400_001), small, -small]).astype(dtype)
    rounding = np.finfo(dtype).eps / 2
    true = np.tanh(x.astype(np.longdouble))
    np.testing.assert_allclose(each(arithmetic.tanh, x), true, rtol=roundings * rounding, atol=0)
    negative = np.concatenate([x[(x <= 0) & (x >= lowest)], np.linspace(lowest, 0, 100_000, dtype=dtype)])
    true = np.exp(negative.astype(np.longdouble))
    np.testing.assert_allclose(each(arithmetic.exp, negative), true, rtol=roundings * rounding)
    ends = np.array([-np.inf, np.inf, np.nan, 0, -1e30, 1e30], dtype)
    np.testing.assert_array_equal(each(arithmetic.tanh, ends), np.tanh(ends))
    np.testing.assert_array_equal(each(arithmetic.exp, ends[[0, 2, 3, 4]]), np.exp(ends[[0, 2, 3, 4]]))


@pytest.mark.parametrize("where", ["W1", "W2", "C", "b2", "bngain"])
@pytest.mark.parametrize("what", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_not_hidden(where: str, what: float) -> None:
    p, X, Y = problem(H=16)
    p.views[where].fill_(what)
    finite, true = (engine(p.to()).run(X[None], Y[None], [0.1]).isfinite() for engine in (KernelEngine, TensorEngine))
    assert finite == true
    assert not finite or (where, what) == ("bngain", float("inf"))  # tanh of infinity is 1


def test_after_numbers_that_are_not_finite_it_trains_as_before() -> None:
    """Nothing of them is left in the kernel's memory once the parameters are restored."""
    p, _, _ = problem(H=17, V=5, E=3)
    X, Y = batches(p, 20, 7)
    ends = []
    for spoilt in (False, True):
        q = p.to()
        engine = KernelEngine(q)
        state = engine.state()
        if spoilt:
            q.views["W1"].fill_(math.nan)
            assert engine.run(X, Y, [0.1] * 20).isnan().all()
            engine.restore(state)
        ends.append((engine.run(X, Y, [0.1] * 20).tolist(), q.flat.tolist()))
    assert ends[0] == ends[1]


def test_on_another_device_it_is_refused() -> None:
    p, X, Y = problem(H=16)
    with pytest.raises(MakemoreError, match=r"^train\.device must be cpu for the source kernel"):
        SOURCES["kernel"].gradients(NetworkProblem(p.to(device="meta"), X, Y, EPS, 0.0))


@pytest.mark.slow
def test_compiled_once_kept_and_mended(tmp_path: Path) -> None:
    """The first run says that it compiles; the second has nothing to say; one whose kept code is damaged runs too.

    All end at the same bytes: what was just compiled is what will be taken from the disk.
    """
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def train(name: str) -> str:
        command = [sys.executable, "-m", "makemore_cli", "train", "--config", "tiny", "--steps", "2000", "--out", name]
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100)
        assert result.returncode == 0, result.stderr
        return result.stderr

    assert "compiling the kernel, once" in train("first")
    assert "compil" not in train("second")
    kept = list((tmp_path / "cache").rglob("*.nb*"))
    assert kept
    for file in kept:
        file.write_bytes(file.read_bytes()[:100])
    assert "compiling the kernel, once" in train("third")
    assert "compil" not in train("fourth")
    names = ("first", "second", "third", "fourth")
    ends = {(tmp_path / name / "checkpoint.safetensors").read_bytes() for name in names}
    assert len(ends) == 1


@pytest.mark.slow
def test_first_starts_at_the_same_time(tmp_path: Path) -> None:
    """Runs that all find nothing compiled, in both precisions, end as a later one does, which compiles nothing."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def start(name: str, dtype: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "makemore_cli", "train", "--config", "tiny", "--steps", "300", "--out", name]
        command += ["--engine", "kernel", "--set", f"train.dtype={dtype}"]
        return subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)

    def checkpoint(name: str) -> bytes:
        return (tmp_path / name / "checkpoint.safetensors").read_bytes()

    types = ("float32", "float64", "float32")
    starts = [start(f"first-{number}", dtype) for number, dtype in enumerate(types)]
    for one in starts:
        assert one.communicate(timeout=300)[1]
        assert one.returncode == 0
    for dtype in ("float32", "float64"):
        later = start(dtype, dtype)
        assert "compil" not in later.communicate(timeout=100)[1]
        for number, of in enumerate(types):
            assert (checkpoint(f"first-{number}") == checkpoint(dtype)) == (of == dtype)


def test_who_trains() -> None:
    for changes, engine in (
        ([], "kernel"),
        (["model.hidden_size=10000"], "kernel"),
        (["train.engine=tensor"], "tensor"),
    ):
        config = configuration.load(configuration.find("tiny"), [*changes, "train.device=cpu"])
        assert resolve(config).train.engine == engine
