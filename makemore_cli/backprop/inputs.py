"""The inputs of a chain: their shapes in symbols, such as "n H", and numbers drawn for them."""

from __future__ import annotations

import ast
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from makemore_cli.errors import MakemoreError

Sizes = Mapping[str, int]
Bounds = int | tuple[int, int]
# All different, so that no transpose fits by chance. None is 2 and no two differ by 1, so that a wrong factor (2, n or
# n − 1) can be identified.
FIRST_SIZES = (4, 6, 8, 10, 12, 14, 16, 18)
SMALLEST_RANDOM_SIZE, LARGEST_RANDOM_SIZE = 2, 9
LARGEST_SIZE = 100_000
ATTEMPTS = 1000  # to draw sizes that fit all shapes
REAL = (0.25, 1.5)  # magnitudes of real numbers: none is near zero, none saturates
POSITIVE = (0.5, 2.0)


DOMAINS = ("positive", "between", "index", "given")  # the functions that declare inputs


class ChainError(MakemoreError):
    """A chain is declared incorrectly, or can't be run. The message says what is wrong and where."""


def dimensions(shape: str) -> list[str]:
    """The dimensions of a shape: `n T·E` has two."""
    return shape.replace("*", "·").split()


def symbols(shape: str) -> list[str]:
    """The sizes that occur in a shape, in order. Raises ChainError for an invalid dimension."""
    return list(dict.fromkeys(name for dimension in dimensions(shape) for name in _names(dimension)))


def measured(shape: str, sizes: Sizes) -> tuple[int, ...]:
    """A shape in numbers."""
    return tuple(_value(dimension, sizes) for dimension in dimensions(shape))


def _names(dimension: str) -> list[str]:
    return [node.id for node in ast.walk(_tree(dimension)) if isinstance(node, ast.Name)]


def _value(dimension: str, sizes: Sizes) -> int:
    return int(eval(_compiled(dimension), {"__builtins__": {}}, dict(sizes)))


@cache
def _compiled(dimension: str) -> Any:
    return compile(_tree(dimension), "<shape>", "eval")


@cache
def _tree(dimension: str) -> ast.Expression:
    try:
        tree = ast.parse(dimension.replace("·", "*"), mode="eval")
    except SyntaxError:
        tree = None
    allowed = (ast.Expression, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Name, ast.Load)
    for node in ast.walk(tree) if tree else [None]:
        if not (isinstance(node, allowed) or (isinstance(node, ast.Constant) and type(node.value) is int)):
            raise ChainError(
                f"{dimension} is not a valid dimension: write sizes and whole numbers with + - · //, without spaces, "
                "as in n T·E or n L-K+1"
            )
    assert tree is not None
    return tree


@dataclass(frozen=True)
class Input:
    """An input of a chain: its shape in symbols, and its domain, which is the real numbers by default."""

    shape: str

    @property
    def sizes(self) -> list[str]:
        """The sizes that must be known to draw it."""
        return symbols(self.shape)

    @property
    def about(self) -> str:
        """Its domain in words."""
        return "real"

    def draw(self, sizes: Sizes, generator: torch.Generator) -> Any:
        """Random numbers from its domain, here away from zero: float64, or int64 for an index."""
        magnitude = _uniform(measured(self.shape, sizes), *REAL, generator)
        return magnitude * (torch.randint(0, 2, magnitude.shape, generator=generator) * 2 - 1)


@dataclass(frozen=True)
class Between(Input):
    """Real numbers between two bounds."""

    low: float
    high: float

    @property
    def about(self) -> str:
        return f"between {self.low:g} and {self.high:g}"

    def draw(self, sizes: Sizes, generator: torch.Generator) -> Tensor:
        margin = 0.05 * (self.high - self.low)
        return _uniform(measured(self.shape, sizes), self.low + margin, self.high - margin, generator)


@dataclass(frozen=True)
class Positive(Input):
    """Real numbers above zero, for a logarithm, a root or a variance."""

    @property
    def about(self) -> str:
        return "positive"

    def draw(self, sizes: Sizes, generator: torch.Generator) -> Tensor:
        return _uniform(measured(self.shape, sizes), *POSITIVE, generator)


@dataclass(frozen=True)
class Index(Input):
    """Whole numbers from 0 to below a size."""

    below: str
    distinct: bool

    @property
    def sizes(self) -> list[str]:
        return list(dict.fromkeys([*symbols(self.shape), *symbols(self.below)]))

    @property
    def about(self) -> str:
        return f"whole numbers below {self.below}"

    def draw(self, sizes: Sizes, generator: torch.Generator) -> Tensor:
        """At least one number occurs twice, unless they must be distinct: a row that is used twice has two gradients.

        Raises ChainError if there are too few numbers for distinct ones.
        """
        shape, below = measured(self.shape, sizes), measured(self.below, sizes)[0]
        count = torch.Size(shape).numel()
        if self.distinct:
            if count > below:
                raise ChainError(f"no {count} distinct whole numbers are below {self.below} = {below}: raise the bound")
            return torch.randperm(below, generator=generator)[:count].view(shape)
        drawn = torch.randint(0, below, shape, generator=generator)
        if count > 1:
            drawn.view(-1)[-1] = drawn.view(-1)[0]
        return drawn


@dataclass(frozen=True)
class Given(Input):
    """A fixed tensor, or a fixed number such as an epsilon."""

    value: Any

    @property
    def about(self) -> str:
        return "fixed" if isinstance(self.value, Tensor) else f"always {self.value}"

    def draw(self, sizes: Sizes, generator: torch.Generator) -> Any:
        return self.value.clone() if isinstance(self.value, Tensor) else self.value


def positive(shape: str) -> Positive:
    """Real numbers above zero."""
    return Positive(shape)


def between(shape: str, low: float, high: float) -> Between:
    """Real numbers between two bounds. Raises ChainError if `low` is not below `high`."""
    if not low < high:
        raise ChainError(f"between({shape!r}, {low:g}, {high:g}): the first bound must be below the second")
    return Between(shape, float(low), float(high))


def index(shape: str, below: str | int, *, distinct: bool = False) -> Index:
    """Whole numbers from 0 up to, but not including, a size, such as tokens. With `distinct`, no two are equal."""
    return Index(shape, str(below), distinct)


def given(value: Any, shape: str | None = None) -> Given:
    """A fixed tensor or number. A tensor determines the sizes that its shape names.

    Raises ChainError if the shape and the tensor differ in the number of dimensions.
    """
    if not isinstance(value, Tensor):
        return Given("", value)
    shape = " ".join(map(str, value.shape)) if shape is None else shape
    if len(dimensions(shape)) != value.dim():
        raise ChainError(f"given: {tuple(value.shape)} does not fit {_shown(shape)}: the number of dimensions differs")
    return Given(shape, value.detach())


def as_input(value: object) -> Input:
    """Convert what may be declared as an input: a shape for real numbers, a tensor, a number, or an `Input`."""
    if isinstance(value, Input):
        return value
    return Input(value) if isinstance(value, str) else given(value)


def draw_sizes(inputs: Mapping[str, Input], shapes: Iterable[str], bounds: Mapping[str, Bounds], seed: int) -> Sizes:
    """A size for each symbol, such that no dimension of `shapes` is below 1.

    Seed 0 prefers `FIRST_SIZES`; other seeds draw random ones. `bounds` fixes a size, or gives the smallest and largest
    value that is drawn for it. Given tensors fix their own sizes. Raises ChainError if no sizes fit.
    """
    fixed: dict[str, int] = {name: bound for name, bound in bounds.items() if isinstance(bound, int)}
    for name, one in inputs.items():
        if isinstance(one, Given) and isinstance(one.value, Tensor):
            for dimension, length in zip(dimensions(one.shape), one.value.shape, strict=True):
                if dimension.isidentifier() and fixed.setdefault(dimension, length) != length:
                    raise ChainError(
                        f"{name} has the shape {tuple(one.value.shape)}, but {dimension} is {fixed[dimension]}"
                    )
    shapes = list(shapes)
    named = [name for one in inputs.values() for name in one.sizes]
    named = list(dict.fromkeys([*named, *(name for shape in shapes for name in symbols(shape))]))
    free = [name for name in named if name not in fixed]
    draw = random.Random(seed)
    for attempt in range(ATTEMPTS):
        sizes = dict(fixed)
        for place, name in enumerate(free):
            low, high = _range(bounds.get(name))
            choice = list(range(low, high + 1))
            if seed == 0 and attempt == 0:
                first = [*FIRST_SIZES[place:], *FIRST_SIZES[:place]]
                choice = [size for size in first if name not in bounds or low <= size <= high] + choice
            else:
                draw.shuffle(choice)
            taken = sizes.values()
            sizes[name] = next((size for size in choice if size not in taken), choice[0])
        if all(length >= 1 for shape in shapes for length in measured(shape, sizes)):
            return sizes
    raise ChainError(
        f"no sizes fit the shapes {', '.join(_shown(shape) for shape in shapes)}: fix some with sizes={{…}}"
    )


def _range(bound: Bounds | None) -> tuple[int, int]:
    return bound if isinstance(bound, tuple) else (SMALLEST_RANDOM_SIZE, LARGEST_RANDOM_SIZE)


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)


def _shown(shape: str) -> str:
    return " × ".join(dimensions(shape)) or "number"
