"""h2: Right code is refused

The nudge is 1e-5, and x is in float32, which has seven digits. For forward(x) =
log(100 + x), say, the result is about 4.6, and the nudge changes it by 1e-7. That is
lost in rounding, so that right passes are refused.

Arguments:

    forward   a function of x
    backward  its backward pass, a function of x and dy that returns dx
    x         a tensor, float32

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
        nudge.view(-1)[i] = 1e-5
        change = (forward(x + nudge) - forward(x - nudge)) / 2e-5
        numeric.view(-1)[i] = (change * dy).sum()
    return bool(((dx - numeric).abs() <= 1e-4 * max(1.0, float(numeric.abs().max()))).all())
    #: x = x.double()
    #: dy = torch.randn_like(forward(x))
    #: dx = backward(x, dy)
    #: numeric = torch.zeros_like(x)
    #: for i in range(x.numel()):
    #:     nudge = torch.zeros_like(x)
    #:     nudge.view(-1)[i] = 1e-6
    #:     change = (forward(x + nudge) - forward(x - nudge)) / 2e-6
    #:     numeric.view(-1)[i] = (change * dy).sum()
    #: return bool(((dx - numeric).abs() <= 1e-4 * max(1.0, float(numeric.abs().max()))).all())
    #! This refuses right passes: the differences are computed in float32, whose rounding is larger than the change. A smaller nudge makes it worse.
    #!: dy = torch.randn_like(forward(x))
    #!: dx = backward(x, dy)
    #!: numeric = torch.zeros_like(x)
    #!: for i in range(x.numel()):
    #!:     nudge = torch.zeros_like(x)
    #!:     nudge.view(-1)[i] = 1e-5
    #!:     change = (forward(x + nudge) - forward(x - nudge)) / 2e-5
    #!:     numeric.view(-1)[i] = (change * dy).sum()
    #!: return bool(((dx - numeric).abs() <= 1e-4 * max(1.0, float(numeric.abs().max()))).all())
    #! This refuses right passes: the differences are computed in float32, whose rounding is larger than the change. A smaller nudge makes it worse.
    #!: dy = torch.randn_like(forward(x))
    #!: dx = backward(x, dy)
    #!: numeric = torch.zeros_like(x)
    #!: for i in range(x.numel()):
    #!:     nudge = torch.zeros_like(x)
    #!:     nudge.view(-1)[i] = 1e-7
    #!:     change = (forward(x + nudge) - forward(x - nudge)) / 2e-7
    #!:     numeric.view(-1)[i] = (change * dy).sum()
    #!: return bool(((dx - numeric).abs() <= 1e-4 * max(1.0, float(numeric.abs().max()))).all())
    #! This accepts everything, wrong passes too.
    #!: return True
    #! This refuses right passes: the differences are computed in float32, whose rounding is larger than the change. A smaller nudge makes it worse.
    #!: return False
