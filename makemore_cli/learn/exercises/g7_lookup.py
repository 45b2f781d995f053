"""g7: Twice in one name

    emb = C[X],   embcat = emb.view(n, -1)

The gradient is right for a character that occurs once in a context. It is wrong for one
that occurs twice in the same context.

Arguments:

    C        (V, E)
    X        (n, T)    the characters
    dembcat  (n, T·E)

Repair the function, and then delete the comment `not written yet`.
"""

import torch
import torch.nn.functional as F


def backward(C, X, dembcat):
    # not written yet
    demb = dembcat.view(len(X), X.shape[1], -1)
    dC = torch.zeros_like(C)
    for row in range(len(X)):
        dC[X[row]] += demb[row]
    return dC
    #: demb = dembcat.view(len(X), X.shape[1], -1)
    #: dC = torch.zeros_like(C)
    #: for row in range(len(X)):
    #:     for place in range(X.shape[1]):
    #:         dC[X[row, place]] += demb[row, place]
    #: return dC
    #! Nothing has been changed: what does += do if a row of X has the same character twice?
    #!: demb = dembcat.view(len(X), X.shape[1], -1)
    #!: dC = torch.zeros_like(C)
    #!: for row in range(len(X)):
    #!:     dC[X[row]] += demb[row]
    #!: return dC
    #! = overwrites what other rows have contributed.
    #!: demb = dembcat.view(len(X), X.shape[1], -1)
    #!: dC = torch.zeros_like(C)
    #!: for row in range(len(X)):
    #!:     for place in range(X.shape[1]):
    #!:         dC[X[row, place]] = demb[row, place]
    #!: return dC
