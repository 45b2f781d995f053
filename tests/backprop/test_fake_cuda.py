"""The passes on a GPU that is not there (`tests/fake_gpu.py`): tensors stay on it, and have the values of the CPU's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from makemore_cli.backprop import atomic, fused, stable
from makemore_cli.distributed.exchange import Exchange
from makemore_cli.distributed.shared_batch import SharedBatch
from tests.conftest import problem
from tests.fake_gpu import GPU, Gpu, OnGpu, on_gpu

CASES = [
    (torch.float32, True, 0.0),
    (torch.float64, True, 0.1),
    (torch.float32, False, 0.1),
    (torch.float64, False, 0.0),
]


@pytest.fixture(autouse=True)
def _gpu() -> Iterator[None]:
    with Gpu():
        yield


def assert_same(ours: dict[str, Tensor], cpu: dict[str, Tensor]) -> None:
    assert ours.keys() == cpu.keys()
    for name, one in ours.items():
        assert one.device == GPU, name
        assert torch.equal(one.cpu(), cpu[name]), name


def tensors(values: dict) -> dict[str, Tensor]:
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}


@pytest.mark.parametrize(("dtype", "first_bias", "smoothing"), CASES)
def test_every_pass_stays_on_its_device(dtype: torch.dtype, first_bias: bool, smoothing: float) -> None:
    found = []
    for device in ("cuda:1", "cpu"):
        p, X, Y = problem(n=9, H=12, first_bias=first_bias, dtype=dtype, device=device)
        values = atomic.forward(p, X, Y, smoothing=smoothing)
        chain = stable.run_chain(p, X, Y, smoothing=smoothing)
        loss, gradients, bnmean, bnvar = fused.training_pass(p, X, Y, smoothing=smoothing)
        found.append(
            {
                **tensors(values),
                **{f"d{name}": gradient for name, gradient in atomic.backward(values).items()},
                **{f"stable {name}": value for name, value in tensors(chain.values).items()},
                **{f"stable d{name}": gradient for name, gradient in chain.gradients.items()},
                **{f"fused d{name}": gradient for name, gradient in gradients.views.items()},
                **{"stable loss": chain.loss, "fused loss": loss, "bnmean": bnmean, "fused bnvar": bnvar},
            }
        )
    assert_same(*found)


class _Alike(Exchange):
    """Ranks that all have the same examples, as if they had exchanged them."""

    def __init__(self, ranks: int) -> None:
        self.rank, self.ranks = 0, ranks

    def gather(self, own: Tensor) -> Tensor:
        return own.new_empty((self.ranks, *own.shape)).copy_(own.expand(self.ranks, *own.shape))

    def spread(self, own: Tensor) -> Tensor:
        return self.gather(own[self.rank])


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_a_share_of_a_batch_stays_on_its_device(ranks: int) -> None:
    """The gradient of a batch that holds the same examples several times is that of the examples."""
    found = []
    for device in ("cuda:1", "cpu"):
        p, X, Y = problem(n=6, H=12, dtype=torch.float64, device=device)
        batch = SharedBatch(_Alike(ranks), 6 * ranks)
        loss, gradients, bnmean, bnvar = fused.training_pass(p, X, Y, batch=batch)
        found.append({**gradients.views, "loss": loss, "bnmean": bnmean, "bnvar": bnvar})
    if ranks < 3:  # from three ranks on, each sums a part of the gradient, which here is not the others'
        assert_same(*found)
        whole = fused.training_pass(p, X.repeat(ranks, 1), Y.repeat(ranks))
        torch.testing.assert_close(found[1]["W1"], whole.gradients.W1, rtol=1e-12, atol=1e-14)
    assert all(one.device == GPU for one in found[0].values())


# --- What the GPU that is not there refuses, as one that is there would ---


def test_mixed_devices_are_refused() -> None:
    here, there = torch.ones(3), on_gpu(torch.ones(3))
    for mixed in (
        lambda: there + here,
        lambda: here.mul(there),
        lambda: there.add_(here),
        lambda: torch.cat((there, here)),
        lambda: there + torch.ones(3, device="cuda"),  # of another index
        lambda: there.index_select(0, torch.tensor([0])),
        lambda: there.scatter_add_(0, torch.tensor([0]), there[:1]),
        lambda: torch.autograd.grad(there.detach().requires_grad_().sum(), here),
    ):
        with pytest.raises(RuntimeError):
            mixed()


def test_what_needs_a_copy_to_the_host_is_refused() -> None:
    there = on_gpu(torch.ones(3))
    with pytest.raises(TypeError, match="can't convert cuda:1 device type tensor to numpy"):
        there.numpy()
    with pytest.raises(RuntimeError, match="generator"):
        torch.rand(3, generator=torch.Generator(), device=there.device)
    assert not isinstance(there.cpu(), OnGpu)
    assert there.cpu().numpy().sum() == 3


def test_results_are_where_pytorch_says() -> None:
    there = on_gpu(torch.ones(3)).requires_grad_()
    results = [there * 2, there[None].T, there.view(3, 1), torch.zeros_like(there), there[there > 0], there.new_ones(2)]
    results += [there.to(torch.float64), there.max(0).values, *there.unbind(), (there * torch.tensor(2.0)).sum()]
    results[-1].backward()
    assert all(one.device == GPU for one in [*results, there.grad])
    assert there.to("cpu").device == torch.device("cpu")
    assert torch.ones(3).to("cuda").device == torch.device("cuda", 0)


@pytest.mark.parametrize("line", ["zeros_like", "addmm", "addcmul"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_wrong_device_in_the_pass_is_found(line: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line of the pass makes its result on the CPU, or on a device without an index."""
    right = getattr(torch, line)
    monkeypatch.setattr(fused.torch, line, lambda *given, **more: right(*given, **more).to(device))
    p, X, Y = problem(n=9, H=12, device="cuda:1")
    with pytest.raises(RuntimeError):
        fused.training_pass(p, X, Y)
