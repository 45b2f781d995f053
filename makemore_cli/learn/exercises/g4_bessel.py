"""g4: Three per cent

    bnvar = (bndiff**2).sum(0, keepdim=True) / (n - 1)
    bnvar_inv = (bnvar + 1e-5) ** -0.5
    bnraw = bndiff * bnvar_inv

It trains well. Only a careful check finds a difference of about 1/n.

Arguments:

    n          a number
    bndiff     (n, H)
    bnvar      (1, H)
    bnvar_inv  (1, H)
    dbnraw     (n, H)

Repair the function, and then delete the comment `not written yet`.
"""

import torch
import torch.nn.functional as F


def backward(n, bndiff, bnvar, bnvar_inv, dbnraw):
    # not written yet
    dbndiff = bnvar_inv * dbnraw
    dbnvar_inv = (bndiff * dbnraw).sum(0, keepdim=True)
    dbnvar = -0.5 * (bnvar + 1e-5) ** -1.5 * dbnvar_inv
    dbndiff2 = 1.0 / n * torch.ones_like(bndiff) * dbnvar
    dbndiff += 2 * bndiff * dbndiff2
    return dbndiff
    #: dbndiff = bnvar_inv * dbnraw
    #: dbnvar_inv = (bndiff * dbnraw).sum(0, keepdim=True)
    #: dbnvar = -0.5 * (bnvar + 1e-5) ** -1.5 * dbnvar_inv
    #: dbndiff2 = 1.0 / (n - 1) * torch.ones_like(bndiff) * dbnvar
    #: dbndiff += 2 * bndiff * dbndiff2
    #: return dbndiff
    #! Nothing has been changed: compare each backward line with its forward line.
    #!: dbndiff = bnvar_inv * dbnraw
    #!: dbnvar_inv = (bndiff * dbnraw).sum(0, keepdim=True)
    #!: dbnvar = -0.5 * (bnvar + 1e-5) ** -1.5 * dbnvar_inv
    #!: dbndiff2 = 1.0 / n * torch.ones_like(bndiff) * dbnvar
    #!: dbndiff += 2 * bndiff * dbndiff2
    #!: return dbndiff
    #! The sum of squares is divided by n - 1 in the forward pass; the backward line has another factor.
    #!: dbndiff = bnvar_inv * dbnraw
    #!: dbnvar_inv = (bndiff * dbnraw).sum(0, keepdim=True)
    #!: dbnvar = -0.5 * (bnvar + 1e-5) ** -1.5 * dbnvar_inv
    #!: dbndiff2 = 1.0 * torch.ones_like(bndiff) * dbnvar
    #!: dbndiff += 2 * bndiff * dbndiff2
    #!: return dbndiff
