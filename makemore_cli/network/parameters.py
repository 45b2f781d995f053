"""The parameters in training: named views of one flat tensor, and their initialisation."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from makemore_cli.network.model import Array, Sizes


class Parameters:
    """Named views of one flat tensor: an update of `flat` updates all of them.

    Gradients use the same class, so `gradients.W1` has the same place in `flat` as `parameters.W1`.
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
        """Copy named tensors into one flat tensor, that of `out` or a new one.

        Names that are not parameters are ignored. Raises ValueError if a tensor's shape is not its parameter's.
        """
        shapes = sizes.shapes()
        for name, shape in shapes.items():
            if named[name].shape != shape:
                raise ValueError(f"{name} has the shape {tuple(named[name].shape)}, not {shape}")
        flat = torch.cat([named[name].reshape(-1) for name in shapes], out=None if out is None else out.flat)
        return cls(sizes, flat) if out is None else out

    @classmethod
    def from_arrays(cls, sizes: Sizes, arrays: Mapping[str, Array]) -> Parameters:
        """Copy arrays into one new flat tensor."""
        return cls.pack(sizes, {name: torch.from_numpy(array) for name, array in arrays.items()})

    def arrays(self) -> dict[str, Array]:
        """The parameters as arrays. On the CPU, they share the parameters' memory."""
        return {name: view.cpu().numpy() for name, view in self.views.items()}

    def to(self, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Parameters:
        """A copy in another precision or on another device."""
        return Parameters(self.sizes, self.flat.to(device=device, dtype=dtype, copy=True))


def initialise(sizes: Sizes, seed: int) -> tuple[Parameters, torch.Generator]:
    """Draw float32 parameters on the CPU, and return the generator, which then draws the batches.

    As in the lecture, one generator draws C, W1, b1, W2 and b2 in this order. The lecture draws its batchnorm
    parameters from the unseeded global generator. Here they have a generator of their own (seeded with `seed + 1`), so
    that a run is reproducible and the first generator's numbers stay the lecture's.
    """
    V, T, E, H = sizes.vocabulary, sizes.context, sizes.embedding, sizes.hidden
    g = torch.Generator("cpu").manual_seed(seed)

    def normal(*shape: int, generator: torch.Generator = g) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")

    named = {
        "C": normal(V, E),
        # Kaiming initialisation with tanh's gain.
        "W1": normal(T * E, H) * (5 / 3) / ((T * E) ** 0.5),
    }
    if sizes.first_bias:
        # Small numbers instead of zeros, which could hide a wrong gradient.
        named["b1"] = normal(H) * 0.1
    named["W2"] = normal(H, V) * 0.1
    named["b2"] = normal(V) * 0.1

    own = torch.Generator("cpu").manual_seed(seed + 1)
    named["bngain"] = normal(1, H, generator=own) * 0.1 + 1.0
    named["bnbias"] = normal(1, H, generator=own) * 0.1
    return Parameters.pack(sizes, named), g
