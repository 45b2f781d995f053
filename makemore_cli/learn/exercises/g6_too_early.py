"""g6: Too early

    logits = h @ W2 + b2

The function does one training step of the last layer. It returns the updated W2, and the
gradient of h, which is slightly wrong.

Arguments:

    h       (n, H)
    W2      (H, V)
    logits  (n, V)
    Y       (n,)    the targets
    lr      the learning rate

Repair the function, and then delete the comment `not written yet`.
"""

import torch
import torch.nn.functional as F


def step(h, W2, logits, Y, lr):
    # not written yet
    dlogits = (F.softmax(logits, 1) - F.one_hot(Y, logits.shape[1])) / len(Y)
    W2 = W2 - lr * (h.T @ dlogits)
    dh = dlogits @ W2.T
    return W2, dh
    #: dlogits = (F.softmax(logits, 1) - F.one_hot(Y, logits.shape[1])) / len(Y)
    #: dh = dlogits @ W2.T
    #: W2 = W2 - lr * (h.T @ dlogits)
    #: return W2, dh
    #! Nothing has been changed: with which weights were the logits computed?
    #!: dlogits = (F.softmax(logits, 1) - F.one_hot(Y, logits.shape[1])) / len(Y)
    #!: W2 = W2 - lr * (h.T @ dlogits)
    #!: dh = dlogits @ W2.T
    #!: return W2, dh
    #! W2 must still be updated.
    #!: dlogits = (F.softmax(logits, 1) - F.one_hot(Y, logits.shape[1])) / len(Y)
    #!: dh = dlogits @ W2.T
    #!: return W2, dh
