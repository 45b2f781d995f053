"""A second GPU that is not there.

Its tensors report `cuda:1`, and their values are on the CPU. For each call of a function, PyTorch's fake tensors find
the devices of the results. They raise if the call mixes devices, as it would on CUDA. Then the same call computes the
values on the CPU. So a program runs to its end, although it waits for values. It also runs through autograd, where fake
tensors alone abort the process if there is no GPU.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch._C import DisableTorchFunctionSubclass
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode

GPU, CPU = torch.device("cuda", 1), torch.device("cpu")
# Fake tensors abort the process in autograd's functions. The others here need no judgement, and are called often.
AUTOGRAD = {"backward", "grad", "register_hook", "requires_grad_", "detach", "retain_grad"}
OF_SHAPE = {"size", "stride", "dim", "numel", "is_contiguous", "is_floating_point", "is_complex", "data_ptr"}
READ = {"item", "tolist", "__bool__", "__float__", "__int__", "__index__", "__len__", "__hash__", "__repr__"}
UNJUDGED = AUTOGRAD | OF_SHAPE | READ | {"__get__"}
CROSSING = {"copy_", "__setitem__"}  # from any device to that of the first argument
# What fake tensors say if they need a GPU.
NO_GPU = ("not linked with support for cuda", "CUDA driver version", "Found no NVIDIA driver")
_JUDGING, _WITHIN = threading.RLock(), threading.local()
_JUDGED: dict[str, list[torch.device] | None] = {}
FAKE = FakeTensorMode()


class OnGpu(Tensor):
    """A tensor on a GPU that is not there."""

    gpu: torch.device  # where it reports to be

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return CPU if getattr(_WITHIN, "computes", False) else self.gpu

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return call(func, args, kwargs or {})


class Gpu(TorchFunctionMode):
    """While this is active in a thread, `cuda` and `cuda:N` exist there."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.device or not any(isinstance(x, OnGpu) or _is_cuda(x) for x in _leaves((args, kwargs))):
            return func(*args, **kwargs)
        return call(func, args, kwargs)


def on_gpu(tensor: Tensor) -> Tensor:
    """A copy on the GPU."""
    with Gpu():
        return tensor.to(GPU)


def call(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a function that reads, or makes, tensors on a GPU."""
    name = func.__name__
    given = [one for one in _leaves((args, kwargs)) if isinstance(one, Tensor)]
    if name in ("numpy", "__array__"):
        raise TypeError(f"can't convert {given[0].device} device type tensor to numpy. Use Tensor.cpu() first")
    if isinstance(kwargs.get("generator"), torch.Generator) and _is_cuda(kwargs.get("device")):
        raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
    devices = None if name in UNJUDGED | CROSSING else _devices(func, args, kwargs)
    with DisableTorchFunctionSubclass():
        if devices is None and name not in CROSSING and len(mixed := {one.device for one in given if one.dim()}) > 1:
            raise RuntimeError(f"{name}: Expected all tensors to be on the same device, but found {mixed}")
        _WITHIN.computes = True  # for hooks, which run meanwhile
        try:
            result = func(*_each(_to_cpu, args), **_each(_to_cpu, kwargs))
        finally:
            _WITHIN.computes = False
    if devices is None and given:
        first = given[0] if name in CROSSING else next(one for one in given if isinstance(one, OnGpu))
        devices = itertools.repeat(first.device)
    where = iter(devices or ())
    return _each(lambda one: _placed(one, next(where), given) if isinstance(one, Tensor) else one, result)


def _devices(func: Any, args: Any, kwargs: Any) -> Iterable[torch.device] | None:
    """The devices of a call's results, according to fake tensors; None if they can't run it.

    Raises RuntimeError if the call mixes devices. Other errors are left to the call itself, which words them as usual.
    """

    def looks(one: Any) -> Any:
        return (one.shape, one.stride(), one.dtype, one.device) if isinstance(one, Tensor) else one

    def fake(one: Any) -> Any:
        if isinstance(one, Tensor):
            with DisableTorchFunctionSubclass():
                shape, stride, dtype, device = looks(one)
            return torch.empty_strided(shape, stride, dtype=dtype, device=device)
        return torch.device("cuda", torch.device(one).index or 0) if _is_cuda(one) else one  # the first, if unsaid

    with DisableTorchFunctionSubclass():
        call = f"{func} {_each(looks, args)} {_each(looks, kwargs)}"
    if call in _JUDGED:
        return _JUDGED[call]
    devices = None
    try:
        with _JUDGING, torch.no_grad(), FAKE:
            results = func(*_each(fake, args), **_each(fake, kwargs))
            devices = [one.device for one in _leaves(results) if isinstance(one, Tensor)]
    except Exception as error:
        if "device" in str(error) and not any(words in str(error) for words in NO_GPU):
            raise
    _JUDGED[call] = devices
    return devices


def _placed(tensor: Tensor, where: torch.device, given: list[Tensor]) -> Tensor:
    """A result as a tensor on its device. A copy if it is still the argument, which is on another one."""
    with DisableTorchFunctionSubclass():
        if any(tensor is one for one in given):
            if tensor.device == where:
                return tensor
            tensor = tensor.clone()
        if where.type == "cuda":
            tensor.__class__ = OnGpu
            tensor.gpu = where
        return tensor


def _is_cuda(one: object) -> bool:
    return (isinstance(one, torch.device) and one.type == "cuda") or (isinstance(one, str) and one.startswith("cuda"))


def _to_cpu(one: Any) -> Any:
    return "cpu" if _is_cuda(one) else one


def _each(change: Callable[[Any], Any], one: Any) -> Any:
    """Change the leaves of what a function takes or returns. PyTorch's own trees take ten times as long."""
    if isinstance(one, tuple | list):
        return type(one)([_each(change, part) for part in one])
    return {key: _each(change, part) for key, part in one.items()} if isinstance(one, dict) else change(one)


def _leaves(one: Any) -> Iterator[Any]:
    if isinstance(one, tuple | list | dict):
        for part in one.values() if isinstance(one, dict) else one:
            yield from _leaves(part)
    else:
        yield one
