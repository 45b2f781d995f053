"""e1: cross-entropy in one expression

The loss of a batch is the mean of -log(probability of the target). If you work it out on
paper, the gradient through all eight lines from the logits to the loss is short:

    for the target   (p - 1) / n
    for the others    p / n          where p = softmax(logits)

Each row of this gradient sums to zero: the target is pulled up by as much as the others are pushed down.

Arguments:

    logits  (n, V)
    Y       (n,)    the targets, whole numbers below V

Write dlogits, the gradient of the loss with respect to the logits, (n, V).
"""

import torch
import torch.nn.functional as F


def dlogits(logits, Y):
    return torch.zeros_like(logits)  # not written yet
    #: n = len(Y)
    #: return (F.softmax(logits, 1) - F.one_hot(Y, logits.shape[1])) / n
    #! The loss is a mean over n examples: divide by n.
    #!: return F.softmax(logits, 1) - F.one_hot(Y, logits.shape[1])
    #! The sign is wrong: the gradient is p minus 1 at the target, so that descending raises the target's logit.
    #!: return (F.one_hot(Y, logits.shape[1]) - F.softmax(logits, 1)) / len(Y)
    #! The 1 at the target is not subtracted yet.
    #!: return F.softmax(logits, 1) / len(Y)
    #! Softmax must normalise each row, dim=1; this normalises each column.
    #!: return (F.softmax(logits, 0) - F.one_hot(Y, logits.shape[1])) / len(Y)
    #! This divides by the number of all entries; the mean is over the n examples only.
    #!: return (F.softmax(logits, 1) - F.one_hot(Y, logits.shape[1])) / logits.numel()
