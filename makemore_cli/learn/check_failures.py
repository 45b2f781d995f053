"""Failures of gradient checks: a wrong gradient that passes, and right ones that do not."""

from __future__ import annotations

import torch
from torch import Tensor

from makemore_cli.backprop import atomic
from makemore_cli.learn.demo import Result, Table
from makemore_cli.network.model import Sizes
from makemore_cli.network.parameters import initialise

BATCH = 32


def zero_bias() -> Result:
    """A backward line that recomputes the argument of tanh without the bias."""
    generator = torch.Generator().manual_seed(0)
    x, W = torch.randn(BATCH, 10, generator=generator), torch.randn(10, 20, generator=generator) / 10**0.5
    above = torch.randn(BATCH, 20, generator=generator)
    drawn = torch.randn(20, generator=generator)
    rows = []
    for name, b in (("zero", torch.zeros(20)), ("0.1 · N(0, 1)", 0.1 * drawn), ("N(0, 1)", drawn)):
        leaf = W.clone().requires_grad_()
        truth = torch.autograd.grad(torch.tanh(x @ leaf + b), leaf, above)[0]
        wrong = x.T @ ((1 - torch.tanh(x @ W) ** 2) * above)
        right = x.T @ ((1 - torch.tanh(x @ W + b) ** 2) * above)
        rows.append(
            (
                name,
                _largest(wrong - truth),
                _largest(right - truth),
                "yes" if torch.allclose(wrong, truth, atol=1e-5) else "no",
            )
        )
    headings = ("bias", "wrong line: off by", "right line: off by", "the wrong line passes")
    return Result(
        "h = tanh(x·W + b). The wrong backward line forgets the bias: dW = xᵀ·((1 − tanh(x·W)²)·dh).",
        (Table("the gradient of W against autograd's", headings, tuple(rows)),),
        "With a bias of zero, the wrong line happens to be right, and every check passes. This is why the lecture, and "
        "every check here, initialises biases at random, although training could start at zero.",
    )


def first_branch() -> Result:
    parameters, generator = initialise(Sizes(vocabulary=27, context=3, embedding=10, hidden=64), 0)
    X = torch.randint(0, 27, (BATCH, 3), generator=generator)
    Y = torch.randint(0, 27, (BATCH,), generator=generator)
    values = atomic.forward(parameters, X, Y)
    gradients = atomic.backward(values)
    dprobs, dsum = gradients["probs"], gradients["counts_sum"]
    parts = {
        "counts": (values["counts_sum_inv"] * dprobs, torch.ones_like(values["counts"]) * dsum, "probs", "counts_sum"),
        "logits": (
            gradients["norm_logits"],
            gradients["logits"] - gradients["norm_logits"],
            "norm_logits",
            "logit_maxes",
        ),
        "bndiff": (
            values["bnvar_inv"] * gradients["bnraw"],
            2 * values["bndiff"] * gradients["bndiff2"],
            "bnraw",
            "bndiff2",
        ),
        "hprebn": (gradients["bndiff"], gradients["bnmeani"].expand_as(values["hprebn"]) / BATCH, "bndiff", "bnmeani"),
    }
    rows = []
    for name, (first, second, by, then) in parts.items():
        truth = gradients[name]
        rows.append((f"d{name}", by, _agrees(first, truth), f"+ {then}", _agrees(first + second, truth)))
    headings = ("gradient", "first use", "agrees after it", "second use", "agrees after both")
    return Result(
        "Four tensors of the network are used twice. Each gradient is compared with the right one after the first "
        "use, and after both.",
        (Table("", headings, tuple(rows)),),
        "Each use adds its part (+=). A check after the first use fails, and should: the gradient is incomplete. For "
        "logits, the second part is zero up to rounding, so a check would not notice if it were missing.",
    )


def division() -> Result:
    generator = torch.Generator().manual_seed(0)
    counts = torch.rand(BATCH, 27, generator=generator) + 0.1
    above = torch.randn(BATCH, 27, generator=generator)
    rows = []
    for name, divided in (("c / s", True), ("c · s⁻¹", False)):
        leaf = counts.sum(1, keepdim=True).requires_grad_()
        probs = counts / leaf if divided else counts * leaf**-1
        theirs = torch.autograd.grad(probs, leaf, above)[0]
        total = leaf.detach()
        ours = {
            "−s⁻² · Σ c·dp": -(total**-2) * (counts * above).sum(1, keepdim=True),
            "Σ −dp·(c/s)/s": (-above * (counts / total) / total).sum(1, keepdim=True),
        }
        rows += [
            (name, line, int((gradient == theirs).sum()), _largest(gradient - theirs))
            for line, gradient in ours.items()
        ]
    headings = ("forward line", "backward line", f"equal bits, of {BATCH}", "off by at most")
    return Result(
        "Counts c are divided by their sum s, once as c / s and once as c · s⁻¹. Two backward lines for ds, equal "
        "by algebra, are compared with autograd's gradient bit by bit, in float32.",
        (Table("", headings, tuple(rows)),),
        "All are right, and differ only by rounding. For a division, autograd multiplies and divides in a different "
        "order than the lines by hand. The lecture writes c · s⁻¹, for which its backward line agrees to the last bit.",
    )


def _largest(difference: Tensor) -> float:
    return float(difference.abs().max())


def _agrees(ours: Tensor, theirs: Tensor) -> str:
    same = torch.allclose(ours, theirs, rtol=1e-4, atol=1e-7)
    return f"{'yes' if same else 'no'}, off by {_largest(ours - theirs):.0e}"
