"""g8: Is anything missing?

    mean = x.mean(0, keepdim=True)
    var = ((x - mean) ** 2).sum(0, keepdim=True) / (n - 1)
    xhat = (x - mean) * (var + 1e-5) ** -0.5

A check says that dx is wrong. Somebody thinks that dmean lacks a term,
-2·Σ(x - mean)/(n - 1)·dvar. Is that the mistake?

Arguments:

    n      a number
    x      (n, H)
    mean   (1, H)
    var    (1, H)
    dxhat  (n, H)

Repair the function, and then delete the comment `not written yet`.
"""

import torch
import torch.nn.functional as F


def backward(n, x, mean, var, dxhat):
    # not written yet
    dvar = -0.5 * (var + 1e-5) ** -0.5 * ((x - mean) * dxhat).sum(0, keepdim=True)
    dmean = (-(var + 1e-5) ** -0.5 * dxhat).sum(0, keepdim=True)
    dx = dxhat * (var + 1e-5) ** -0.5 + 2 / (n - 1) * (x - mean) * dvar + dmean / n
    return dx
    #: dvar = -0.5 * (var + 1e-5) ** -1.5 * ((x - mean) * dxhat).sum(0, keepdim=True)
    #: dmean = (-(var + 1e-5) ** -0.5 * dxhat).sum(0, keepdim=True)
    #: dx = dxhat * (var + 1e-5) ** -0.5 + 2 / (n - 1) * (x - mean) * dvar + dmean / n
    #: return dx
    #! dvar is still wrong: the derivative of v^(-1/2) is -1/2·v^(-3/2). (The term added to dmean is zero, so it changes nothing.)
    #!: dvar = -0.5 * (var + 1e-5) ** -0.5 * ((x - mean) * dxhat).sum(0, keepdim=True)
    #!: dmean = (-(var + 1e-5) ** -0.5 * dxhat).sum(0, keepdim=True)
    #!: dx = dxhat * (var + 1e-5) ** -0.5 + 2 / (n - 1) * (x - mean) * dvar + dmean / n
    #!: return dx
    #! The exponent is right now, but the factor -1/2 is not: the derivative of v^(-1/2) is -1/2·v^(-3/2).
    #!: dvar = -((var + 1e-5) ** -1.5) * ((x - mean) * dxhat).sum(0, keepdim=True)
    #!: dmean = (-(var + 1e-5) ** -0.5 * dxhat).sum(0, keepdim=True)
    #!: dx = dxhat * (var + 1e-5) ** -0.5 + 2 / (n - 1) * (x - mean) * dvar + dmean / n
    #!: return dx
