"""Random arguments for the functions of the exercises."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def number(draw: random.Random) -> float:
    """A number that is neither 0 nor 1 nor a special value."""
    return draw.choice((-1, 1)) * round(draw.uniform(0.3, 1.8), 3)


def slope(draw: random.Random) -> tuple[Callable[[float], float], float, float]:
    a, b, c = number(draw), number(draw), number(draw)
    return (lambda x: a * x**3 + b * x + math.sin(c * x)), number(draw), draw.choice((0.5, 0.1, 0.01))


def one(draw: random.Random) -> tuple[float]:
    return (number(draw),)


def two(draw: random.Random) -> tuple[float, float]:
    return number(draw), number(draw)


def three(draw: random.Random) -> tuple[float, float, float]:
    return number(draw), number(draw), number(draw)


def five(draw: random.Random) -> tuple[float, ...]:
    return tuple(number(draw) for _ in range(5))


def through_tanh(draw: random.Random) -> tuple[float, float, float]:
    x = number(draw)
    return x, math.tanh(x), number(draw)


def through_exp(draw: random.Random) -> tuple[float, float, float]:
    x = number(draw)
    return x, math.exp(x), number(draw)


def power(draw: random.Random) -> tuple[float, float, float]:
    return abs(number(draw)), draw.choice((2, 3, 0.5, -1, -2, -0.5)), number(draw)


def graph(draw: random.Random) -> tuple[str, dict[str, list[str]]]:
    """A graph in which at least one name is used twice, with names in no special order."""
    names = [f"{letter}{draw.randrange(10, 99)}" for letter in "abcdefgh"]
    draw.shuffle(names)
    inputs: dict[str, list[str]] = {names[0]: [], names[1]: [names[0]], names[2]: [names[0]]}
    for place in range(3, 7):
        inputs[names[place]] = draw.sample(names[:place], draw.choice((1, 2)))
    read = {name for found in inputs.values() for name in found}
    inputs[names[7]] = [name for name in inputs if name not in read]
    shuffled = list(inputs)
    draw.shuffle(shuffled)
    return names[7], {name: inputs[name] for name in shuffled}


def is_topological(order: Any, end: str, inputs: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """What matters of an order: any right one will do."""
    if not isinstance(order, (list, tuple)):
        return {"kind": type(order).__name__}
    places = {name: place for place, name in enumerate(order)}
    return {
        "names that are missing": sorted(inputs.keys() - places.keys()),
        "names that occur several times": sorted({name for name in order if list(order).count(name) > 1}, key=str),
        "names that do not belong there": sorted({str(name) for name in order if name not in inputs}),
        "names that come before one of their inputs": sorted(
            name
            for name in places.keys() & inputs.keys()
            if any(places.get(one, -1) > places[name] for one in inputs[name])
        ),
    }


class Parameter:
    """A number with its gradient."""

    def __init__(self, data: float) -> None:
        self.data, self.grad = data, 7.0  # an old gradient


def descent(draw: random.Random) -> tuple[list[Parameter], Callable[[], None], float, int]:
    parameters = [Parameter(number(draw)) for _ in range(3)]
    steep = [abs(number(draw)) for _ in parameters]
    backward = Backward(parameters, steep)
    return parameters, backward, 0.1, draw.randint(3, 6)


class Backward:
    """Adds the gradients of a bowl. Copied together with its parameters, it belongs to the copies."""

    def __init__(self, parameters: list[Parameter], steep: list[float]) -> None:
        self.parameters, self.steep = parameters, steep

    def __call__(self) -> None:
        for parameter, steep in zip(self.parameters, self.steep, strict=True):
            parameter.grad += 2 * steep * parameter.data


def data_of(result: Any, parameters: list[Parameter], *rest: Any) -> list[float]:
    """Where the parameters end."""
    return [parameter.data for parameter in parameters]


class Tensors:
    """Random float64 tensors of random sizes, all different."""

    def __init__(self, draw: random.Random, sizes: int) -> None:
        import torch

        self.generator = torch.Generator().manual_seed(draw.randrange(2**31))
        self.sizes = draw.sample(range(3, 9), sizes)

    def normal(self, *shape: int) -> Any:
        import torch

        return torch.randn(shape, generator=self.generator, dtype=torch.float64)

    def below(self, limit: int, *shape: int) -> Any:
        import torch

        return torch.randint(0, limit, shape, generator=self.generator)


def gradient_step(draw: random.Random) -> tuple[Any, Any, float]:
    tensors = Tensors(draw, 2)
    D, H = tensors.sizes
    return tensors.normal(D, H), tensors.normal(D, H), round(draw.uniform(0.05, 0.5), 2)


def cross_entropy(draw: random.Random) -> tuple[Any, Any]:
    tensors = Tensors(draw, 2)
    n, V = tensors.sizes
    return tensors.normal(n, V), tensors.below(V, n)


def batchnorm(draw: random.Random) -> tuple[Any, Any, Any, Any]:
    tensors = Tensors(draw, 2)
    n, H = tensors.sizes
    hprebn = tensors.normal(n, H)
    bnvar_inv = (hprebn.var(0, keepdim=True) + 1e-5) ** -0.5
    bnraw = (hprebn - hprebn.mean(0, keepdim=True)) * bnvar_inv
    return 1 + 0.5 * tensors.normal(1, H), bnvar_inv, bnraw, tensors.normal(n, H)


def lookups(draw: random.Random) -> tuple[Any, Any, Any]:
    """One character never occurs, and at least one occurs several times."""
    tensors = Tensors(draw, 3)
    V, E, n = tensors.sizes
    return tensors.normal(V, E), tensors.below(V - 1, n, 3), tensors.normal(n, 3, E)
