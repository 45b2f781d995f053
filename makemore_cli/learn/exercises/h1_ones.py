"""h1: All ones

The check sends ones backwards, which checks the gradient of the sum of all results. But
the function here subtracts each row's mean, so that the sum of its results is always
zero, and so is its gradient. Whatever is computed from zero passes.

Arguments:

    forward   a function of x
    backward  its backward pass, a function of x and dy that returns dx
    x         a tensor, float64

Repair check, and then delete the comment `not written yet`. It must accept every right
backward pass, and refuse every wrong one.
"""

import torch


def check(forward, backward, x):
    # not written yet
    dy = torch.ones_like(forward(x))
    dx = backward(x, dy)
    numeric = torch.zeros_like(x)
    for i in range(x.numel()):
        nudge = torch.zeros_like(x)
        nudge.view(-1)[i] = 1e-6
        change = (forward(x + nudge) - forward(x - nudge)) / 2e-6
        numeric.view(-1)[i] = (change * dy).sum()
    return bool(((dx - numeric).abs() <= 1e-4 * max(1.0, float(numeric.abs().max()))).all())
    #: dy = torch.randn_like(forward(x))
    #: dx = backward(x, dy)
    #: numeric = torch.zeros_like(x)
    #: for i in range(x.numel()):
    #:     nudge = torch.zeros_like(x)
    #:     nudge.view(-1)[i] = 1e-6
    #:     change = (forward(x + nudge) - forward(x - nudge)) / 2e-6
    #:     numeric.view(-1)[i] = (change * dy).sum()
    #: return bool(((dx - numeric).abs() <= 1e-4 * max(1.0, float(numeric.abs().max()))).all())
    #! This accepts every pass. For which dy is the gradient of (forward(x) * dy).sum() not zero? A constant won't do.
    #!: dy = torch.ones_like(forward(x))
    #!: dx = backward(x, dy)
    #!: numeric = torch.zeros_like(x)
    #!: for i in range(x.numel()):
    #!:     nudge = torch.zeros_like(x)
    #!:     nudge.view(-1)[i] = 1e-6
    #!:     change = (forward(x + nudge) - forward(x - nudge)) / 2e-6
    #!:     numeric.view(-1)[i] = (change * dy).sum()
    #!: return bool(((dx - numeric).abs() <= 1e-4 * max(1.0, float(numeric.abs().max()))).all())
    #! This accepts every pass. For which dy is the gradient of (forward(x) * dy).sum() not zero? A constant won't do.
    #!: dy = torch.full_like(forward(x), 2.0)
    #!: dx = backward(x, dy)
    #!: numeric = torch.zeros_like(x)
    #!: for i in range(x.numel()):
    #!:     nudge = torch.zeros_like(x)
    #!:     nudge.view(-1)[i] = 1e-6
    #!:     change = (forward(x + nudge) - forward(x - nudge)) / 2e-6
    #!:     numeric.view(-1)[i] = (change * dy).sum()
    #!: return bool(((dx - numeric).abs() <= 1e-4 * max(1.0, float(numeric.abs().max()))).all())
    #! This accepts every pass. For which dy is the gradient of (forward(x) * dy).sum() not zero? A constant won't do.
    #!: return True
    #! This refuses everything, right passes too.
    #!: return False
