"""A line written out entry by entry: the same code that runs, on matrices of terms instead of numbers.

A `Terms` stands in for a tensor. Each of its entries knows how it came about, so `x @ W` on a 1×3 and a 3×2 matrix
gives y11 = x11·W11 + x12·W21 + x13·W31, and its number as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from makemore_cli.backprop.chain import Chain, Line, Values, arguments, run
from makemore_cli.errors import MakemoreError

LARGEST_DENOMINATOR = 12  # of a constant that is shown as a fraction
NOTHING = 1e-12  # is what rounding leaves
SUM, PRODUCT, SIGN, POWER, ATOM = range(5)  # how strongly an operation binds
SUPERSCRIPTS = str.maketrans("0123456789-.", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻·")


class NoEntriesError(MakemoreError):
    """An operation that can't be written out entry by entry."""


@dataclass(frozen=True, eq=False)
class Term:
    """One entry: an operation on other entries, with its value."""

    kind: str  # name, number, +, *, /, ** or a function's name
    parts: tuple[Term, ...]
    value: float
    name: str = ""

    def text(self, numbers: bool = False) -> str:
        """The term with names, or with numbers in their place."""
        return self._written(numbers)[0]

    def _written(self, numbers: bool) -> tuple[str, int]:
        if self.kind == "name":
            text = number(self.value) if numbers else self.name
            return text, SIGN if text.startswith("−") else ATOM
        if self.kind == "number":
            text = constant(self.value)
            return text, PRODUCT if "/" in text else SIGN if text.startswith("−") else ATOM
        if self.kind == "+":
            text = ""
            for part in self.parts:
                sign, rest = (" − ", part._without_minus()) if part._is_negative() else (" + ", part)
                inner = rest._bracketed(numbers, PRODUCT if sign == " − " else SUM)
                inner = f"({inner})" if text and inner.startswith("−") else inner
                text += f"{sign}{inner}" if text else (f"−{inner}" if sign == " − " else inner)
            return text, SUM
        if self.kind == "*":
            if self._is_negative():
                return f"−{self._without_minus()._bracketed(numbers, PRODUCT)}", SIGN
            first, *others = self.parts
            factors = [first._bracketed(numbers, PRODUCT), *(part._bracketed(numbers, POWER) for part in others)]
            return "·".join(factors), PRODUCT
        if self.kind == "/":
            above, below = self.parts
            return f"{above._bracketed(numbers, PRODUCT)}/{below._bracketed(numbers, POWER)}", PRODUCT
        if self.kind == "**":
            base, power = self.parts
            shown = constant(power.value).replace("−", "-")
            raised = shown.translate(SUPERSCRIPTS) if shown.lstrip("-").isdigit() else f"^({constant(power.value)})"
            return f"{base._bracketed(numbers, ATOM)}{raised}", POWER
        return f"{self.kind}({', '.join(part.text(numbers) for part in self.parts)})", ATOM

    def _bracketed(self, numbers: bool, least: int) -> str:
        text, strength = self._written(numbers)
        return text if strength >= least else f"({text})"

    def _is_negative(self) -> bool:
        first = self.parts[0] if self.kind == "*" else self
        return first.kind == "number" and first.value < 0

    def _without_minus(self) -> Term:
        if self.kind == "number":
            return _number(-self.value)
        first = _number(-self.parts[0].value)
        return _product([first, *self.parts[1:]])


def number(value: float) -> str:
    """A number in a calculation, with four digits at most."""
    value = 0.0 if abs(value) < NOTHING else value
    text = f"{value:.4g}" if abs(value) < 1e4 else f"{value:.3e}"
    return text.replace("-", "−")


def constant(value: float) -> str:
    """A constant as people write it: 2, 1/3, 0.05."""
    fraction = Fraction(value).limit_denominator(LARGEST_DENOMINATOR)
    if fraction.denominator > 1 and abs(float(fraction) - value) < 1e-12 and number(value) != f"{value:.2g}":
        return f"{fraction.numerator}/{fraction.denominator}".replace("-", "−")
    return number(value)


def _number(value: float) -> Term:
    return Term("number", (), float(value))


def _sum(parts: Sequence[Term]) -> Term:
    flat = [inner for part in parts for inner in (part.parts if part.kind == "+" else (part,))]
    flat = [part for part in flat if not (part.kind == "number" and part.value == 0)]
    if len(flat) < 2:
        return flat[0] if flat else _number(0)
    return Term("+", tuple(flat), math.fsum(part.value for part in flat))


def _product(parts: Sequence[Term]) -> Term:
    flat = [inner for part in parts for inner in (part.parts if part.kind == "*" else (part,))]
    factor = math.prod(part.value for part in flat if part.kind == "number")
    rest = [part for part in flat if part.kind != "number"]
    if factor == 0 or not rest:
        return _number(factor)
    if factor != 1:
        rest.insert(0, _number(factor))
    return rest[0] if len(rest) == 1 else Term("*", tuple(rest), math.prod(part.value for part in rest))


def _quotient(above: Term, below: Term) -> Term:
    if above.kind == "number" and above.value == 0:
        return above
    if below.kind == "number":
        return _product([_number(1 / below.value), above])
    if above._is_negative():
        return _product([_number(-1), _quotient(above._without_minus(), below)])
    return Term("/", (above, below), above.value / below.value)


def _power(base: Term, power: float) -> Term:
    if power == 1:
        return base
    if base.kind == "number":
        return _number(base.value**power)
    if power == -1:
        return _quotient(_number(1), base)
    return Term("**", (base, _number(power)), base.value**power)


def _function(name: str, function: Callable[[float], float]) -> Callable[[Term], Term]:
    return lambda term: (
        _number(function(term.value)) if term.kind == "number" else Term(name, (term,), function(term.value))
    )


FUNCTIONS = {
    "exp": _function("exp", math.exp),
    "log": _function("log", math.log),
    "tanh": _function("tanh", math.tanh),
    "sigmoid": _function("σ", lambda x: 1 / (1 + math.exp(-x))),
    "sqrt": _function("√", math.sqrt),
    "abs": _function("abs", abs),
    "relu": _function("relu", lambda x: max(x, 0.0)),
}


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
        apart = "," if any(size > 9 for size in values.shape) else ""
        for place in np.ndindex(*values.shape):
            label = name + apart.join(str(at + 1) for at in place)
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
        return _pairwise(lambda a, b: _sum([a, b]), self, other)

    def __radd__(self, other: Any) -> Terms:
        return _pairwise(lambda a, b: _sum([a, b]), other, self)

    def __sub__(self, other: Any) -> Terms:
        return _pairwise(lambda a, b: _sum([a, _product([_number(-1), b])]), self, other)

    def __rsub__(self, other: Any) -> Terms:
        return _pairwise(lambda a, b: _sum([a, _product([_number(-1), b])]), other, self)

    def __mul__(self, other: Any) -> Terms:
        return _pairwise(lambda a, b: _product([a, b]), self, other)

    def __rmul__(self, other: Any) -> Terms:
        return _pairwise(lambda a, b: _product([a, b]), other, self)

    def __truediv__(self, other: Any) -> Terms:
        return _pairwise(_quotient, self, other)

    def __rtruediv__(self, other: Any) -> Terms:
        return _pairwise(_quotient, other, self)

    def __pow__(self, power: float) -> Terms:
        return Terms(_each(lambda term: _power(term, float(power)), self.entries))

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
            result[place] = _sum(list(moved[place]))
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
                lambda a, b: _sum([a, b]), Terms(_array(result[tuple(here)])), Terms(_array(added[tuple(there)]))
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
    apart = "," if any(size > 9 for size in terms.shape) else ""
    for place in np.ndindex(*terms.shape):
        term = terms.entries[place]
        label = result + apart.join(str(at + 1) for at in place)
        steps = [term.text(), term.text(numbers=True), number(term.value)]
        lines.append(f"{label} = {' = '.join(dict.fromkeys(steps))}")
    return lines


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
        return Terms(_each(_number, value.double().numpy().astype(object)))
    return Terms(_array(_number(float(value))))


def _array(value: Any) -> NDArray[Any]:
    if isinstance(value, np.ndarray):
        return value
    result = np.empty((), dtype=object)
    result[()] = value
    return result


def _filled(shape: tuple[int, ...], value: float) -> NDArray[Any]:
    result = np.empty(shape, dtype=object)
    for place in np.ndindex(*shape):
        result[place] = _number(value)
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
