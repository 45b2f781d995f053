"""The network's parameters, their initialisation, and the forward pass of a trained model.

embedding – linear – batchnorm – tanh – linear, with the lecture's names:

    C (V, E) · W1 (T·E, H) · b1 (H,) · W2 (H, V) · b2 (V,) · bngain (1, H) · bnbias (1, H)

V letters in the vocabulary, T letters of context, E numbers an embedded letter, H hidden units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Inexact, Int
from torch import Tensor

BATCHNORM_EPSILON = 1e-5  # the lecture's, and torch.nn.BatchNorm1d's


@dataclass(frozen=True)
class Sizes:
    """The numbers that give every parameter its shape. All are at least 1."""

    vocabulary: int  # V, the end-of-word sign included
    context: int  # T
    embedding: int  # E
    hidden: int  # H
    first_bias: bool = True  # b1, which batchnorm takes out again

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter, in the order in which they lie on the flat tensor."""
        V, T, E, H = self.vocabulary, self.context, self.embedding, self.hidden
        shapes = {
            "C": (V, E),
            "W1": (T * E, H),
            "b1": (H,),
            "W2": (H, V),
            "b2": (V,),
            "bngain": (1, H),
            "bnbias": (1, H),
        }
        if not self.first_bias:
            del shapes["b1"]
        return shapes

    @property
    def parameters(self) -> int:
        """How many numbers the network learns."""
        return sum(math.prod(shape) for shape in self.shapes().values())


class Parameters:
    """Named views on one flat tensor: an update of `flat` is an update of all of them.

    Gradients are kept in the same class, so `gradients.W1` lies where `parameters.W1` does.
    """

    C: Float[Tensor, "vocabulary embedding"]
    W1: Float[Tensor, "features hidden"]
    b1: Float[Tensor, " hidden"] | None
    W2: Float[Tensor, "hidden vocabulary"]
    b2: Float[Tensor, " vocabulary"]
    bngain: Float[Tensor, "1 hidden"]
    bnbias: Float[Tensor, "1 hidden"]

    def __init__(self, sizes: Sizes, flat: Inexact[Tensor, " parameters"]) -> None:
        """Name the parts of `flat`, real or complex, whose length must be `sizes.parameters`."""
        self.sizes = sizes
        self.flat = flat
        shapes = sizes.shapes()
        parts = torch.split(flat, [math.prod(shape) for shape in shapes.values()])
        self.views = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        self.b1 = None
        for name, view in self.views.items():
            setattr(self, name, view)

    @classmethod
    def pack(cls, sizes: Sizes, named: Mapping[str, Tensor], out: Parameters | None = None) -> Parameters:
        """Copy named tensors onto one flat tensor, that of `out` or a new one.

        What is named beside the parameters is left out. Raises ValueError for a tensor that has another shape than its
        parameter.
        """
        shapes = sizes.shapes()
        for name, shape in shapes.items():
            if named[name].shape != shape:
                raise ValueError(f"{name} has the shape {tuple(named[name].shape)}, not {shape}")
        flat = torch.cat([named[name].reshape(-1) for name in shapes], out=None if out is None else out.flat)
        return cls(sizes, flat) if out is None else out

    def to(self, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Parameters:
        """A copy in another precision or on another device."""
        return Parameters(self.sizes, self.flat.to(device=device, dtype=dtype, copy=True))


def initialise(sizes: Sizes, seed: int) -> tuple[Parameters, torch.Generator]:
    """Draw float32 parameters on the CPU, and hand back the generator, which goes on to draw the batches.

    As in the lecture, one generator draws C, W1, b1, W2 and b2 in this order. Its batchnorm parameters come from the
    global generator, unseeded; here they have a generator of their own (seeded with `seed + 1`), so that a run can
    be repeated and the lecture's stream of numbers is still the lecture's.
    """
    V, T, E, H = sizes.vocabulary, sizes.context, sizes.embedding, sizes.hidden
    g = torch.Generator().manual_seed(seed)
    named = {
        "C": torch.randn((V, E), generator=g),
        # Kaiming initialisation with tanh's gain.
        "W1": torch.randn((T * E, H), generator=g) * (5 / 3) / ((T * E) ** 0.5),
    }
    if sizes.first_bias:
        # Small numbers instead of zeros, which could hide a wrong gradient.
        named["b1"] = torch.randn(H, generator=g) * 0.1
    named["W2"] = torch.randn((H, V), generator=g) * 0.1
    named["b2"] = torch.randn(V, generator=g) * 0.1

    own = torch.Generator().manual_seed(seed + 1)
    named["bngain"] = torch.randn((1, H), generator=own) * 0.1 + 1.0
    named["bnbias"] = torch.randn((1, H), generator=own) * 0.1
    return Parameters.pack(sizes, named), g


@dataclass(frozen=True)
class Model:
    """A trained network: its parameters, and the batchnorm statistics that stand in for a batch's own."""

    parameters: Parameters
    bnmean: Float[Tensor, "1 hidden"]
    bnvar: Float[Tensor, "1 hidden"]  # unbiased (n − 1), in training and here alike
    epsilon: float = BATCHNORM_EPSILON

    def logits(self, X: Int[Tensor, "rows context"]) -> Float[Tensor, "rows vocabulary"]:
        """Scores of the next letter, before softmax, for each row of context."""
        p = self.parameters
        bnraw = (preactivation(p, X) - self.bnmean) * (self.bnvar + self.epsilon) ** -0.5
        return torch.tanh(p.bngain * bnraw + p.bnbias) @ p.W2 + p.b2

    def to(self, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Model:
        """A copy in another precision or on another device."""
        return Model(
            self.parameters.to(dtype=dtype, device=device),
            self.bnmean.to(dtype=dtype, device=device),
            self.bnvar.to(dtype=dtype, device=device),
            self.epsilon,
        )


def preactivation(p: Parameters, X: Int[Tensor, "rows context"]) -> Float[Tensor, "rows hidden"]:
    """`hprebn`, the first linear layer's output, whose statistics batchnorm needs."""
    embcat = p.C[X].flatten(1)
    return embcat @ p.W1 if p.b1 is None else torch.addmm(p.b1, embcat, p.W1)
