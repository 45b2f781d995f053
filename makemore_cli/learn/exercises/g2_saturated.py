"""g2: Right near zero

    h = tanh(hpreact),   logits = h @ W2 + b2

The check passed with small weights. With larger ones, where tanh is flat, the gradients
are far too large, and even have the wrong sign.

Arguments:

    hpreact  (n, H)
    h        (n, H)
    W2       (H, V)
    dlogits  (n, V)

Repair the function, and then delete the comment `not written yet`.
"""

import torch
import torch.nn.functional as F


def backward(hpreact, h, W2, dlogits):
    # not written yet
    dh = dlogits @ W2.T
    dhpreact = (1 - hpreact**2) * dh
    return dh, dhpreact
    #: dh = dlogits @ W2.T
    #: dhpreact = (1 - h**2) * dh
    #: return dh, dhpreact
    #! Nothing has been changed: for which hpreact is 1 - hpreact² negative? The slope of tanh never is.
    #!: dh = dlogits @ W2.T
    #!: dhpreact = (1 - hpreact**2) * dh
    #!: return dh, dhpreact
    #! h is the result of tanh already; its slope is 1 - h².
    #!: dh = dlogits @ W2.T
    #!: dhpreact = (1 - torch.tanh(h)**2) * dh
    #!: return dh, dhpreact
