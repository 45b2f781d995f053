"""What kind of mistake a wrong gradient looks like, where it has a known form."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

# An explanation must leave less than this share of the error, and of the gradient.
LEFT = 0.01


def diagnose(ours: Tensor, truth: Tensor, n: int, mistakes: Mapping[str, Tensor] | None = None) -> str | None:
    """Say how a wrong gradient is wrong, if that has a known form; n is the batch size.

    `mistakes` says of this very gradient what it would be with a certain mistake, by the mistake's description.
    """
    ours, truth = ours.detach().double(), truth.detach().double()
    if ours.shape != truth.shape:
        return _shape(ours, truth)
    if not ours.isfinite().all():
        return "some of its entries are not finite"
    if not truth.isfinite().all():
        return None
    if not truth.any():
        return "its true value is zero"
    if not ours.any():
        return "it is zero: nothing was added to it"
    error = float((ours - truth).abs().max())
    for factor, meaning in _factors(n):
        if _explains(ours, factor * truth, error):
            return meaning
    for meaning, wrong in (mistakes or {}).items():
        if wrong.shape == ours.shape and _explains(ours, wrong.double(), error):
            return meaning
    if truth.dim() == 2 and truth.shape[0] == truth.shape[1] and _explains(ours, truth.T, error):
        return "it is the transpose of what it should be"
    ratio = float((ours * truth).sum() / (truth * truth).sum())
    if _explains(ours, ratio * truth, error):
        times = f"{ratio:.4g}" if abs(ratio - 1) > 1e-3 else f"1 {'+' if ratio > 1 else '-'} {abs(ratio - 1):.1e}"
        return f"every entry is {times} times what it should be"
    return None


def _factors(n: int) -> list[tuple[float, str]]:
    """Factors by which people are off, with their usual cause; the plainest first."""
    return [
        (-1.0, "the sign is wrong"),
        (2.0, "it is twice what it should be: a factor 2 too many, or added twice"),
        (0.5, "it is half of what it should be: a square's factor 2 is missing, or one of two equal parts"),
        (float(n), "it is n times what it should be: a mean's 1/n is missing"),
        (1 / n, "it is 1/n of what it should be: divided by n once too often, or a mean where a sum belongs"),
        (float(n - 1), "it is n − 1 times what it should be: the variance's 1/(n − 1) is missing"),
        (1 / (n - 1), "it is 1/(n − 1) of what it should be: divided by n − 1 once too often"),
        ((n - 1) / n, "it is (n − 1)/n of what it should be: n stands where Bessel's n − 1 belongs"),
        (n / (n - 1), "it is n/(n − 1) times what it should be: n − 1 stands where n belongs"),
    ]


def _shape(ours: Tensor, truth: Tensor) -> str | None:
    """A shape that is wrong in a known way."""
    if ours.dim() == truth.dim() == 2 and ours.shape == truth.T.shape and _explains(ours.T, truth):
        return "it is the transpose of what it should be"
    if ours.numel() == truth.numel() and _explains(ours.reshape(truth.shape), truth):
        return f"its numbers are right, but not its shape: keepdim=True, or a view as {tuple(truth.shape)}, is missing"
    for dim in range(ours.dim()):
        summed = ours.sum(dim, keepdim=truth.dim() == ours.dim())
        if summed.shape == truth.shape and _explains(summed, truth):
            keepdim = ", keepdim=True" if truth.dim() == ours.dim() else ""
            return f"it is not summed over the dimension that was broadcast: .sum({dim}{keepdim}) is missing"
    return None


def _explains(ours: Tensor, wrong: Tensor, error: float | None = None) -> bool:
    """Whether `wrong` is what `ours` is, much closer than the error that is to be explained."""
    left, size = float((ours - wrong).abs().max()), float(wrong.abs().max())
    return left <= LEFT * min(size, size if error is None else error)
