"""Two gradients agree if their shapes are equal and their largest difference is within tolerance · scale.

`torch.allclose` would be the wrong test: entry by entry, it rejects right code whose entries nearly cancel, and its
absolute tolerance accepts wrong code where all gradients are small.

The scale is the gradient's largest entry, or the effect of rounding on it if that is larger (`rounding.py`). If the
parameters are in float32, the comparison in float64 decides, and float32 may be off by ROUNDING of the scale
(`judge.py`, `Finding.close`). A less precise witness, such as central differences, widens the tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

# Right code stays below half of it, as `makemore gradcheck --trials` measures.
TOLERANCE = {torch.float32: 3e-6, torch.float64: 1e-12}
# For users' chains, since library functions are approximations: PyTorch's softplus, for example, is the identity above
# 20, which is a relative error of 1e-10.
CHAIN_TOLERANCE = {torch.float32: 3e-6, torch.float64: 1e-9}
# The fraction of the scale by which float32 may differ if float64 agrees. A larger difference is not rounding.
ROUNDING = 1e-2


@dataclass(frozen=True)
class Comparison:
    """One tensor's gradient, compared with the witness's."""

    tensor: str
    shape: tuple[int, ...]
    exact: bool  # bitwise
    close: bool  # |difference| ≤ tolerance · scale everywhere
    difference: float  # the largest
    scale: float
    ulps: float | None  # median distance in units in our last place; None if the true gradient is zero
    worst: tuple[int, ...]  # the index of the largest difference
    ours: float  # at `worst`
    theirs: float
    fault: str | None = None  # why they can't be compared

    @property
    def relative(self) -> float:
        """The largest difference over the scale."""
        if self.difference == 0:
            return 0.0
        return self.difference / self.scale if self.scale else float("inf")

    def __str__(self) -> str:
        if self.fault:
            return f"{self.tensor}: {self.fault}"
        at = f"[{', '.join(map(str, self.worst))}]"
        return (
            f"{self.tensor} {self.shape}: largest difference {self.difference:.1e} ({self.relative:.1e} of its scale) "
            f"at {at}, {self.ours:.8g} against {self.theirs:.8g}"
        )


def compare(
    tensor: str, ours: object, theirs: Tensor, scale: float, tolerance: float, known: Tensor | None = None
) -> Comparison:
    """Compare one gradient with a witness's, in all entries or in those that are `known`.

    A gradient that is missing, of another shape, or not finite where the witness's is, is never close.
    """
    fault = _fault(ours, theirs)
    if fault or not isinstance(ours, Tensor):
        return replace(impossible(tensor, theirs, fault or ""), scale=scale)
    ours = ours.detach()
    known = torch.ones_like(theirs, dtype=torch.bool) if known is None else known
    same = (ours.double() == theirs.double()) | (ours.isnan() & theirs.isnan())  # equal infinities do not differ
    difference = (ours.double() - theirs.double()).abs().nan_to_num(nan=torch.inf)
    difference = torch.where(known & ~same, difference, 0.0)
    at = int(difference.argmax())
    worst = float(difference.flatten()[at])
    return Comparison(
        tensor,
        tuple(theirs.shape),
        exact=ours.dtype == theirs.dtype and bool(same.all()),
        close=worst <= tolerance * scale,
        difference=worst,
        scale=scale,
        ulps=_ulps(ours[known], theirs[known], scale),
        worst=tuple(int(i) for i in np.unravel_index(at, theirs.shape)),
        ours=float(ours.flatten()[at]),
        theirs=float(theirs.flatten()[at]),
    )


def impossible(tensor: str, theirs: Tensor, fault: str) -> Comparison:
    """The comparison of a gradient that can't be compared; `fault` says why."""
    nan = float("nan")
    scale = largest(theirs.abs())
    return Comparison(tensor, tuple(theirs.shape), False, False, float("inf"), scale, None, (), nan, nan, fault)


def _fault(ours: object, theirs: Tensor) -> str | None:
    if ours is None:
        return "there is no gradient"
    if not isinstance(ours, Tensor):
        return f"the gradient is not a tensor but of type {type(ours).__name__}"
    if ours.device != theirs.device:
        return f"the gradient is on {ours.device}, not on {theirs.device}"
    if ours.layout != torch.strided:
        return "the gradient is sparse, not dense"
    if not ours.is_floating_point():
        return f"the gradient is of type {str(ours.dtype).removeprefix('torch.')}, not floating-point"
    if ours.shape != theirs.shape:  # (64,) and (1, 64) would broadcast, and hide the mistake
        return f"the gradient's shape is {tuple(ours.shape)}, not {tuple(theirs.shape)}"
    return None


def is_plain(gradient: object, device: torch.device) -> bool:
    """Whether a gradient is a dense floating-point tensor on the device, of any shape."""
    return (
        isinstance(gradient, Tensor)
        and gradient.device == device
        and gradient.layout == torch.strided
        and gradient.is_floating_point()
    )


def _ulps(ours: Tensor, theirs: Tensor, scale: float) -> float | None:
    """Median distance in units in the last place of `ours`; None if there is only rounding to compare."""
    truth = theirs.to(ours.dtype).abs()
    if truth.numel() == 0 or not truth.isfinite().all() or float(truth.max()) <= 1e-3 * scale:
        return None
    unit = torch.nextafter(truth, torch.full_like(truth, torch.inf)) - truth
    return float(((ours.double() - theirs.double()).abs() / unit.double()).median())


def largest(values: Tensor) -> float:
    """The largest finite number of `values`, none of which is negative; 0 if there is none."""
    return float(values.nan_to_num(nan=0.0, posinf=0.0).max()) if values.numel() else 0.0
