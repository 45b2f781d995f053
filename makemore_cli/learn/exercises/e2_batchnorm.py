"""e2: batchnorm in one expression

    hpreact = bngain·bnraw + bnbias,   bnraw = (hprebn - mean) · bnvar_inv

where mean and variance are those of each column, and the variance divides by n - 1.
The gradient goes back directly, through the mean, and through the variance. If you work
it out on paper, all three together are one expression for each column:

    bngain·bnvar_inv/n · (n·dhpreact - Σ dhpreact - n/(n-1)·bnraw·Σ (dhpreact·bnraw))

where the sums go over the n examples.

Arguments:

    bngain     (1, H)
    bnvar_inv  (1, H)  1 / the standard deviation
    bnraw      (n, H)  the normalised values
    dhpreact   (n, H)

Write dhprebn, (n, H).
"""

import torch


def dhprebn(bngain, bnvar_inv, bnraw, dhpreact):
    return torch.zeros_like(bnraw)  # not written yet
    #: n = len(bnraw)
    #: sums = dhpreact.sum(0, keepdim=True) + n / (n - 1) * bnraw * (dhpreact * bnraw).sum(0, keepdim=True)
    #: return bngain * bnvar_inv / n * (n * dhpreact - sums)
    #! Bessel's factor n/(n - 1) is missing: the variance divides by n - 1.
    #!: n = len(bnraw)
    #!: sums = dhpreact.sum(0, keepdim=True) + bnraw * (dhpreact * bnraw).sum(0, keepdim=True)
    #!: return bngain * bnvar_inv / n * (n * dhpreact - sums)
    #! The gain is missing: the gradient goes back through bngain·bnraw first.
    #!: n = len(bnraw)
    #!: sums = dhpreact.sum(0, keepdim=True) + n / (n - 1) * bnraw * (dhpreact * bnraw).sum(0, keepdim=True)
    #!: return bnvar_inv / n * (n * dhpreact - sums)
    #! The part through the mean, Σ dhpreact, is missing.
    #!: n = len(bnraw)
    #!: sums = n / (n - 1) * bnraw * (dhpreact * bnraw).sum(0, keepdim=True)
    #!: return bngain * bnvar_inv / n * (n * dhpreact - sums)
    #! The part through the variance is missing.
    #!: n = len(bnraw)
    #!: return bngain * bnvar_inv / n * (n * dhpreact - dhpreact.sum(0, keepdim=True))
    #! The sums go over the examples, dim=0; these go over the hidden units.
    #!: n = len(bnraw)
    #!: sums = dhpreact.sum(1, keepdim=True) + n / (n - 1) * bnraw * (dhpreact * bnraw).sum(1, keepdim=True)
    #!: return bngain * bnvar_inv / n * (n * dhpreact - sums)
    #! The division by n is missing: the factor in front is bngain·bnvar_inv/n.
    #!: n = len(bnraw)
    #!: sums = dhpreact.sum(0, keepdim=True) + n / (n - 1) * bnraw * (dhpreact * bnraw).sum(0, keepdim=True)
    #!: return bngain * bnvar_inv * (n * dhpreact - sums)
