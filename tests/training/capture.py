"""What a CUDA graph's capture forbids, and a stand-in for the graph on the CPU.

A capture notes each operation with its numbers and its tensors' addresses. A replay runs these again, whatever Python's
variables hold by then. The same is done here to the operations that reach PyTorch's dispatcher.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

# They wait for the GPU, or copy between it and the host. On the CPU they do neither, so they are known by name.
WAITING = {"item", "tolist", "numpy", "cpu", "cuda", "nonzero", "__array__", "__bool__", "__float__", "__int__"}
WAITING |= {"__index__", "__contains__", "__len__.tensor", "pin_memory"}
FROM_HOST = {"torch.tensor", "torch.as_tensor", "torch.asarray", "torch.from_numpy"}
FORBIDDEN_TAGS = {
    torch.Tag.data_dependent_output: "reads a value",
    torch.Tag.nondeterministic_seeded: "draws random numbers",
}


class CaptureError(Exception):
    """A step does what a capture forbids."""


@dataclass
class Operation:
    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: list[Tensor]
    makes: list[bool]  # for each result, whether its memory is new


class _Names(TorchFunctionMode):
    """Sees calls that never reach the dispatcher."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = resolve_name(func) or ""
        if name in FROM_HOST or (name.startswith("torch.Tensor.") and name.removeprefix("torch.Tensor.") in WAITING):
            raise CaptureError(f"{name} copies between host and device, or waits")
        return func(*args, **(kwargs or {}))


class Capture(TorchDispatchMode):
    """Runs operations and notes them. Raises CaptureError for those that a capture forbids."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self._names = _Names()

    def __enter__(self) -> Capture:
        self._names.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._names.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE) is not None:  # see fake_gpu.py
            return func(*args, **kwargs)
        given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        for tag, does in FORBIDDEN_TAGS.items():
            if tag in func.tags:
                raise CaptureError(f"{func} {does}")
        masks = any(one.dtype in (torch.bool, torch.uint8) for one in given)
        if torch.Tag.dynamic_output_shape in func.tags and (func.overloadpacket is not torch.ops.aten.index or masks):
            raise CaptureError(f"{func} allocates as much as the data say")
        if len({getattr(one, "gpu", one.device) for one in given}) > 1:  # a number on the CPU is read only once
            raise CaptureError(f"{func} mixes devices")
        result = func(*args, **kwargs)
        results = [one for one in tree_leaves(result) if isinstance(one, Tensor)]
        before = {_storage(one) for one in given}
        makes = [_storage(one) not in before for one in results]
        self.operations.append(Operation(func, args, kwargs, results, makes))
        return result

    def described(self) -> list[Any]:
        """All that a capture would keep: operations, numbers, the sizes and places of tensors."""
        made: dict[int, int] = {}  # number of the tensor that took the memory, of those that the step made

        def place(tensor: Tensor) -> Any:
            where = made.get(_storage(tensor), ("outside", _storage(tensor)))
            return where, tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), tensor.dtype

        described = []
        for number, one in enumerate(self.operations):
            for result, new in zip(one.results, one.makes, strict=True):
                if new:
                    made[_storage(result)] = number
            described.append(tree_map_only(Tensor, place, (str(one.function), one.args, one.kwargs, one.results)))
        return described


def record(work: Callable[[], Tensor], device: torch.device) -> tuple[Callable[[], None], Tensor]:
    """`cuda_graph.record` for the CPU. Unlike on CUDA, recording also does the work."""
    work()
    with Capture() as capture:
        result = work()

    def replay() -> None:
        with torch._C.DisableTorchFunctionSubclass():
            for one in capture.operations:
                again = tree_leaves(one.function(*one.args, **one.kwargs))
                for old, new, makes in zip(one.results, again, one.makes, strict=True):
                    if makes:
                        old.copy_(new)

    return replay, result


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
