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


# Finding bugs.


def bias(draw: random.Random) -> tuple[Any, Any, Any]:
    tensors = Tensors(draw, 3)
    n, D, H = tensors.sizes
    return tensors.normal(n, D), tensors.normal(D, H), tensors.normal(n, H)


def saturated(draw: random.Random) -> tuple[Any, Any, Any, Any]:
    tensors = Tensors(draw, 3)
    n, H, V = tensors.sizes
    hpreact = 2 * tensors.normal(n, H)
    return hpreact, hpreact.tanh(), tensors.normal(H, V), tensors.normal(n, V)


def softmax(draw: random.Random) -> tuple[Any, Any, Any, Any]:
    tensors = Tensors(draw, 2)
    n, V = tensors.sizes
    counts = tensors.normal(n, V).exp()
    counts_sum = counts.sum(1, keepdim=True)
    return counts, counts_sum, 1 / counts_sum, tensors.normal(n, V)


def variance(draw: random.Random) -> tuple[Any, ...]:
    tensors = Tensors(draw, 2)
    n, H = tensors.sizes
    x = tensors.normal(n, H)
    bndiff = x - x.mean(0, keepdim=True)
    bnvar = x.var(0, keepdim=True)
    return n, bndiff, bnvar, (bnvar + 1e-5) ** -0.5, tensors.normal(n, H)


def centred(draw: random.Random) -> tuple[Any, Any]:
    tensors = Tensors(draw, 2)
    n, H = tensors.sizes
    return n, tensors.normal(n, H)


def last_layer(draw: random.Random) -> tuple[Any, ...]:
    tensors = Tensors(draw, 3)
    n, H, V = tensors.sizes
    h, W2 = tensors.normal(n, H), tensors.normal(H, V)
    return h, W2, h @ W2, tensors.below(V, n), 0.1


def repeated(draw: random.Random) -> tuple[Any, Any, Any]:
    """Each row of X has a character twice."""
    tensors = Tensors(draw, 3)
    V, E, n = tensors.sizes
    X = tensors.below(V, n, 4)
    X[:, 3] = X[:, 0]
    return tensors.normal(V, E), X, tensors.normal(n, 4 * E)


def normalised(draw: random.Random) -> tuple[Any, ...]:
    tensors = Tensors(draw, 2)
    n, H = tensors.sizes
    x = tensors.normal(n, H)
    return n, x, x.mean(0, keepdim=True), x.var(0, keepdim=True), tensors.normal(n, H)


# Mending checks.


class Pass:
    """A backward pass that is to be checked."""

    def __init__(self, about: str, is_right: bool, function: Callable[[Any, Any], Any]) -> None:
        self.about, self.is_right, self.function = about, is_right, function

    def __call__(self, x: Any, dy: Any) -> Any:
        return self.function(x, dy)


def is_fair(result: Any, forward: Any, backward: Pass, *rest: Any) -> dict[str, list[str]]:
    """What is wrong with the result of a check."""
    if not isinstance(result, bool):
        return {"it returns neither True nor False": [type(result).__name__]}
    return {
        "it accepts a wrong pass": [backward.about] if result and not backward.is_right else [],
        "it refuses a right pass": [backward.about] if not result and backward.is_right else [],
    }


def centring(draw: random.Random) -> tuple[Any, Any, Any]:
    tensors = Tensors(draw, 2)

    def minus_mean(t: Any) -> Any:
        return t - t.mean(1, keepdim=True)

    right = Pass("centring", True, lambda x, dy: minus_mean(dy))
    wrong = [
        Pass("centring with the wrong sign", False, lambda x, dy: -minus_mean(dy)),
        Pass("centring, twice as large", False, lambda x, dy: 2 * minus_mean(dy)),
        Pass("centring, multiplied by x and centred again", False, lambda x, dy: minus_mean(minus_mean(dy) * x)),
    ]
    return minus_mean, draw.choice([right, *wrong]), tensors.normal(*tensors.sizes)


def single_precision(draw: random.Random) -> tuple[Any, Any, Any]:
    tensors = Tensors(draw, 2)

    def forward(x: Any) -> Any:
        return (100 + x).log()

    right = Pass("log(100 + x)", True, lambda x, dy: dy / (100 + x))
    wrong = [
        Pass("log(100 + x) with the wrong sign", False, lambda x, dy: -dy / (100 + x)),
        Pass("log(100 + x), 10 % too large", False, lambda x, dy: 1.1 * dy / (100 + x)),
        Pass("log(100 + x) without its derivative", False, lambda x, dy: dy),
    ]
    return forward, draw.choice([right, *wrong]), tensors.normal(*tensors.sizes).float()


def broadcasting(draw: random.Random) -> tuple[Any, Any, Any]:
    tensors = Tensors(draw, 2)
    n, H = tensors.sizes
    other = tensors.normal(n, H)

    def forward(x: Any) -> Any:
        return other * x

    right = Pass("a product with broadcast", True, lambda x, dy: (other * dy).sum(0, keepdim=True))
    wrong = [
        Pass("a product with broadcast, without keepdim", False, lambda x, dy: (other * dy).sum(0)),
        Pass("a product with broadcast, averaged", False, lambda x, dy: (other * dy).mean(0, keepdim=True)),
    ]
    return forward, draw.choice([right, *wrong]), tensors.normal(1, H)


def special_points(draw: random.Random) -> tuple[Any, Any, Any]:
    tensors = Tensors(draw, 2)
    functions: Mapping[str, tuple[Any, list[Pass]]] = {
        "tanh": (
            lambda x: x.tanh(),
            [
                Pass("tanh", True, lambda x, dy: (1 - x.tanh() ** 2) * dy),
                Pass("tanh without its derivative", False, lambda x, dy: dy),
                Pass("tanh with 1 - x²", False, lambda x, dy: (1 - x**2) * dy),
            ],
        ),
        "power": (
            lambda x: x**3,
            [
                Pass("x³", True, lambda x, dy: 3 * x**2 * dy),
                Pass("x³ with 3x", False, lambda x, dy: 3 * x * dy),
                Pass("x³ with 3x³", False, lambda x, dy: 3 * x**3 * dy),
            ],
        ),
    }
    forward, passes = functions[draw.choice(list(functions))]
    return forward, draw.choice(passes), tuple(tensors.sizes)


# Training.

CONTEXT, EMBEDDING, HIDDEN, STEPS, BATCH, RATE = 3, 10, 64, 2000, 32, 0.1


def _names() -> Any:
    """The bundled names, split as for training."""
    from makemore_cli.config.schema import DataConfig
    from makemore_cli.names.dataset import load

    return load(DataConfig(path="bundled"), CONTEXT)


def _network(draw: random.Random) -> tuple[dict[str, Any], Any, Any]:
    """Initial parameters in float64, and the batches."""
    import torch

    from makemore_cli.network.model import Sizes
    from makemore_cli.network.parameters import initialise

    data = _names()
    parameters, generator = initialise(Sizes(len(data.vocabulary), CONTEXT, EMBEDDING, HIDDEN), draw.randrange(2**31))
    index = torch.randint(0, len(data.train), (STEPS, BATCH), generator=generator)
    X, Y = (torch.from_numpy(tokens.astype("int64")) for tokens in data.train.examples(index.numpy()))
    return {name: view.double() for name, view in parameters.views.items()}, X, Y


def training(draw: random.Random) -> tuple[Any, ...]:
    return (*_network(draw), RATE)


def training_loss(result: Any, p: dict[str, Any], X: Any, Y: Any, lr: float) -> float:
    """The loss of the trained network on all of its batches, in nats per character."""
    import torch
    from torch.nn import functional as F

    X, Y = X.flatten(0, 1), Y.flatten()
    with torch.no_grad():
        hprebn = p["C"][X].flatten(1) @ p["W1"] + p["b1"]
        bnraw = (hprebn - hprebn.mean(0)) / (hprebn.var(0) + 1e-5).sqrt()
        logits = torch.tanh(p["bngain"] * bnraw + p["bnbias"]) @ p["W2"] + p["b2"]
        return float(F.cross_entropy(logits, Y))


def trained(draw: random.Random) -> tuple[Any, ...]:
    """A network after some steps of training, its batchnorm statistics, its characters, and some contexts."""
    from makemore_cli.backprop.fused import training_pass
    from makemore_cli.network.model import Sizes
    from makemore_cli.network.parameters import Parameters

    p, X, Y = _network(draw)
    sizes = Sizes(len(p["b2"]), CONTEXT, EMBEDDING, HIDDEN)
    parameters = Parameters.pack(sizes, {name: tensor.float() for name, tensor in p.items()})
    for x, y in zip(X, Y, strict=True):
        parameters.flat -= RATE * training_pass(parameters, x, y).gradients.flat
    found = {name: view.double() for name, view in parameters.views.items()}
    hprebn = found["C"][X.flatten(0, 1)].flatten(1) @ found["W1"] + found["b1"]
    contexts = [X[draw.randrange(STEPS), draw.randrange(BATCH)].tolist() for _ in range(20)]
    statistics = hprebn.mean(0, keepdim=True), hprebn.var(0, keepdim=True)
    return found, *statistics, _names().vocabulary.letters, contexts
