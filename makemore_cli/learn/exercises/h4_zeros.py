"""h4: Where mistakes hide

The check chooses x itself. At zero, tanh has the slope 1, x² the slope 0, and a factor x
makes everything zero: many mistakes vanish there.

Arguments:

    forward   a function of x
    backward  its backward pass, a function of x and dy that returns dx
    shape     the shape of x

Repair check, and then delete the comment `not written yet`. It must accept every right
backward pass, and refuse every wrong one.
"""

import torch


def check(forward, backward, shape):
    # not written yet
    x = torch.zeros(shape, dtype=torch.float64)
    dy = torch.randn_like(forward(x))
    dx = backward(x, dy)
    numeric = torch.zeros_like(x)
    for i in range(x.numel()):
        nudge = torch.zeros_like(x)
        nudge.view(-1)[i] = 1e-6
        change = (forward(x + nudge) - forward(x - nudge)) / 2e-6
        numeric.view(-1)[i] = (change * dy).sum()
    return bool(((dx - numeric).abs() <= 1e-4 * max(1.0, float(numeric.abs().max()))).all())
    #: x = torch.randn(shape, dtype=torch.float64)
    #: dy = torch.randn_like(forward(x))
    #: dx = backward(x, dy)
    #: numeric = torch.zeros_like(x)
    #: for i in range(x.numel()):
    #:     nudge = torch.zeros_like(x)
    #:     nudge.view(-1)[i] = 1e-6
    #:     change = (forward(x + nudge) - forward(x - nudge)) / 2e-6
    #:     numeric.view(-1)[i] = (change * dy).sum()
    #: return bool(((dx - numeric).abs() <= 1e-4 * max(1.0, float(numeric.abs().max()))).all())
    #! This accepts wrong passes: at zero, they agree with the right ones. Choose an x at which no wrong slope is right by chance.
    #!: x = torch.zeros(shape, dtype=torch.float64)
    #!: dy = torch.randn_like(forward(x))
    #!: dx = backward(x, dy)
    #!: numeric = torch.zeros_like(x)
    #!: for i in range(x.numel()):
    #!:     nudge = torch.zeros_like(x)
    #!:     nudge.view(-1)[i] = 1e-6
    #!:     change = (forward(x + nudge) - forward(x - nudge)) / 2e-6
    #!:     numeric.view(-1)[i] = (change * dy).sum()
    #!: return bool(((dx - numeric).abs() <= 1e-4 * max(1.0, float(numeric.abs().max()))).all())
    #! Ones are special too: there x, x² and x³ are equal.
    #!: x = torch.ones(shape, dtype=torch.float64)
    #!: dy = torch.randn_like(forward(x))
    #!: dx = backward(x, dy)
    #!: numeric = torch.zeros_like(x)
    #!: for i in range(x.numel()):
    #!:     nudge = torch.zeros_like(x)
    #!:     nudge.view(-1)[i] = 1e-6
    #!:     change = (forward(x + nudge) - forward(x - nudge)) / 2e-6
    #!:     numeric.view(-1)[i] = (change * dy).sum()
    #!: return bool(((dx - numeric).abs() <= 1e-4 * max(1.0, float(numeric.abs().max()))).all())
    #! This accepts wrong passes: at zero, they agree with the right ones. Choose an x at which no wrong slope is right by chance.
    #!: return True
    #! This refuses everything, right passes too.
    #!: return False
