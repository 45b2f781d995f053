"""The effect of rounding alone on each gradient on a given batch, measured with random rounding.

Usually a gradient's rounding errors are some 1e-7 of its largest entry. But where terms cancel, the largest entry says
nothing about them. In a batch of two, batchnorm gives ±1/√2 whatever came in, and dhprebn is what epsilon leaves; with
one number a letter and one letter of context, W1 only scales what batchnorm scales back. Then right code differs from
right code by far more than its size would allow.

So the chain is run again in float64, each value and each gradient in it multiplied by 1 ± δ, the sign drawn for each
entry (Monte Carlo arithmetic: Parker, 1997), and how far that moves the gradients, divided by δ, is their sensitivity.

The chain is kinder than other ways to compute the same: it takes the mean out once, and the variance is that of what is
left. Where a column's mean is large against its deviation, a pass that computes the two apart errs more. So the witness
of the training pass shows its own error too: its float32 gradients against its float64 ones.

It is kinder above the logits too. Where a batch is predicted with certainty, softmax − onehot is what rounding has left
of 1 − 1, while the chain adds up the small probabilities of the other letters. So both ways are run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from makemore_cli.backprop import atomic as steps
from makemore_cli.gradcheck import sources
from makemore_cli.gradcheck.compare import sizes
from makemore_cli.network.parameters import Parameters

if TYPE_CHECKING:
    from makemore_cli.gradcheck.problem import Problem

DELTA = 1e-8  # small against the values' curvature, large against float64's own rounding
DRAWS = 8
WITNESSES = 4
# How much of what is measured makes a scale. With these two, right code stays well below TOLERANCE, as
# `makemore gradcheck --trials` shows.
USUAL = 2.0  # on ordinary batches, sensitivity over size is 6 to 12
USUAL_ERROR = 8.0


def scales(problem: Problem, reference: Mapping[str, Tensor]) -> dict[str, float]:
    """The scale of each gradient's rounding error: its size, or the effect of rounding on it if that is larger."""
    moved = sensitivity(problem)
    if "b1" in moved:  # b1 sums n entries of dhprebn, whose errors are alike where contexts are
        moved["b1"] = max(moved["b1"], len(problem.X) * moved["hprebn"])
    scale = {name: max(size, moved.get(name, 0.0) / USUAL) for name, size in sizes(reference).items()}
    errors = witness_errors(problem)
    return scale | {name: max(scale[name], error / USUAL_ERROR) for name, error in errors.items()}


def sensitivity(problem: Problem) -> dict[str, float]:
    """Largest change of each of the chain's gradients over DRAWS random roundings, divided by DELTA."""
    generator = torch.Generator(problem.p.flat.device).manual_seed(0)
    exact = _gradients(problem, None)
    moved: dict[str, float] = {}
    for _ in range(DRAWS):
        for way, exactly in zip(_gradients(problem, generator), exact, strict=False):
            for name, gradient in way.items():
                moved[name] = max(moved.get(name, 0.0), float((gradient - exactly[name]).abs().max()) / DELTA)
    return moved


def witness_errors(problem: Problem) -> dict[str, float]:
    """Largest error of autograd's float32 gradients through PyTorch's functions, in units of float32's rounding.

    Of the parameters, over WITNESSES parameters next to these, so that it is not small by chance.
    """
    p, unit = problem.p, torch.finfo(torch.float32).eps / 2
    generator = torch.Generator(p.flat.device).manual_seed(0)
    errors = dict.fromkeys(p.views, 0.0)
    for _ in range(WITNESSES):
        jitter = torch.rand(p.flat.shape, generator=generator, device=p.flat.device) * 2 - 1
        near = Parameters(p.sizes, p.flat.float() * (1 + 4 * unit * jitter))
        single = sources.functions(problem.at(near))
        double = sources.functions(problem.at(near.to(dtype=torch.float64)))
        for name in errors:
            errors[name] = max(errors[name], float((single[name] - double[name]).abs().max()) / unit)
    return errors


def _gradients(problem: Problem, generator: torch.Generator | None) -> list[dict[str, Tensor]]:
    """Autograd's gradients in float64, rounded at random by `generator`, if there is one.

    Those from the logits down, by cross-entropy's gradient in one expression; and those of the whole chain, unless its
    probabilities underflow, so that their logarithm has no gradient.
    """
    p, X, Y, eps, smoothing = problem.p, problem.X, problem.Y, problem.eps, problem.smoothing
    alike = torch.unique(X, dim=0, return_inverse=True)[1]  # equal contexts give equal rows, which round alike

    def rounded(value: Tensor, rows: Tensor | None = None) -> Tensor:
        if generator is None:
            return value
        sign = torch.randint(0, 2, value.shape, generator=generator, device=value.device, dtype=value.dtype) * 2 - 1
        return value * (1 + DELTA * (sign if rows is None else sign[rows]))

    def saved(value: Tensor) -> Tensor:
        if not value.is_floating_point():
            return value
        with torch.no_grad():
            return rounded(value, alike if value.shape[:1] == X.shape[:1] else None)

    tensors = {name: rounded(view.detach().double()).requires_grad_() for name, view in p.views.items()}
    values: steps.Values = {**tensors, "X": X, "Y": Y, "n": len(X), "eps": eps, "smoothing": smoothing}
    # A backward pass reads rounded values too. For a saturated tanh this decides: 1 − h² is what rounding has left.
    with torch.autograd.graph.saved_tensors_hooks(saved, lambda value: value):
        for step in problem.table:
            value = steps.run(step.forward, values)
            values[step.name] = tensors[step.name] = rounded(value, alike if value.shape[:1] == X.shape[:1] else None)
            tensors[step.name].register_hook(rounded)  # type: ignore[no-untyped-call]  # its gradient, on its way down
    loss, logits = tensors.pop("loss"), tensors["logits"]
    with torch.no_grad():
        target = F.one_hot(Y, logits.shape[1]).to(logits) * (1 - smoothing) + smoothing / logits.shape[1]
        dlogits = (rounded(logits.softmax(1), alike) - target) / len(Y)
    below = {name: tensor for name, tensor in tensors.items() if name in sources.up_to_the_logits(p)}
    ways = [
        dict(zip(below, torch.autograd.grad(logits, tuple(below.values()), dlogits, retain_graph=True), strict=True))
    ]
    if values["logprobs"].isfinite().all():
        ways.append(dict(zip(tensors, torch.autograd.grad(loss, tuple(tensors.values())), strict=True)))
    return ways
