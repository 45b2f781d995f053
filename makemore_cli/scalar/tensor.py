"""Tensors whose entries are scalar objects: a line of PyTorch code runs on them one entry at a time.

A scalar is any object that has arithmetic, the functions below and a number called `data`: a value, which has a
gradient, or a term, which can be written out. An entry that is a plain float is a constant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from makemore_cli.errors import MakemoreError
from makemore_cli.scalar.engine import Value

LARGEST_EXPONENT = 30.0  # above it, softmax subtracts the maximum, lest exp or its square overflow or underflow
Entries = NDArray[Any]  # of scalars and plain numbers


class NotScalarError(MakemoreError):
    """An operation that is not supported on scalars."""


class Largest(NamedTuple):
    """The result of `max` along a dimension."""

    values: ScalarTensor
    indices: Tensor


# Functions, and how they are computed for a scalar that has no method of this name.
FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {
    "exp": lambda x: x.exp(),
    "log": lambda x: x.log(),
    "tanh": lambda x: x.tanh(),
    "sigmoid": lambda x: x.sigmoid(),
    "relu": lambda x: x.relu(),
    "sin": lambda x: x.sin(),
    "cos": lambda x: x.cos(),
    "sqrt": lambda x: x**0.5,
    "rsqrt": lambda x: x**-0.5,
    "square": lambda x: x**2,
    "reciprocal": lambda x: x**-1,
    "neg": lambda x: -x,
    "abs": lambda x: x.relu() + (-x).relu(),
    "softplus": lambda x: (1 + x.exp()).log() if number(x) < 0 else x + (1 + (-x).exp()).log(),
    "silu": lambda x: x * x.sigmoid(),
}


def number(entry: Any) -> float:
    """An entry's number."""
    return entry if isinstance(entry, float) else entry.data


class ScalarTensor:
    """An array of scalars that behaves like a tensor, as far as the lines of a chain need it.

    Raises NotScalarError for an operation that it does not support.
    """

    def __init__(self, entries: Entries) -> None:
        self.entries = entries

    @classmethod
    def of(cls, values: Tensor, make: Callable[[float, tuple[int, ...]], Any]) -> ScalarTensor:
        """One scalar for each entry of a tensor; `make` gets the number and its index."""
        entries = np.empty(tuple(values.shape), dtype=object)
        for place in np.ndindex(*values.shape):
            entries[place] = make(float(values[place]), place)
        return cls(entries)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", str(func)).strip("_")
        kwargs = {key: value for key, value in (kwargs or {}).items() if key[0] != "_" and value is not None}
        if name in ("zeros_like", "ones_like"):
            return ScalarTensor(_array(np.full(args[0].shape, float(name == "ones_like"), dtype=object)))
        if name == "where":
            return as_scalars(args[1])._where(args[0], as_scalars(args[2]))
        if name in ("cat", "stack"):
            return _joined(name, *args, **kwargs)
        if name == "linear":
            return _linear(*args, **kwargs)
        if name in OPERATORS or name in REVERSED:
            if kwargs or len(args) != 2:
                raise NotScalarError(f"{name} with options is not supported on scalars")
            first, second = (as_scalars(argument) for argument in args)
            return OPERATORS[name](first, second) if name in OPERATORS else REVERSED[name](second, first)
        if name not in FUNCTIONS and not hasattr(cls, name):
            raise NotScalarError(f"{name} is not supported on scalars")
        return getattr(as_scalars(args[0]), name)(*args[1:], **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name in FUNCTIONS:

            def function(*options: Any, inplace: bool = False, **more: Any) -> ScalarTensor:
                if options or inplace or more:
                    raise NotScalarError(f"{name} with options is not supported on scalars")
                return ScalarTensor(_each(lambda entry: _applied(name, entry), self.entries))

            return function
        if name in OPERATORS:
            return lambda other: OPERATORS[name](self, as_scalars(other))
        raise NotScalarError(f"{name} is not supported on scalars")

    def __add__(self, other: Any) -> ScalarTensor:
        return ScalarTensor(_array(self.entries + as_scalars(other).entries))

    def __radd__(self, other: Any) -> ScalarTensor:
        return as_scalars(other) + self

    def __sub__(self, other: Any) -> ScalarTensor:
        return ScalarTensor(_array(self.entries - as_scalars(other).entries))

    def __rsub__(self, other: Any) -> ScalarTensor:
        return as_scalars(other) - self

    def __mul__(self, other: Any) -> ScalarTensor:
        return ScalarTensor(_array(self.entries * as_scalars(other).entries))

    def __rmul__(self, other: Any) -> ScalarTensor:
        return as_scalars(other) * self

    def __truediv__(self, other: Any) -> ScalarTensor:
        return ScalarTensor(_array(self.entries / as_scalars(other).entries))

    def __rtruediv__(self, other: Any) -> ScalarTensor:
        return as_scalars(other) / self

    def __pow__(self, other: Any) -> ScalarTensor:
        return ScalarTensor(_array(self.entries ** as_scalars(other).entries))

    def __rpow__(self, other: Any) -> ScalarTensor:
        return as_scalars(other) ** self

    def __neg__(self) -> ScalarTensor:
        return self * -1

    def __matmul__(self, other: Any) -> ScalarTensor:
        return _matmul(self, as_scalars(other))

    def __rmatmul__(self, other: Any) -> ScalarTensor:
        return _matmul(as_scalars(other), self)

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return self.numbers == as_scalars(other).numbers

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return self.numbers != as_scalars(other).numbers

    __hash__ = object.__hash__

    def __gt__(self, other: Any) -> Tensor:
        return self.numbers > as_scalars(other).numbers

    def __lt__(self, other: Any) -> Tensor:
        return self.numbers < as_scalars(other).numbers

    def __ge__(self, other: Any) -> Tensor:
        return self.numbers >= as_scalars(other).numbers

    def __le__(self, other: Any) -> Tensor:
        return self.numbers <= as_scalars(other).numbers

    def __getitem__(self, key: Any) -> ScalarTensor:
        return ScalarTensor(_array(self.entries[_plain(key)]))

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def numbers(self) -> Tensor:
        """The numbers of the entries."""
        return torch.from_numpy(np.asarray(np.vectorize(number, otypes=[float])(self.entries)))

    @property
    def shape(self) -> torch.Size:
        return torch.Size(self.entries.shape)

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64

    @property
    def T(self) -> ScalarTensor:  # noqa: N802 (a tensor's own name)
        return ScalarTensor(self.entries.T)

    @property
    def mT(self) -> ScalarTensor:  # noqa: N802
        return self.transpose(-1, -2)

    def size(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        return self.entries.ndim

    def numel(self) -> int:
        return self.entries.size

    def sum(self, dim: Any = None, keepdim: bool = False) -> ScalarTensor:
        axes = tuple(range(self.dim())) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
        if not axes:
            return self
        total: Any = self.entries.sum(axis=axes, keepdims=keepdim)
        return ScalarTensor(_array(total))

    def mean(self, dim: Any = None, keepdim: bool = False) -> ScalarTensor:
        total = self.sum(dim, keepdim)
        return total * (total.numel() / self.numel())

    def var(self, dim: Any = None, correction: float = 1, keepdim: bool = False, unbiased: bool = True) -> ScalarTensor:
        difference = self - self.mean(dim, keepdim=True)
        total = (difference**2).sum(dim, keepdim)
        return total * (1 / (self.numel() / total.numel() - correction * unbiased))

    def max(self, dim: Any = None, keepdim: bool = False) -> Any:
        if dim is not None and not isinstance(dim, int):
            return self.maximum(dim)
        if dim is None:
            return self.view(-1)[int(self.numbers.argmax())]
        indices = self.numbers.max(dim, keepdim=True).indices
        values = self.gather(dim, indices)
        return Largest(values if keepdim else values.squeeze(dim), indices if keepdim else indices.squeeze(dim))

    def amax(self, dim: int, keepdim: bool = False) -> ScalarTensor:
        """The maximum; if several entries have it, their mean, so that they share the gradient, as in PyTorch."""
        top = (self.numbers == self.numbers.amax(dim, keepdim=True)).double()
        return (self * (top / top.sum(dim, keepdim=True))).sum(dim, keepdim)

    def maximum(self, other: Any) -> ScalarTensor:
        """The larger of two; if they are equal, their mean, so that each gets half of the gradient, as in PyTorch."""
        other = as_scalars(other)
        larger = self._where(self > other, other)
        return larger._where(self != other, (self + other) * 0.5)

    def minimum(self, other: Any) -> ScalarTensor:
        return -((-self).maximum(-as_scalars(other)))

    def argmax(self, dim: int, keepdim: bool = False) -> Tensor:
        return self.numbers.argmax(dim, keepdim=keepdim)

    def clamp(self, min: float | None = None, max: float | None = None) -> ScalarTensor:
        result = self
        if min is not None:
            result = result._where(self.numbers >= min, as_scalars(float(min)))
        if max is not None:
            result = result._where(self.numbers <= max, as_scalars(float(max)))
        return result

    def softmax(self, dim: int) -> ScalarTensor:
        top = self.numbers.amax(dim, keepdim=True)
        counts = (self - top if float(top.abs().max()) > LARGEST_EXPONENT else self).exp()
        result: ScalarTensor = counts / counts.sum(dim, keepdim=True)
        return result

    def log_softmax(self, dim: int) -> ScalarTensor:
        shifted = self - self.numbers.amax(dim, keepdim=True)
        result: ScalarTensor = shifted - shifted.exp().sum(dim, keepdim=True).log()
        return result

    def masked_fill(self, mask: Tensor, value: float) -> ScalarTensor:
        return as_scalars(float(value))._where(mask, self)

    def gather(self, dim: int, index: Tensor) -> ScalarTensor:
        kept = [slice(None) if at == dim % self.dim() else slice(size) for at, size in enumerate(index.shape)]
        return ScalarTensor(np.take_along_axis(self.entries[tuple(kept)], index.numpy(), dim))

    def scatter(self, dim: int, index: Tensor, source: Any) -> ScalarTensor:
        result, dim = self.entries.copy(), dim % self.dim()
        values = np.broadcast_to(as_scalars(source).entries, index.shape)
        for place in np.ndindex(*index.shape):
            there = (*place[:dim], int(index[place]), *place[dim + 1 :])
            result[there] = values[place]
        return ScalarTensor(result)

    def index_add(self, dim: int, index: Tensor, source: Any) -> ScalarTensor:
        result, added = self.entries.copy(), as_scalars(source).entries
        for at, to in enumerate(index.tolist()):
            here: list[Any] = [slice(None)] * result.ndim
            there: list[Any] = [slice(None)] * result.ndim
            here[dim], there[dim] = to, at
            result[tuple(here)] = result[tuple(here)] + added[tuple(there)]
        return ScalarTensor(result)

    index_add_ = index_add

    def view(self, *shape: Any) -> ScalarTensor:
        return ScalarTensor(self.entries.reshape(_sizes(shape)))

    reshape = view

    def reshape_as(self, other: Any) -> ScalarTensor:
        return self.view(tuple(other.shape))

    view_as = reshape_as

    def flatten(self, start: int = 0, end: int = -1) -> ScalarTensor:
        end = end % self.dim()
        return self.view(*self.shape[:start], -1, *self.shape[end + 1 :])

    def unflatten(self, dim: int, sizes: Any) -> ScalarTensor:
        dim = dim % self.dim()
        return self.view(*self.shape[:dim], *sizes, *self.shape[dim + 1 :])

    def contiguous(self) -> ScalarTensor:
        return self

    clone = contiguous

    def squeeze(self, dim: int) -> ScalarTensor:
        return ScalarTensor(np.squeeze(self.entries, dim)) if self.shape[dim] == 1 else self

    def unsqueeze(self, dim: int) -> ScalarTensor:
        return ScalarTensor(np.expand_dims(self.entries, dim))

    def expand(self, *shape: Any) -> ScalarTensor:
        sizes = _sizes(shape)
        places = enumerate(sizes, start=self.dim() - len(sizes))
        return ScalarTensor(np.broadcast_to(self.entries, [self.shape[at] if n == -1 else n for at, n in places]))

    def expand_as(self, other: Any) -> ScalarTensor:
        return self.expand(tuple(other.shape))

    def transpose(self, first: int, second: int) -> ScalarTensor:
        return ScalarTensor(np.swapaxes(self.entries, first, second))

    def t(self) -> ScalarTensor:
        return self.T

    def permute(self, *dims: Any) -> ScalarTensor:
        return ScalarTensor(self.entries.transpose(_sizes(dims)))

    def _where(self, mask: Tensor, other: ScalarTensor) -> ScalarTensor:
        return ScalarTensor(np.where(mask.numpy(), self.entries, other.entries))


OPERATORS: dict[str, Callable[[ScalarTensor, ScalarTensor], Any]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "truediv": lambda a, b: a / b,
    "pow": lambda a, b: a**b,
    "matmul": lambda a, b: a @ b,
    "mm": lambda a, b: a @ b,
    "bmm": lambda a, b: a @ b,
}
REVERSED = {f"r{name}": operator for name, operator in OPERATORS.items()}


def as_scalars(value: Any) -> ScalarTensor:
    """A ScalarTensor unchanged; a tensor or a number as a ScalarTensor of constants."""
    if isinstance(value, ScalarTensor):
        return value
    if isinstance(value, Tensor):
        return ScalarTensor(_array(value.double().numpy().astype(object)))
    if not isinstance(value, int | float):
        raise NotScalarError(f"{type(value).__name__} is neither a tensor nor a number")
    return ScalarTensor(_array(float(value)))


def _joined(name: str, tensors: Any, dim: int = 0) -> ScalarTensor:
    """`torch.cat` or `torch.stack`, by `name`."""
    parts = [as_scalars(tensor).entries for tensor in tensors]
    return ScalarTensor(np.concatenate(parts, dim) if name == "cat" else np.stack(parts, dim))


def _linear(x: Any, weight: Any, bias: Any = None) -> ScalarTensor:
    product = as_scalars(x) @ as_scalars(weight).T
    return product if bias is None else product + as_scalars(bias)


def _applied(name: str, entry: Any) -> Any:
    if isinstance(entry, float):
        return FUNCTIONS[name](Value(entry)).data
    own = getattr(entry, name, None)
    return FUNCTIONS[name](entry) if own is None else own()


def _array(value: Any) -> Entries:
    """An array of objects. NumPy returns a bare object in place of an array without dimensions."""
    if isinstance(value, np.ndarray):
        return value
    result = np.empty((), dtype=object)
    result[()] = value
    return result


def _each(function: Callable[[Any], Any], entries: Entries) -> Entries:
    result = np.empty(entries.shape, dtype=object)
    for place in np.ndindex(*entries.shape):
        result[place] = function(entries[place])
    return result


def _matmul(a: ScalarTensor, b: ScalarTensor) -> ScalarTensor:
    if a.dim() == 1 or b.dim() == 1:
        product = _matmul(a if a.dim() > 1 else a.unsqueeze(0), b if b.dim() > 1 else b.unsqueeze(1))
        product = product.squeeze(-1) if b.dim() == 1 else product
        return product.squeeze(-1 if b.dim() == 1 else -2) if a.dim() == 1 else product
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"shapes {tuple(a.shape)} and {tuple(b.shape)} can't be multiplied")
    return (a.unsqueeze(-1) * b.unsqueeze(-3)).sum(-2)


def _sizes(shape: tuple[Any, ...]) -> tuple[int, ...]:
    """Sizes that were given one by one, or as one tuple."""
    return tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else tuple(shape)


def _plain(key: Any) -> Any:
    if isinstance(key, tuple):
        return tuple(map(_plain, key))
    return key.numpy() if isinstance(key, Tensor) else key
