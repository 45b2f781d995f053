"""Run code that was written for float32 in float64, so that its mistakes can be told from float32's rounding.

A right pass may contain `.float()`, `dtype=torch.float32` or `torch.ones(n, 1)`. In a float64 run, such a constant
would cause an error of 1e-8, or a matrix product of two precisions would raise. So every request for float32 gives
float64 instead. Float16 and bfloat16 stay as they are, since a gradient that is rounded to them is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_DOUBLE: dict[Any, Any] = {
    torch.float32: torch.float64,
    torch.FloatTensor: torch.DoubleTensor,
    "torch.FloatTensor": "torch.DoubleTensor",
    Tensor.float: Tensor.double,
}


_CHANGING = RLock()


class Float64Mode(TorchFunctionMode):
    """Turns every request for float32 into one for float64, and notes whether float32 appeared anyway."""

    def __init__(self) -> None:
        super().__init__()
        self.met_float32 = False  # from NumPy, say: then results are no more precise than float32

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        func = _double(func)
        args = tuple(_double(a) for a in args)
        kwargs = {k: _double(v) for k, v in (kwargs or {}).items()}
        self.met_float32 |= any(_is_float32(a) for a in (*args, *kwargs.values()))
        try:
            return func(*args, **kwargs)
        except RuntimeError:
            if not self.met_float32:
                raise
            return func(*(_widened(a) for a in args), **{k: _widened(v) for k, v in kwargs.items()})


@contextmanager
def in_precision(dtype: torch.dtype) -> Iterator[Float64Mode]:
    """Make `dtype` PyTorch's default; if that is float64, turn requests for float32 into float64.

    The default belongs to the process, so one thread at a time may change it.
    """
    with _CHANGING:
        before, mode = torch.get_default_dtype(), Float64Mode()
        torch.set_default_dtype(dtype)
        try:
            if dtype == torch.float64:
                with mode:
                    yield mode
            else:
                yield mode
        finally:
            torch.set_default_dtype(before)


def _double(value: Any) -> Any:
    try:
        return _DOUBLE.get(value, value)
    except TypeError:  # unhashable
        return value


def _is_float32(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.float32


def _widened(value: Any) -> Any:
    return value.double() if _is_float32(value) else value
