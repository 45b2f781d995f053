"""e3: the embedding's gradient without a loop

    emb = C[X]

A row of C is looked up wherever its character occurs, so its gradient is the sum over
all these places. The lecture adds them up in two nested loops. One call does the same.

Arguments:

    C     (V, E)     the embedding
    X     (n, T)     the characters, whole numbers below V
    demb  (n, T, E)

Write dC, (V, E), without a loop. There are several ways. (F.one_hot gives whole numbers:
convert them with .to(demb.dtype).)
"""

import torch
import torch.nn.functional as F


def dC(C, X, demb):
    return torch.zeros_like(C)  # not written yet
    #: return torch.zeros_like(C).index_add_(0, X.flatten(), demb.flatten(0, 1))
    #! Assigning to result[X], or adding with +=, counts a repeated character only once: use index_add_.
    #!: result = torch.zeros_like(C)
    #!: result[X.flatten()] += demb.flatten(0, 1)
    #!: return result
    #! The sum starts from C; the gradient starts from zero.
    #!: return C.index_add(0, X.flatten(), demb.flatten(0, 1))
    #! Only the first position of each context is counted.
    #!: return torch.zeros_like(C).index_add_(0, X[:, 0], demb[:, 0])
