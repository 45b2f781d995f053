"""The diagnosis of a wrong gradient, if its mistake has a known form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

import torch
from torch import Tensor

from makemore_cli.checks.candidates import Candidate, Candidates
from makemore_cli.checks.following import Following

# An explanation must leave less than this fraction of the error, and of the gradient.
LEFT = 0.01
NEAR = 6  # most lines for which a wrong line is tried together with a factor
VAGUE = ("it is twice", "it is half")  # forms that a wrong line explains better


def diagnose(
    ours: Tensor, truth: Tensor, sizes: Mapping[str, int], mistakes: Mapping[str, Tensor] | None = None
) -> str | None:
    """Say how a gradient is wrong, if its mistake has a known form; `sizes` are what a line may divide by.

    `mistakes` has the values that certain mistakes would give to this gradient, by the mistakes' descriptions.
    """
    ours, truth = ours.detach().double(), truth.detach().double()
    told = _plain_forms(ours, truth)
    if told is not None or ours.shape != truth.shape:
        return told or None
    candidates = [
        *_factors(truth, sizes),
        *(Candidate(words, wrong.double()) for words, wrong in (mistakes or {}).items()),
    ]
    return _first(ours, truth, candidates) or _ratio(ours, truth, sizes)


def diagnose_user(
    following: Following,
    name: str,
    ours: Tensor,
    sizes: Mapping[str, int],
    shared: Sequence[tuple[str, ...]] = (),
    left: float = LEFT,
    with_code: bool = True,
) -> str | None:
    """Say which mistake in which line gives the user's numbers, which do not follow from their other gradients.

    `shared` are groups of gradients that share memory; `left` is the fraction of the error that an explanation may
    leave, which depends on the numbers' precision. With code, the wrong line is told as code too.
    """
    candidates = Candidates(following, name, with_code)
    ours, truth = ours.detach().to(candidates.expected), candidates.expected
    if told := _alias(following, name, ours, shared, left) or _swapped(following, name, ours, left):
        return told
    told = _plain_forms(ours, truth)
    if told:
        return told
    if ours.shape == truth.shape and told is None:
        factors = list(_factors(truth, sizes))
        first: list[Iterable[Candidate]] = [
            [c for c in factors if not c.words.startswith(VAGUE)],
            candidates.branches(),
            _factors_of_parts(candidates, sizes),
            candidates.passed_on(),
            candidates.constants(1),
        ]
        between: list[Iterable[Candidate]] = [candidates.diagonals()]
        then: list[Iterable[Candidate]] = [
            [c for c in factors if c.words.startswith(VAGUE)],
            candidates.constants(2),
            candidates.others(),
            candidates.without_examples(),
            candidates.other_forward_values(),
            candidates.with_a_factor(),
            _changed(ours, truth),
        ]
    else:
        first, between, then = [], [], []
    probes = candidates.probes(ours) if ours.shape == truth.shape and ours.isfinite().all() else None
    for group in (*first, candidates.lines(), *between, candidates.single_expressions(), *then):
        if told := _first(ours, truth, group, left, probes):
            return told
    if ours.shape != truth.shape or not ours.isfinite().all():
        return None
    return (
        _ratio(ours, truth, sizes)
        or _constant(ours)
        or _updated(ours, candidates, left)
        or _added(ours, candidates, left)
        or _ratio_of_a_part(ours, candidates, left)
        or _scaled_line(ours, candidates, left)
        or _where(ours, truth, left)
    )


def _plain_forms(ours: Tensor, truth: Tensor) -> str | None:
    """A diagnosis that needs no candidates; "" if none is possible, None if candidates may give one."""
    if ours.shape != truth.shape:
        return _shape(ours, truth)
    if not ours.isfinite().all():
        return "some of its entries are not finite"
    if not truth.isfinite().all():
        return ""
    if not truth.any():
        return "its true value is zero"
    if not ours.any():
        return "it is zero: nothing was added to it"
    if truth.dim() == 2 and truth.shape[0] == truth.shape[1] and _explains(ours, truth.T, _error(ours, truth)):
        return "it is the transpose of what it should be"
    return None


def _first(
    ours: Tensor,
    truth: Tensor,
    group: Iterable[Candidate],
    left: float = LEFT,
    probes: tuple[float, float] | None = None,
) -> str | None:
    """The first candidate that equals `ours`; `probes` are those of `ours`."""
    error = _error(ours, truth)
    near = 10 * left * error * ours.numel() ** 0.5  # ten standard deviations of what may be left
    for candidate in group:
        if (
            probes
            and candidate.probes
            and any(abs(a - b) > near for a, b in zip(probes, candidate.probes, strict=True))
        ):
            continue
        if candidate.value.shape == ours.shape and _explains(ours, candidate.value.to(ours), error, left):
            return candidate.told
    return None


def _factors(truth: Tensor, sizes: Mapping[str, int]) -> Iterator[Candidate]:
    """The gradient times each common wrong factor, with its usual cause; the simplest first."""
    yield Candidate("the sign is wrong", -truth)
    yield Candidate("it is twice what it should be: an extra factor 2, or added twice", 2.0 * truth)
    yield Candidate(
        "it is half of what it should be: a square's factor 2 is missing, or one of two equal parts", 0.5 * truth
    )
    for name, n in sizes.items():
        factors = [
            (float(n), f"it is {name} times what it should be: a mean's 1/{name} is missing"),
            (
                1 / n,
                f"it is 1/{name} of what it should be: divided by {name} once too often, or a mean instead of a sum",
            ),
        ]
        if n > 1:
            factors += [
                (
                    float(n - 1),
                    f"it is {name} − 1 times what it should be: the variance's 1/({name} − 1) is missing",
                ),
                (
                    1 / (n - 1),
                    f"it is 1/({name} − 1) of what it should be: divided by {name} − 1 once too often",
                ),
                (
                    (n - 1) / n,
                    f"it is ({name} − 1)/{name} of what it should be: {name} is used instead of Bessel's {name} − 1",
                ),
                (
                    n / (n - 1),
                    f"it is {name}/({name} − 1) times what it should be: {name} − 1 is used instead of {name}",
                ),
            ]
        for factor, words in factors:
            yield Candidate(words, factor * truth)


def _factors_of_parts(candidates: Candidates, sizes: Mapping[str, int]) -> Iterator[Candidate]:
    """The same factors for one branch of several."""
    if len(candidates.parts) == 1:
        return
    for step, part in candidates.parts.items():
        rest = candidates.expected - part
        for factor in _factors(part, sizes):
            if not factor.words.startswith(VAGUE):
                words = factor.words.removeprefix("it is ")
                yield Candidate(f"the part through {step} is {words}", rest + factor.value)


def _changed(ours: Tensor, truth: Tensor) -> Iterator[Candidate]:
    """The right gradient, changed afterwards."""
    largest = float(ours.abs().max())
    if bool(((truth != 0) & (truth.abs() < largest)).any()):  # otherwise any factor would look like clipping
        yield Candidate(f"its entries are clipped at ±{largest:.4g}", truth.clamp(-largest, largest))
    yield Candidate("it is the absolute value of what it should be", truth.abs())
    yield Candidate("its negative entries are set to zero", truth.clamp(min=0))
    yield Candidate("only its signs remain", truth.sign())
    for dtype, name in ((torch.float16, "float16"), (torch.bfloat16, "bfloat16")):
        rounded = ours.to(dtype).to(ours.dtype)
        if torch.equal(rounded, ours) and _error(ours, truth) <= 0.05 * float(truth.abs().max()):
            yield Candidate(f"it has been rounded to {name}, which has too few digits", ours)
    for dim in range(truth.dim()):
        yield Candidate(f"it is reversed along dimension {dim}", truth.flip(dim))
        for by in (1, -1):
            yield Candidate(f"it is shifted by one along dimension {dim}", truth.roll(by, dim))
        if truth.shape[dim] > 1:
            yield Candidate(
                f"it is the mean over dimension {dim}, expanded again", truth.mean(dim, keepdim=True).expand_as(truth)
            )
            yield Candidate(f"its mean over dimension {dim} has been subtracted", truth - truth.mean(dim, keepdim=True))


def _alias(following: Following, name: str, ours: Tensor, shared: Sequence[tuple[str, ...]], left: float) -> str | None:
    """Whether it is the same tensor as a gradient that is computed later, and was changed with it."""
    order = list(following.parts)
    for group in shared:
        later = [n for n in group if n in following.given and order.index(n) > order.index(name)]
        for other in later if name in group else ():
            if not ours.shape == following.values[name].shape == following.values[other].shape:
                continue
            if not torch.equal(following.given[other].to(ours), ours):
                continue
            should = [following.expected(other), *following.alternatives(other)]
            if any(_explains(ours, wanted.to(ours), _error(ours, following.expected(name)), left) for wanted in should):
                return (
                    f"d{name} and d{other} are one tensor (an alias), so changing d{other} in place changed d{name} "
                    f"too: begin d{other} with d{name}.clone()"
                )
    return None


def _swapped(following: Following, name: str, ours: Tensor, left: float) -> str | None:
    mine = following.expected(name)
    for other, theirs in following.given.items():
        if other == name or not ours.shape == mine.shape == theirs.shape or other not in following.parts:
            continue
        wanted = following.expected(other)
        if _explains(theirs, mine, _error(theirs, wanted), left) and any(
            _explains(ours, right, _error(ours, mine), left) for right in (wanted, *following.alternatives(other))
        ):
            return f"d{name} and d{other} are swapped"
    return None


def _updated(ours: Tensor, candidates: Candidates, left: float) -> str | None:
    """Whether a parameter had been updated before a line read it."""
    for parameter, change in candidates.updated_parameters():
        rate = _share(ours - candidates.expected, change, left)
        if rate is not None:
            return (
                f"{parameter} was updated before this line read it, with a learning rate of {rate:.4g}: compute "
                "all gradients first"
            )
    return None


def _added(ours: Tensor, candidates: Candidates, left: float) -> str | None:
    """Whether a multiple of another tensor has been added."""
    for name, tensor in candidates.same_shape():
        share = _share(ours - candidates.expected, tensor.to(ours), left)
        if share is not None:
            times = "" if abs(share - 1) < 1e-6 else f"{share:.4g} · "
            return f"{times}{name} has been added to it"
    return None


def _scaled_line(ours: Tensor, candidates: Candidates, left: float) -> str | None:
    """Whether a wrong line together with a factor gives it."""
    if candidates.steps > NEAR:
        return None
    first, second = candidates.probes(ours)
    for candidate in chain(candidates.lines(), candidates.single_expressions()):
        if candidate.probes and not _proportional((first, second), candidate.probes, left):
            continue
        if candidate.value.shape == ours.shape:
            share = _share(ours, candidate.value.to(ours), left, _error(ours, candidates.expected))
            if share is not None:
                return f"{candidate.told}; besides, there is another factor {share:.4g}"
    return None


def _proportional(a: tuple[float, float], b: tuple[float, float], left: float) -> bool:
    return abs(a[0] * b[1] - a[1] * b[0]) <= 100 * left * (abs(a[0] * b[1]) + abs(a[1] * b[0]))


def _share(ours: Tensor, of: Tensor, left: float, error: float | None = None) -> float | None:
    """The factor that turns `of` into `ours`, if there is one and more than one entry shows it."""
    square = float((of * of).sum())
    if square == 0 or not 0 < square < float("inf") or int((of != 0).sum()) < 2:
        return None
    share = float((ours * of).sum()) / square
    return share if share and _explains(ours, share * of, error, left) else None


def _ratio(ours: Tensor, truth: Tensor, sizes: Mapping[str, int]) -> str | None:
    ratio = float((ours * truth).sum() / (truth * truth).sum())
    if not _explains(ours, ratio * truth, _error(ours, truth)):
        return None
    for size, what in (
        (truth.shape[-1] if truth.dim() else 1, "the size of its last dimension"),
        (truth.numel(), "the number of its entries"),
    ):
        if size > 2 and abs(ratio * size - 1) < 1e-5:
            return f"every entry is 1/{size} of what it should be; {size} is {what}: a mean instead of a sum?"
    for name, n in sizes.items():
        for power, what in ((0.5, f"over {name}, not {name} − 1"), (-0.5, f"over {name} − 1, not {name}")):
            if n > 2 and abs(ratio / (n / (n - 1)) ** power - 1) < 1e-4:  # not exact, because of epsilon
                return f"every entry is {ratio:.4g} times what it should be, as if the variance were {what}"
    times = f"{ratio:.4g}" if abs(ratio - 1) > 1e-3 else f"1 {'+' if ratio > 1 else '-'} {abs(ratio - 1):.1e}"
    return f"every entry is {times} times what it should be"


def _constant(ours: Tensor) -> str | None:
    if ours.numel() < 2 or not bool((ours == ours.flatten()[0]).all()):
        return None
    return f"each of its entries is {float(ours.flatten()[0]):.4g}, whatever the upstream gradient is"


def _ratio_of_a_part(ours: Tensor, candidates: Candidates, left: float) -> str | None:
    """Whether one branch of several has a factor."""
    for name, part in candidates.parts.items() if len(candidates.parts) > 1 else ():
        share = _share(ours - (candidates.expected - part), part, left, _error(ours, candidates.expected))
        if share is not None:
            return f"the part through {name} is {share:.4g} times what it should be"
    return None


def _where(ours: Tensor, truth: Tensor, left: float) -> str | None:
    """The part of the gradient that is wrong, if the rest is right."""
    largest = float(truth.abs().max())
    wrong = (ours - truth).abs() > 1e-3 * left * (truth.abs() + 0.1 * largest)  # rounding is less
    if not ours[wrong].any() and 0 < int(wrong.sum()) < int((truth != 0).sum()):
        zero = _places(wrong, truth)
        return f"only {zero} {_are(zero)} wrong (zero)" if zero else _masked(wrong, truth)
    if places := _places(wrong, truth):
        return f"only {places} {_are(places)} wrong"
    right = ~wrong & (truth != 0)
    for dim in range(truth.dim() if truth.dim() > 1 else 0):
        others = [d for d in range(truth.dim()) if d != dim]
        if places := _places(right & right.all(others[0], keepdim=True), truth, [dim]):
            return f"only {places} {_are(places)} right"
    astray = int(((truth == 0) & (ours != 0)).sum())
    if astray:
        return f"{astray:,} of its {ours.numel():,} entries should be zero but are not"
    return None


def _places(chosen: Tensor, like: Tensor, dims: Sequence[int] = (0, 1, 2)) -> str | None:
    """The rows, columns or slices in which the chosen entries lie, if those are few."""
    for dim in dims[: like.dim()]:
        what = ("row", "column", "slice")[dim] if dim < 3 else f"slice of dimension {dim}"
        others = [d for d in range(like.dim()) if d != dim]
        hit = chosen.any(dim=others) if others else chosen
        count = int(hit.sum())
        if 0 < count <= max(1, hit.numel() // 4) and hit.numel() > 1:
            at = ", ".join(str(int(i)) for i in hit.nonzero().flatten()[:4])
            return f"{what}{'s' if count > 1 else ''} {at}{' …' if count > 4 else ''}"
    return None


def _are(places: str) -> str:
    return "are" if places.split()[0].endswith("s") else "is"


def _masked(wrong: Tensor, truth: Tensor) -> str:
    return (
        f"{int(wrong.sum()):,} of its {int((truth != 0).sum()):,} entries are zero and the others are right: a mask "
        "or a clipped value stops them"
    )


def _shape(ours: Tensor, truth: Tensor) -> str | None:
    """The diagnosis of a wrong shape, if it is wrong in a known way."""
    if ours.dim() == 0 and truth.dim():
        return "it is a single number: it has been summed over all dimensions"
    if ours.dim() == truth.dim() == 2 and ours.shape == truth.T.shape and _explains(ours.T, truth):
        return "it is the transpose of what it should be"
    if ours.dim() > truth.dim() and ours.numel() == truth.numel() and _explains(ours.reshape(truth.shape), truth):
        return f"its numbers are right, but its shape should be {tuple(truth.shape)}: leave out keepdim=True"
    if ours.numel() == truth.numel() and _explains(ours.reshape(truth.shape), truth):
        return f"its numbers are right, but not its shape: keepdim=True, or a view as {tuple(truth.shape)}, is missing"
    for dim in range(truth.dim()):
        for keepdim in (True, False):
            summed = truth.sum(dim, keepdim=keepdim)
            if ours.shape == summed.shape and _explains(ours, summed):
                return f"it has been summed over dimension {dim} too"
    for dim in range(ours.dim()):
        keepdim = truth.dim() == ours.dim()
        summed = ours.sum(dim, keepdim=keepdim)
        if summed.shape == truth.shape and _explains(summed, truth):
            kept = ", keepdim=True" if keepdim else ""
            return f"it is not summed over the dimension that was broadcast: .sum({dim}{kept}) is missing"
    try:
        spread = torch.broadcast_to(ours, truth.shape)
    except RuntimeError:
        return None
    if _explains(spread, truth):
        return "it is not expanded to the shape before the sum: multiply by torch.ones_like(…), or use expand_as"
    return None


def _error(ours: Tensor, truth: Tensor) -> float:
    return float((ours - truth).abs().max()) if ours.shape == truth.shape else float(truth.abs().max())


def _explains(ours: Tensor, wrong: Tensor, error: float | None = None, left: float = LEFT) -> bool:
    """Whether `wrong` differs from `ours` by much less than the error that is to be explained."""
    rest, size = float((ours - wrong).abs().max()), float(wrong.abs().max())
    return rest <= left * min(size, size if error is None else error)
