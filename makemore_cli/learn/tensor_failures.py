"""Failures of the makemore lectures, on tensors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from makemore_cli.backprop import atomic
from makemore_cli.learn.demo import Result, Table
from makemore_cli.network.model import Sizes
from makemore_cli.network.parameters import initialise

LECTURE = Sizes(vocabulary=27, context=3, embedding=10, hidden=200)
BATCH = 32
FLAT = 0.97  # beyond ±0.97, tanh counts as saturated


def clipped_loss() -> Result:
    """Eight examples of class 0 and one outlier of class 4, in a network that is sure of class 0."""
    targets = torch.tensor([0] * 8 + [4])
    most = 3.0

    def train(clip_loss: bool) -> tuple[list[float], Tensor]:
        x = torch.cat([torch.eye(2)[[0] * 8], torch.eye(2)[[1]]])  # the outlier has an input of its own
        W = torch.zeros(2, 5)
        W[:, 0] = 8.0
        W.requires_grad_()
        outlier, first = [], torch.zeros(9)
        for step in range(201):
            logits = x @ W
            logits.retain_grad()
            each = F.cross_entropy(logits, targets, reduction="none")
            loss = each.clamp(max=most).mean() if clip_loss else each.mean()
            outlier.append(each[-1].item())
            W.grad = None
            loss.backward()  # type: ignore[no-untyped-call]
            assert W.grad is not None
            assert logits.grad is not None
            if step == 0:
                first = logits.grad.norm(dim=1)
            if not clip_loss:
                torch.nn.utils.clip_grad_norm_([W], 0.1)
            with torch.no_grad():
                W -= 5.0 * W.grad
        return outlier, first

    wrong, wrong_gradient = train(clip_loss=True)
    right, right_gradient = train(clip_loss=False)
    rows = tuple((step, wrong[step], right[step]) for step in (0, 10, 20, 50, 100, 200))
    gradients = (
        ("the outlier", float(wrong_gradient[-1]), float(right_gradient[-1])),
        ("any other", float(wrong_gradient[0]), float(right_gradient[0])),
    )
    return Result(
        f"Eight examples are predicted well; one is an outlier with a loss of {right[0]:.1f}. The network is "
        f"trained for 200 steps, once with each loss clipped to {most:g}, once with the gradient clipped to norm 0.1.",
        (
            Table(
                "norm of the gradient of an example's logits in the first step",
                ("example", "loss clipped", "gradient clipped"),
                gradients,
            ),
            Table("loss of the outlier", ("step", "loss clipped", "gradient clipped"), rows),
        ),
        "A clipped loss is constant, so its gradient is 0: the network learns nothing from its worst predictions. A "
        "clipped gradient is shorter, but has the same direction.",
    )


def softmax_overflow() -> Result:
    generator = torch.Generator().manual_seed(0)
    logits, Y = torch.randn(BATCH, 27, generator=generator), torch.randint(0, 27, (BATCH,), generator=generator)
    rows = []
    for scale in (1.0, 10.0, 30.0, 100.0, 1000.0):
        z = (logits * scale).requires_grad_()
        counts = z.exp()
        losses = -(counts / counts.sum(1, keepdim=True))[torch.arange(BATCH), Y].log()
        losses.mean().backward()  # type: ignore[no-untyped-call]
        assert z.grad is not None
        with_maximum = F.cross_entropy(z, Y).item()
        rows.append((f"{z.max().item():.1f}", losses.mean().item(), with_maximum, int(z.grad.isnan().sum())))
    parameters, generator = initialise(LECTURE, 0)
    X = torch.randint(0, 27, (BATCH, 3), generator=generator)
    gradients = atomic.backward(atomic.forward(parameters, X, Y))
    ratio = (
        ("logit_maxes", float(gradients["logit_maxes"].abs().max())),
        ("logits", float(gradients["logits"].abs().max())),
    )
    return Result(
        f"The cross-entropy of {BATCH} rows of logits is computed in float32 from exp(z) / Σ exp(z), without and with "
        "subtracting the row's maximum first.",
        (
            Table(
                "the loss", ("largest logit", "without the maximum", "with it", "NaN among the gradients"), tuple(rows)
            ),
            Table("largest absolute value in two gradients of the network", ("gradient of", "size"), ratio),
        ),
        "In float32, exp(z) is infinite for z above 88.7, and ∞/∞ is NaN. Subtracting the maximum changes no "
        "probability, so the gradient of the maximum is zero up to rounding.",
    )


def biased_variance() -> Result:
    generator = torch.Generator().manual_seed(0)
    rows = []
    for n in (2, 4, 8, BATCH, 256):
        samples = torch.randn(20_000, n, generator=generator, dtype=torch.float64)
        biased, unbiased = samples.var(1, correction=0), samples.var(1)
        rows.append(
            (
                n,
                float(biased.mean()),
                float(unbiased.mean()),
                f"{float((biased < 1).double().mean()):.0%}",
                f"{(n / (n - 1)) ** 0.5 - 1:.1%}",
            )
        )
    return Result(
        "The variance of n numbers whose true variance is 1 is estimated from the squared deviations from their own "
        "mean. Their sum is divided by n or by n − 1; the table shows means over 20,000 batches.",
        (Table("", ("n", "over n", "over n − 1", "over n: below 1", "deviations differ by"), tuple(rows)),),
        "The numbers are nearer to their own mean than to the true one, so dividing by n underestimates the variance. "
        "A network that trains with 1/n and is tested with 1/(n − 1), as in the paper and in PyTorch, is tested on "
        "activations that are scaled differently, by 1.6% at n = 32. Use n − 1 in both, as the lecture does.",
    )


def saturated_tanh() -> Result:
    generator = torch.Generator().manual_seed(0)
    n, inputs, hidden = 1000, 30, 200
    x, direction = torch.randn(n, inputs, generator=generator), torch.randn(n, hidden, generator=generator)
    weights = torch.randn(inputs, hidden, generator=generator)
    rows = []
    for name, scale in (
        ("0.1", 0.1),
        ("(5/3)/√30, the lecture's", 5 / 3 / inputs**0.5),
        ("1", 1.0),
        ("3", 3.0),
        ("30", 30.0),
    ):
        h = torch.tanh(x @ (weights * scale))
        passed = (1 - h**2) * direction
        flat = h.abs() > FLAT
        dead = int((flat[:BATCH]).all(0).sum())
        rows.append(
            (
                name,
                float((x @ (weights * scale)).std()),
                f"{float(flat.double().mean()):.1%}",
                dead,
                f"{float(passed.norm() / direction.norm()):.1%}",
            )
        )
    headings = ("weights' scale", "std before", "saturated", "dead of 200", "gradient back")
    return Result(
        f"{inputs} inputs from N(0, 1) go into {hidden} neurons, h = tanh(x·W), with weights of several scales. "
        f"Outputs with |h| > {FLAT} are saturated. A neuron is dead here if it is saturated on all {BATCH} examples.",
        (Table("", headings, tuple(rows)),),
        "The derivative of tanh is 1 − h². Where h is near 1 or −1, almost no gradient comes back, and the weights "
        "before it do not learn. So weights are divided by the square root of their number of inputs, or batchnorm "
        "rescales the input of tanh.",
    )
