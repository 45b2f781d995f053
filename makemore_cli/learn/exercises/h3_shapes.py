"""h3: The same numbers in another shape

dx - numeric is computed also if the two have different shapes: a row of shape (H,) is
spread over one of shape (1, H). A gradient must have the shape of its tensor, or the
next line goes wrong.

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
    dy = torch.randn_like(forward(x))
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
    #: if dx.shape != x.shape:
    #:     return False
    #: numeric = torch.zeros_like(x)
    #: for i in range(x.numel()):
    #:     nudge = torch.zeros_like(x)
    #:     nudge.view(-1)[i] = 1e-6
    #:     change = (forward(x + nudge) - forward(x - nudge)) / 2e-6
    #:     numeric.view(-1)[i] = (change * dy).sum()
    #: return bool(((dx - numeric).abs() <= 1e-4 * max(1.0, float(numeric.abs().max()))).all())
    #! This accepts a gradient of the wrong shape. Compare dx.shape with x.shape. The number of entries is not enough: (H,) and (1, H) have the same.
    #!: dy = torch.randn_like(forward(x))
    #!: dx = backward(x, dy)
    #!: numeric = torch.zeros_like(x)
    #!: for i in range(x.numel()):
    #!:     nudge = torch.zeros_like(x)
    #!:     nudge.view(-1)[i] = 1e-6
    #!:     change = (forward(x + nudge) - forward(x - nudge)) / 2e-6
    #!:     numeric.view(-1)[i] = (change * dy).sum()
    #!: return bool(((dx - numeric).abs() <= 1e-4 * max(1.0, float(numeric.abs().max()))).all())
    #! This accepts a gradient of the wrong shape. Compare dx.shape with x.shape. The number of entries is not enough: (H,) and (1, H) have the same.
    #!: dy = torch.randn_like(forward(x))
    #!: dx = backward(x, dy)
    #!: if dx.numel() != x.numel():
    #!:     return False
    #!: numeric = torch.zeros_like(x)
    #!: for i in range(x.numel()):
    #!:     nudge = torch.zeros_like(x)
    #!:     nudge.view(-1)[i] = 1e-6
    #!:     change = (forward(x + nudge) - forward(x - nudge)) / 2e-6
    #!:     numeric.view(-1)[i] = (change * dy).sum()
    #!: return bool(((dx - numeric).abs() <= 1e-4 * max(1.0, float(numeric.abs().max()))).all())
    #! This accepts everything, wrong passes too.
    #!: return True
    #! This refuses everything, right passes too.
    #!: return False
