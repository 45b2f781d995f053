"""Neurons of scalar values, in layers.

The defaults are micrograd's: ReLU in the hidden layers, a linear output, biases of zero. So code written for micrograd
gets the same numbers from the same random seed. The lecture's network has tanh in every layer, including the last, and
random biases: `MLP(3, [4, 4, 1], activation="tanh", output="tanh", random_bias=True)`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

from makemore_cli.errors import ParameterError
from makemore_cli.scalar.engine import Value

ACTIVATIONS: dict[str, Callable[[Value], Value]] = {
    "relu": Value.relu,
    "tanh": Value.tanh,
    "sigmoid": Value.sigmoid,
    "linear": lambda value: value,
}
NAMES = {"relu": "ReLU", "tanh": "Tanh", "sigmoid": "Sigmoid", "linear": "Linear"}


class Module:
    """A part of a network, with parameters."""

    def zero_grad(self) -> None:
        """Set the gradients of all parameters to zero."""
        for parameter in self.parameters():
            parameter.grad = 0.0

    def parameters(self) -> list[Value]:
        return []


class Neuron(Module):
    """A weighted sum of `nin` numbers and a bias, through an activation function.

    `draw` draws the weights from −1 to 1, and the bias too if `random_bias` is true. If `nonlin` is false, the
    neuron is linear whatever the activation. Raises ParameterError for an unknown activation.
    """

    def __init__(
        self,
        nin: int,
        nonlin: bool = True,
        activation: str = "relu",
        random_bias: bool = False,
        draw: Callable[[float, float], float] = random.uniform,
    ) -> None:
        if activation not in ACTIVATIONS:
            raise ParameterError("activation", f"must be one of {', '.join(ACTIVATIONS)}, got {activation}")
        self.w = [Value(draw(-1, 1)) for _ in range(nin)]
        self.b = Value(draw(-1, 1) if random_bias else 0.0)
        self._activation = activation
        self.nonlin = nonlin and activation != "linear"

    @property
    def activation(self) -> str:
        """The activation that is applied: linear if `nonlin` is false."""
        return self._activation if self.nonlin else "linear"

    def __call__(self, x: Iterable[Value | float]) -> Value:
        """Raises ParameterError if `x` does not have one number for each weight."""
        x = list(x)
        if len(x) != len(self.w):
            raise ParameterError("x", f"must have {len(self.w)} numbers, one for each weight, got {len(x)}")
        act = sum((wi * xi for wi, xi in zip(self.w, x, strict=True)), self.b)
        return ACTIVATIONS[self.activation](act)

    def parameters(self) -> list[Value]:
        return [*self.w, self.b]

    def __repr__(self) -> str:
        return f"{NAMES[self.activation]}Neuron({len(self.w)})"


class Layer(Module):
    """`nout` neurons side by side, made with the same options."""

    def __init__(self, nin: int, nout: int, **options: Any) -> None:
        self.neurons = [Neuron(nin, **options) for _ in range(nout)]

    def __call__(self, x: Iterable[Value | float]) -> Any:
        """A list of values, or a single value if there is one neuron."""
        x = list(x)
        out = [neuron(x) for neuron in self.neurons]
        return out[0] if len(out) == 1 else out

    def parameters(self) -> list[Value]:
        return [parameter for neuron in self.neurons for parameter in neuron.parameters()]

    def __repr__(self) -> str:
        return f"Layer of [{', '.join(map(str, self.neurons))}]"


class MLP(Module):
    """Layers one after the other: `nin` numbers into the first, `nouts` neurons in each.

    `activation` is that of the hidden layers, `output` that of the last; other options are `Neuron`'s.
    """

    def __init__(
        self, nin: int, nouts: Sequence[int], activation: str = "relu", output: str = "linear", **options: Any
    ) -> None:
        activations = [*[activation] * (len(nouts) - 1), output][: len(nouts)]
        sizes = pairwise([nin, *nouts])
        self.layers = [
            Layer(into, out, activation=one, **options) for (into, out), one in zip(sizes, activations, strict=True)
        ]

    def __call__(self, x: Iterable[Value | float]) -> Any:
        """The output of the last layer: a list of values, or a single value."""
        for layer in self.layers:
            x = layer(x)
            if isinstance(x, Value) and layer is not self.layers[-1]:
                x = [x]
        return x

    def parameters(self) -> list[Value]:
        return [parameter for layer in self.layers for parameter in layer.parameters()]

    def __repr__(self) -> str:
        return f"MLP of [{', '.join(map(str, self.layers))}]"
