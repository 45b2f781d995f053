"""Compare what a learner's function returned with what the solution returns: shapes first, then values."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

NEAR = 1e-6  # relative to the largest number of a result
LONGEST_CHARACTERS = 60  # of a value in a message


def difference(ours: Any, theirs: Any, what: str = "the result") -> str | None:
    """The first difference in words, or None. Numbers may differ by rounding."""
    if _is_tensor(theirs):
        return _tensor_difference(ours, theirs, what)
    if _is_tensor(ours) and ours.numel() == 1 and isinstance(theirs, (int, float)):
        ours = ours.item()
    if isinstance(theirs, bool) or theirs is None or isinstance(theirs, str):
        return None if ours is theirs or ours == theirs else f"{what} is {shown(ours)}, not {shown(theirs)}"
    if isinstance(theirs, (int, float)):
        return _number_difference(ours, theirs, what)
    if isinstance(theirs, Mapping):
        if not isinstance(ours, Mapping):
            return f"{what} is {shown(ours)}, not a dictionary"
        if missing := [key for key in theirs if key not in ours]:
            return f"{what} has no {shown(missing[0])}"
        if extra := [key for key in ours if key not in theirs]:
            return f"{what} has {shown(extra[0])}, which does not belong there"
        for key in theirs:
            if theirs[key] == [] and isinstance(ours[key], list) and ours[key]:  # a list of complaints
                return f"{key}: {', '.join(map(str, ours[key]))}"
        pairs = [(ours[key], theirs[key], f"{what}[{key!r}]") for key in theirs]
    elif isinstance(theirs, Sequence):
        if not isinstance(ours, Sequence) or isinstance(ours, str):
            return f"{what} is {shown(ours)}, not a list or tuple of {len(theirs)}"
        if len(ours) != len(theirs):
            return f"{what} has {len(ours)} entries, not {len(theirs)}"
        pairs = [(a, b, f"entry {place} of {what}") for place, (a, b) in enumerate(zip(ours, theirs, strict=True))]
    else:
        return None if ours == theirs else f"{what} is {shown(ours)}, not {shown(theirs)}"
    return next((told for a, b, where in pairs if (told := difference(a, b, where))), None)


def _number_difference(ours: Any, theirs: float, what: str) -> str | None:
    if isinstance(ours, bool) or not isinstance(ours, (int, float)):
        return f"{what} is {shown(ours)}, not a number"
    if math.isnan(ours) and math.isnan(theirs):
        return None
    if ours == theirs or abs(ours - theirs) <= NEAR * max(abs(theirs), 1e-3):
        return None
    return f"{what} is {shown(ours)}, not {shown(theirs)}"


def _tensor_difference(ours: Any, theirs: Any, what: str) -> str | None:
    if not _is_tensor(ours):
        return f"{what} is {shown(ours)}, not a tensor"
    if ours.shape != theirs.shape:
        return f"{what} has the shape {tuple(ours.shape)}, not {tuple(theirs.shape)}"
    if not theirs.is_floating_point():
        wrong = (ours != theirs).nonzero()
        if not len(wrong):
            return None
        at = tuple(wrong[0].tolist())
        return f"{what} is {ours[at].item()} at {list(at)}, not {theirs[at].item()}"
    apart = (ours.double() - theirs.double()).abs().nan_to_num(nan=math.inf)
    if not apart.numel() or float(apart.max()) <= NEAR * max(float(theirs.abs().max()), 1e-3):
        return None
    at = tuple(int(i) for i in (apart == apart.max()).nonzero()[0])
    return f"{what} is furthest off at {list(at)}: {ours[at].item():.6g}, not {theirs[at].item():.6g}"


def factor(ours: Sequence[Any], theirs: Sequence[Any]) -> str | None:
    """A sentence on a sign or a factor by which all results are off; None if there is none."""
    ratios = set()
    for a, b in zip(map(_numbers, ours), map(_numbers, theirs), strict=True):
        if len(a) != len(b):
            return None
        for x, y in zip(a, b, strict=True):
            if y and math.isfinite(x) and abs(y) > NEAR:
                ratios.add(round(x / y, 5))
            elif abs(x) > NEAR:
                return None
    told = {
        -1.0: "It has the wrong sign.",
        2.0: "It is twice what it should be.",
        0.5: "It is half of what it should be.",
    }
    return told.get(next(iter(ratios))) if len(ratios) == 1 else None


def _numbers(value: Any) -> list[float]:
    """All numbers of a result, in order."""
    if _is_tensor(value):
        return [float(one) for one in value.flatten().tolist()]
    if isinstance(value, (int, float)):
        return [float(value)]
    if isinstance(value, Mapping):
        return [number for inner in value.values() for number in _numbers(inner)]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [number for inner in value for number in _numbers(inner)]
    return []


def is_changed_tensor(before: Any, after: Any) -> bool:
    """Whether both are tensors, and differ."""
    if not (_is_tensor(before) and _is_tensor(after)):
        return False
    return before.shape != after.shape or not bool((before == after).all())


def _is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def shown(value: Any) -> str:
    """A value in a message."""
    if _is_tensor(value):
        return "a tensor" if value.dim() else f"the tensor {value.item():.6g}"
    text = f"{value:.6g}" if isinstance(value, float) else repr(value)
    return text if len(text) <= LONGEST_CHARACTERS else f"{text[:LONGEST_CHARACTERS]}…"
