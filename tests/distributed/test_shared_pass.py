"""The pass of several processes, against autograd and the pass of one process on the whole batch."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from makemore_cli.backprop.fused import training_pass
from makemore_cli.checks.check import compare_sources, crosscheck
from makemore_cli.checks.network import SOURCES, NetworkProblem, random_problem
from makemore_cli.checks.sources import Source
from makemore_cli.distributed.loopback import Loopback
from makemore_cli.distributed.shared_batch import SharedBatch, share
from makemore_cli.errors import CheckFailedError, MakemoreError
from makemore_cli.network.model import Sizes
from makemore_cli.network.parameters import initialise
from tests.distributed.in_threads import passes
from tests.distributed.wrong_shares import WRONG

EPS = 1e-5


@given(examples=st.integers(0, 1000), ranks=st.integers(1, 100))
def test_shares(examples: int, ranks: int) -> None:
    shares = share(examples, ranks)
    assert len(shares) == ranks
    assert [example for one in shares for example in one] == list(range(examples))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def problem(
    n: int, *, H: int = 40, dtype: torch.dtype = torch.float64, smoothing: float = 0.0, seed: int = 0
) -> NetworkProblem:
    parameters, generator = initialise(Sizes(27, 3, 6, H), seed)
    X = torch.randint(0, 27, (n, 3), generator=generator)
    Y = torch.randint(0, 27, (n,), generator=generator)
    return NetworkProblem(parameters.to(dtype=dtype), X, Y, EPS, smoothing)


def alone(one: NetworkProblem) -> tuple[float, torch.Tensor, torch.Tensor, torch.Tensor]:
    found = training_pass(one.p, one.X, one.Y, one.eps, one.smoothing)
    return float(found.loss), found.gradients.flat, found.bnmean, found.bnvar


def shared(ranks: int, batch: type[SharedBatch] = SharedBatch, witness: str = "autograd") -> Source:
    """The gradients of ranks in this process, as the first has them."""
    return Source("shared", "shared", lambda one: passes(one, ranks, batch)[0].gradients.views, witness=witness)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("n", [2, 3, 4, 5, 7, 32, 101])
@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 7])
def test_it_equals_the_pass_of_one_process(ranks: int, n: int, smoothing: float) -> None:
    """Batches that the ranks do not divide, a rank with one example, and ranks with none."""
    one = problem(n, smoothing=smoothing)
    loss, gradient, bnmean, bnvar = alone(one)
    first, *others = passes(one, ranks)
    assert float(first.loss) == pytest.approx(loss, rel=1e-13)
    assert (first.gradients.flat - gradient).abs().max() < 1e-12 * gradient.abs().max()
    assert (first.bnmean - bnmean).abs().max() < 1e-14
    assert (first.bnvar - bnvar).abs().max() < 1e-13
    for other in others:
        assert torch.equal(other.gradients.flat, first.gradients.flat)
        assert float(other.loss) == float(first.loss)
        assert torch.equal(other.bnvar, first.bnvar)


@pytest.mark.parametrize("count", [8, pytest.param(40, marks=pytest.mark.slow)])
def test_any_network(count: int) -> None:
    """Of degenerate sizes too, and in both precisions, within the tolerance of a crosscheck."""
    draw = random.Random(torch.randint(0, 2**31, ()).item())
    for step in range(count):
        one, _ = random_problem(draw)
        ranks = draw.choice([2, 3, 5])
        crosscheck(one, step, shared(ranks, witness="functions"))


def test_a_large_mean_does_not_cancel() -> None:
    """Σx² − n·mean² would have no digit left in float32."""
    one = problem(32, dtype=torch.float32)
    assert one.p.b1 is not None
    one.p.b1.add_(5000.0)
    exact = training_pass(one.p.to(dtype=torch.float64), one.X, one.Y, EPS)
    first, *_ = passes(one, 3)
    np.testing.assert_allclose(first.bnvar, exact.bnvar, rtol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_exchange_is_caught(wrong: type[SharedBatch]) -> None:
    one = problem(32, H=10)
    crosscheck(one, 1, shared(3))
    with pytest.raises(CheckFailedError, match="disagrees with autograd"):
        crosscheck(one, 1, shared(3, wrong))


# Real processes.


@pytest.mark.parametrize("ranks", [2, *(pytest.param(ranks, marks=pytest.mark.slow) for ranks in (1, 3, 4))])
def test_processes_equal_threads(ranks: int) -> None:
    """What goes over the wire has the same bits, by whichever exchange."""
    group = Loopback(ranks)
    try:
        for n in (2, 7, 101):
            one = problem(n, H=33, smoothing=0.1)
            right = passes(one, ranks)
            found = group.training_pass(one.p, one.X, one.Y, one.eps, one.smoothing)
            for theirs, ours in zip(found, right, strict=True):
                assert theirs.loss == float(ours.loss)
                assert theirs.gradient.tobytes() == ours.gradients.flat.numpy().tobytes()
                assert theirs.bnmean.tobytes() == ours.bnmean.numpy().tobytes()
    finally:
        group.close()


@pytest.mark.slow
def test_gradcheck_has_it_as_a_source() -> None:
    for n, dtype in ((2, torch.float64), (32, torch.float32), (100, torch.float64)):
        report = compare_sources(problem(n, dtype=dtype), SOURCES["distributed"], SOURCES["autograd"])
        assert report.ok, report.failures()
        assert len(report.sections[0].findings) == 7


@pytest.mark.slow
def test_a_process_that_has_ended_is_told() -> None:
    group = Loopback(2)
    group._processes[1].kill()
    group._processes[1].join()
    one = problem(4)
    with pytest.raises(MakemoreError, match=r"^rank [01] of 2 on this machine: "):
        group.training_pass(one.p, one.X, one.Y, EPS, 0.0)
