"""One batch in one precision, and what every comparison on it needs: witnesses, sizes, and what rounding can do."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from makemore_cli.backprop import atomic as steps
from makemore_cli.gradcheck import sources
from makemore_cli.gradcheck.compare import TOLERANCE, Comparison, compare, sizes
from makemore_cli.gradcheck.following import Following
from makemore_cli.gradcheck.rounding import scales
from makemore_cli.gradcheck.sources import Gradients
from makemore_cli.network.parameters import Parameters


class Problem:
    """A batch X, Y at parameters p."""

    def __init__(
        self,
        p: Parameters,
        X: Tensor,
        Y: Tensor,
        eps: float,
        smoothing: float,
        *,
        measure_rounding: bool = False,
    ) -> None:
        self.p, self.X, self.Y, self.eps, self.smoothing = p, X, Y, eps, smoothing
        self.measure_rounding = measure_rounding
        self.table = steps.steps(p.b1 is not None, smoothing > 0)
        self.order = steps.gradient_names(self.table)
        self.tolerance = TOLERANCE[p.flat.dtype]

    @cached_property
    def autograd(self) -> Gradients:
        """Autograd's gradients of the chain."""
        return sources.autograd(self)

    @cached_property
    def truth(self) -> Gradients:
        """Autograd's gradients, finite even if the chain's probabilities underflow."""
        return sources.finite_autograd(self)

    @cached_property
    def size(self) -> dict[str, float]:
        """The largest entry of each gradient."""
        return sizes(self.truth)

    @cached_property
    def scale(self) -> dict[str, float]:
        """The size of each gradient, or the effect of rounding on it if that is larger."""
        return scales(self, self.truth)

    @cached_property
    def underflows(self) -> bool:
        """Whether the chain's probabilities underflow, so that their logarithm has no gradient."""
        return any(not gradient.isfinite().all() for gradient in self.autograd.values())

    @cached_property
    def values(self) -> steps.Values:
        return steps.forward(self.p, self.X, self.Y, eps=self.eps, smoothing=self.smoothing)

    def values_by(self, table: Sequence[steps.Step]) -> steps.Values:
        """The forward pass by another table, in float64."""
        p = self.p.to(dtype=torch.float64)
        return steps.forward(p, self.X, self.Y, eps=self.eps, smoothing=self.smoothing, table=table)

    @cached_property
    def in_float64(self) -> Problem:
        return self if self.p.flat.dtype == torch.float64 else self.at(self.p.to(dtype=torch.float64))

    @cached_property
    def elsewhere(self) -> Problem:
        """The same batch at other parameters, none of them special: no gain of 1, no zeros, nothing saturated.

        Code that is right at all parameters is right there, and a mistake that these parameters hide shows there.
        """
        return self.at(tame(self.p))

    def at(self, p: Parameters) -> Problem:
        return Problem(p, self.X, self.Y, self.eps, self.smoothing, measure_rounding=self.measure_rounding)

    def compare(
        self, tensor: str, ours: object, theirs: Tensor, tolerance: float, known: Tensor | None = None
    ) -> Comparison:
        """Compare by the gradient's size, and by the effect of rounding, which takes longer, if that is not enough."""
        comparison = compare(tensor, ours, theirs, self.size[tensor], tolerance, known)
        if (comparison.close and not self.measure_rounding) or comparison.fault:
            return comparison
        return compare(tensor, ours, theirs, self.scale[tensor], tolerance, known)

    def judged(self, tensor: str, ours: Tensor, theirs: Tensor, tried: Tensor, by_chain: bool) -> Tensor:
        """The entries that can be judged: not where the witness has nothing finite to say.

        Nor where the chain's gradient is not finite, if `ours` comes by the chain.
        """
        judged = tried & theirs.isfinite()
        if by_chain and ours.shape == theirs.shape:
            judged &= ours.isfinite() | self.autograd[tensor].isfinite()
        return judged

    def follows(
        self, following: Following, tensor: str, ours: Tensor, tolerance: float, *, by_chain: bool = False
    ) -> bool:
        """Whether a gradient follows from the same pass's gradients of what comes after it: its own line is right then.

        It may follow from what they should be: then it was computed before they were spoilt.
        """
        if ours.shape != self.values[tensor].shape:
            return False
        parts = following.parts[tensor]
        scale = max(self.scale[tensor], *(float(part.abs().max()) for part in parts.values()))
        for step in parts:  # what is larger there than it should be is here too, and so is its rounding
            above, true = following.given.get(step), self.truth.get(step)
            if above is not None and true is not None and float(true.abs().max()) > 0:
                scale = max(scale, self.scale[tensor] * float(above.abs().max() / true.abs().max()))
        for expected in (following.expected(tensor), *following.alternatives(tensor)):
            judged = self.judged(tensor, ours, expected, torch.ones_like(expected, dtype=torch.bool), by_chain)
            if compare(tensor, ours, expected, scale, tolerance, judged).close:
                return True
        return False


def tame(p: Parameters, seed: int = 0) -> Parameters:
    """Random parameters of the same sizes and precision: matrices scaled by their fan-in, vectors clear of zero."""
    generator = torch.Generator().manual_seed(seed)
    other = p.to()
    for view in other.views.values():
        draw = torch.randn(view.shape, generator=generator, dtype=torch.float64)
        if view.dim() == 2 and view.shape[0] > 1:
            draw = draw * 1.5 / view.shape[0] ** 0.5
        else:
            draw = draw.sign() * (0.4 + torch.rand(view.shape, generator=generator, dtype=torch.float64))
        view.copy_(draw)
    return other


def inconsistent(values: steps.Values, seed: int = 0) -> steps.Values:
    """Forward values of the same shapes, signs and sizes that no longer follow from each other.

    A line whose mistake can't be seen from any loss, since something cancels on consistent values, shows it there.
    """
    generator = torch.Generator().manual_seed(seed)

    def drawn(value: object) -> object:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        factor = 0.5 + 0.5 * torch.rand(value.shape, generator=generator, dtype=torch.float64)
        return value * factor.to(value)

    return {name: drawn(value) for name, value in values.items()}
