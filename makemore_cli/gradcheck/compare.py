"""When are two gradients the same? Equal shapes, and a largest difference within tolerance · scale.

`torch.allclose` would be the wrong judge: entry by entry it refuses right code whose entries cancel to nearly nothing,
and with its absolute tolerance it lets wrong code pass where all gradients are small.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

# Right code stays below a third of it; the smallest real mistake known (an epsilon forgotten) is three times as large.
TOLERANCE = {torch.float32: 3e-6, torch.float64: 1e-12}


@dataclass(frozen=True)
class Comparison:
    """One tensor's gradient, ours against the witness's."""

    tensor: str
    shape: tuple[int, ...]
    exact: bool  # bitwise
    close: bool  # |difference| ≤ tolerance · scale everywhere
    difference: float  # the largest
    scale: float
    worst: tuple[int, ...]  # where the largest is
    ours: float  # there
    theirs: float
    fault: str | None = None  # why they can't be compared at all

    def __str__(self) -> str:
        """What there is to say of it, in one line."""
        if self.fault:
            return f"{self.tensor}: {self.fault}"
        at = f"[{', '.join(map(str, self.worst))}]"
        return (
            f"{self.tensor} {self.shape}: largest difference {self.difference:.1e} at {at}, "
            f"{self.ours:.8g} by hand against {self.theirs:.8g}"
        )


def compare(tensor: str, ours: Tensor | None, theirs: Tensor, scale: float) -> Comparison:
    """Hold one gradient against a witness's. A gradient that is missing or has another shape is never close."""
    shape = tuple(theirs.shape)
    fault = None
    if ours is None:
        fault = "there is no gradient"
    elif ours.shape != theirs.shape:  # (64,) against (1, 64) would broadcast, and hide it
        fault = f"the gradient's shape is {tuple(ours.shape)}, not {shape}"
    elif ours.dtype != theirs.dtype:
        fault = f"the gradient's type is {ours.dtype}, not {theirs.dtype}"
    if ours is None or fault:
        return Comparison(tensor, shape, False, False, float("inf"), scale, (), float("nan"), float("nan"), fault)
    difference = (ours - theirs).abs()
    at = int(difference.nan_to_num(nan=torch.inf).argmax())
    largest = float(difference.flatten()[at])
    return Comparison(
        tensor,
        shape,
        exact=torch.equal(ours, theirs),
        close=largest <= TOLERANCE[theirs.dtype] * scale,  # not so for NaN
        difference=largest,
        scale=scale,
        worst=tuple(int(i) for i in torch.unravel_index(torch.tensor(at), shape)),
        ours=float(ours.flatten()[at]),
        theirs=float(theirs.flatten()[at]),
    )


def sizes(reference: Mapping[str, Tensor]) -> dict[str, float]:
    """The size of each gradient, given a witness's gradients of the whole chain: its largest entry.

    But for logit_maxes and b1, whose true gradients are zero: the sums of |dnorm_logits| over a row and of |dhprebn|
    over a column, from which they come.
    """
    size = {name: float(gradient.abs().max()) for name, gradient in reference.items()}
    size["logit_maxes"] = float(reference["norm_logits"].abs().sum(1).max())
    if "b1" in size:
        size["b1"] = float(reference["hprebn"].abs().sum(0).max())
    return size
