"""A line written out entry by entry: the same code that runs, on matrices of terms instead of numbers.

A `Terms` stands in for a tensor. Each of its entries knows how it came about, so `x @ W` on a 1×3 and a 3×2 matrix
gives y11 = x11·W11 + x12·W21 + x13·W31, and its number as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from makemore_cli.backprop.chain import Chain
from makemore_cli.backprop.step import Line, Values, arguments, run
from makemore_cli.backprop.terms import FUNCTIONS, Term, number, number_term, power_of, product_of, quotient_of, sum_of
from makemore_cli.errors import MakemoreError


class NoEntriesError(MakemoreError):
    """An operation that can't be written out entry by entry."""


class Largest(NamedTuple):
    """What `max` along a dimension returns."""

    values: Terms
    indices: Tensor


class Terms:
    """A tensor of terms, with as much of a tensor's behaviour as lines of a chain need.

    Raises NoEntriesError for an operation that it does not have.
    """

    def __init__(self, entries: NDArray[Any]) -> None:
        self.entries = entries

    @classmethod
    def named(cls, name: str, values: Tensor) -> Terms:
        """A tensor whose entries are called after it: W11, W12, …; a vector's are b1, b2, …, a number's is itself."""
        entries = np.empty(tuple(values.shape), dtype=object)
        for place in np.ndindex(*values.shape):
            label = _label(name, place, values.shape)
            entries[place] = Term("name", (), float(values[place]), label)
        return cls(entries)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", str(func)).strip("_")
        kwargs = kwargs or {}
        if name in ("zeros_like", "ones_like"):
            return Terms(_filled(args[0].entries.shape, float(name == "ones_like")))
        if name in OPERATORS:
            return OPERATORS[name](*(_terms(arg) for arg in args[:2]))
        method = getattr(_terms(args[0]), name, None)
        if method is None or not callable(method):
            raise NoEntriesError(f"{name} is not written out entry by entry")
        return method(*args[1:], **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name in FUNCTIONS:
            function = FUNCTIONS[name]
            return lambda: Terms(_each(function, self.entries))
        raise NoEntriesError(f"{name} is not written out entry by entry")

    def __add__(self, other: Any) -> Terms:
        return _pairwise(lambda a, b: sum_of([a, b]), self, other)

    def __radd__(self, other: Any) -> Terms:
        return _pairwise(lambda a, b: sum_of([a, b]), other, self)

    def __sub__(self, other: Any) -> Terms:
        return _pairwise(lambda a, b: sum_of([a, product_of([number_term(-1), b])]), self, other)

    def __rsub__(self, other: Any) -> Terms:
        return _pairwise(lambda a, b: sum_of([a, product_of([number_term(-1), b])]), other, self)

    def __mul__(self, other: Any) -> Terms:
        return _pairwise(lambda a, b: product_of([a, b]), self, other)

    def __rmul__(self, other: Any) -> Terms:
        return _pairwise(lambda a, b: product_of([a, b]), other, self)

    def __truediv__(self, other: Any) -> Terms:
        return _pairwise(quotient_of, self, other)

    def __rtruediv__(self, other: Any) -> Terms:
        return _pairwise(quotient_of, other, self)

    def __pow__(self, power: float) -> Terms:
        return Terms(_each(lambda term: power_of(term, float(power)), self.entries))

    def __neg__(self) -> Terms:
        return self * -1

    def __matmul__(self, other: Any) -> Terms:
        return _matmul(self, _terms(other))

    def __rmatmul__(self, other: Any) -> Terms:
        return _matmul(_terms(other), self)

    def __gt__(self, other: float) -> Tensor:
        return self.numbers > other

    def __getitem__(self, key: Any) -> Terms:
        return Terms(_array(self.entries[_plain(key)]))

    @property
    def numbers(self) -> Tensor:
        """The values of the entries."""
        return torch.tensor(np.vectorize(lambda term: term.value, otypes=[float])(self.entries))

    @property
    def shape(self) -> torch.Size:
        return torch.Size(self.entries.shape)

    @property
    def T(self) -> Terms:  # noqa: N802 (a tensor's own name)
        return Terms(self.entries.T)

    @property
    def mT(self) -> Terms:  # noqa: N802
        return Terms(np.swapaxes(self.entries, -1, -2))

    def dim(self) -> int:
        return self.entries.ndim

    def numel(self) -> int:
        return self.entries.size

    def sum(self, dim: Any = None, keepdim: bool = False) -> Terms:
        axes = tuple(range(self.entries.ndim)) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
        axes = tuple(axis % max(self.entries.ndim, 1) for axis in axes)
        kept = [axis for axis in range(self.entries.ndim) if axis not in axes]
        moved = self.entries.transpose([*kept, *axes]).reshape(*(self.entries.shape[axis] for axis in kept), -1)
        result = np.empty(moved.shape[:-1], dtype=object)
        for place in np.ndindex(*result.shape):
            result[place] = sum_of(list(moved[place]))
        if keepdim:
            result = result.reshape([1 if axis in axes else size for axis, size in enumerate(self.entries.shape)])
        return Terms(result)

    def mean(self, dim: Any = None, keepdim: bool = False) -> Terms:
        total = self.sum(dim, keepdim)
        return total * (total.numel() / self.numel())

    def max(self, dim: int, keepdim: bool = False) -> Largest:
        indices = self.numbers.max(dim, keepdim=True).indices
        values = self.gather(dim, indices)
        return Largest(values if keepdim else values.squeeze(dim), indices if keepdim else indices.squeeze(dim))

    def argmax(self, dim: int, keepdim: bool = False) -> Tensor:
        return self.numbers.argmax(dim, keepdim=keepdim)

    def softmax(self, dim: int) -> Terms:
        counts = Terms(_each(FUNCTIONS["exp"], self.entries))
        return counts / counts.sum(dim, keepdim=True)

    def gather(self, dim: int, index: Tensor) -> Terms:
        return Terms(np.take_along_axis(self.entries, index.numpy(), dim))

    def scatter(self, dim: int, index: Tensor, source: Any) -> Terms:
        result = self.entries.copy()
        values = np.broadcast_to(_terms(source).entries, index.shape)
        for place in np.ndindex(*index.shape):
            there = (*place[:dim], int(index[place]), *place[dim + 1 :])
            result[there] = values[place]
        return Terms(result)

    def index_add(self, dim: int, index: Tensor, source: Any) -> Terms:
        result, added = self.entries.copy(), _terms(source).entries
        for at, to in enumerate(index.tolist()):
            here: list[Any] = [slice(None)] * result.ndim
            there: list[Any] = [slice(None)] * result.ndim
            here[dim], there[dim] = to, at
            result[tuple(here)] = _pairwise(
                lambda a, b: sum_of([a, b]), Terms(_array(result[tuple(here)])), Terms(_array(added[tuple(there)]))
            ).entries
        return Terms(result)

    index_add_ = index_add

    def view(self, *shape: Any) -> Terms:
        sizes = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
        return Terms(self.entries.reshape(tuple(sizes)))

    reshape = view

    def reshape_as(self, other: Terms) -> Terms:
        return Terms(self.entries.reshape(other.entries.shape))

    def flatten(self, start: int = 0, end: int = -1) -> Terms:
        end = end % self.entries.ndim
        shape = self.entries.shape
        return Terms(self.entries.reshape(*shape[:start], -1, *shape[end + 1 :]))

    def squeeze(self, dim: int) -> Terms:
        return Terms(np.squeeze(self.entries, dim))

    def unsqueeze(self, dim: int) -> Terms:
        return Terms(np.expand_dims(self.entries, dim))

    def expand(self, *shape: Any) -> Terms:
        sizes = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
        return Terms(np.broadcast_to(self.entries, tuple(sizes)))

    def expand_as(self, other: Terms) -> Terms:
        return Terms(np.broadcast_to(self.entries, other.entries.shape))

    def transpose(self, first: int, second: int) -> Terms:
        return Terms(np.swapaxes(self.entries, first, second))


OPERATORS: dict[str, Callable[[Any, Any], Terms]] = {
    "add": lambda a, b: a + b,
    "radd": lambda a, b: b + a,
    "sub": lambda a, b: a - b,
    "rsub": lambda a, b: b - a,
    "mul": lambda a, b: a * b,
    "rmul": lambda a, b: b * a,
    "div": lambda a, b: a / b,
    "truediv": lambda a, b: a / b,
    "rdiv": lambda a, b: b / a,
    "rtruediv": lambda a, b: b / a,
    "matmul": lambda a, b: a @ b,
    "rmatmul": lambda a, b: b @ a,
}


def write_out(line: Line, names: Mapping[str, Any], result: str) -> list[str]:
    """A line's result entry by entry, as `y11 = x11·W11 + … = 1·2 + … = 6`.

    `names` are the values of what it reads; `result` is the name of what it gives. Raises NoEntriesError if an
    operation can't be written out.
    """
    given = {
        name: Terms.named(name, names[name])
        if isinstance(names[name], Tensor) and names[name].is_floating_point()
        else names[name]
        for name in arguments(line)
    }
    try:
        terms = _terms(run(line, given))
    except (TypeError, AttributeError, RuntimeError, ValueError, IndexError) as error:
        raise NoEntriesError(f"it is not written out entry by entry: {' '.join(str(error).split())}") from None
    lines = []
    for place in np.ndindex(*terms.shape):
        term = terms.entries[place]
        label = _label(result, place, terms.shape)
        steps = [term.text(), term.text(numbers=True), number(term.value)]
        lines.append(f"{label} = {' = '.join(dict.fromkeys(steps))}")
    return lines


def _label(name: str, place: Sequence[int], shape: Sequence[int]) -> str:
    """An entry's name: W12; apart from the tensor's if that ends with a digit: W1_12."""
    apart = "," if any(size > 9 for size in shape) else ""
    at = apart.join(str(number + 1) for number in place)
    return f"{name}_{at}" if at and name[-1].isdigit() else f"{name}{at}"


def arrows(chain: Chain, values: Values) -> list[str]:
    """How many entries of later steps an entry of each tensor goes into directly, as "mu 5", if it is several."""
    counts: dict[str, int] = {}
    for step in chain.steps:
        read = [n for n in arguments(step.forward) if isinstance(values[n], Tensor) and values[n].is_floating_point()]
        given = {n: Terms.named(n, values[n]) if n in read else values[n] for n in arguments(step.forward)}
        try:
            entries = _terms(run(step.forward, given)).entries
        except (MakemoreError, TypeError, AttributeError, RuntimeError, ValueError, IndexError):
            return []
        for name in read:
            first = given[name].entries.flat[0]
            hits = sum(any(part is first for part in _within(term)) for term in entries.flat)
            counts[name] = counts.get(name, 0) + hits
    return [f"{name} {count}" for name, count in counts.items() if count > 1]


def _within(term: Term) -> Iterator[Term]:
    yield term
    for part in term.parts:
        yield from _within(part)


def _terms(value: Any) -> Terms:
    if isinstance(value, Terms):
        return value
    if isinstance(value, Tensor):
        return Terms(_each(number_term, value.double().numpy().astype(object)))
    return Terms(_array(number_term(float(value))))


def _array(value: Any) -> NDArray[Any]:
    if isinstance(value, np.ndarray):
        return value
    result = np.empty((), dtype=object)
    result[()] = value
    return result


def _filled(shape: tuple[int, ...], value: float) -> NDArray[Any]:
    result = np.empty(shape, dtype=object)
    for place in np.ndindex(*shape):
        result[place] = number_term(value)
    return result


def _each(function: Callable[[Any], Term], entries: NDArray[Any]) -> NDArray[Any]:
    result = np.empty(entries.shape, dtype=object)
    for place in np.ndindex(*entries.shape):
        result[place] = function(entries[place])
    return result


def _pairwise(function: Callable[[Term, Term], Term], a: Any, b: Any) -> Terms:
    first, second = np.broadcast_arrays(_terms(a).entries, _terms(b).entries)
    result = np.empty(first.shape, dtype=object)
    for place in np.ndindex(*first.shape):
        result[place] = function(first[place], second[place])
    return Terms(result)


def _matmul(a: Terms, b: Terms) -> Terms:
    if a.dim() == 1 or b.dim() == 1:
        product = _matmul(a if a.dim() > 1 else a.unsqueeze(0), b if b.dim() > 1 else b.unsqueeze(1))
        return product.squeeze(-2 if a.dim() == 1 else -1)
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"{tuple(a.shape)} and {tuple(b.shape)} can't be multiplied")
    return (a.unsqueeze(-1) * b.unsqueeze(-3)).sum(-2)


def _plain(key: Any) -> Any:
    if isinstance(key, tuple):
        return tuple(map(_plain, key))
    return key.numpy() if isinstance(key, Tensor) else key
