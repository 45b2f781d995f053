"""g3: Half of it

    counts_sum = counts.sum(1, keepdim=True)
    counts_sum_inv = counts_sum**-1
    probs = counts * counts_sum_inv

The network does not learn its targets.

Arguments:

    counts          (n, V)
    counts_sum      (n, 1)
    counts_sum_inv  (n, 1)
    dprobs          (n, V)

Repair the function, and then delete the comment `not written yet`.
"""

import torch
import torch.nn.functional as F


def backward(counts, counts_sum, counts_sum_inv, dprobs):
    # not written yet
    dcounts_sum_inv = (counts * dprobs).sum(1, keepdim=True)
    dcounts = counts_sum_inv * dprobs
    dcounts_sum = -counts_sum**-2 * dcounts_sum_inv
    dcounts = torch.ones_like(counts) * dcounts_sum
    return dcounts
    #: dcounts_sum_inv = (counts * dprobs).sum(1, keepdim=True)
    #: dcounts = counts_sum_inv * dprobs
    #: dcounts_sum = -counts_sum**-2 * dcounts_sum_inv
    #: dcounts += torch.ones_like(counts) * dcounts_sum
    #: return dcounts
    #! Nothing has been changed: counts is used twice. What became of the first contribution?
    #!: dcounts_sum_inv = (counts * dprobs).sum(1, keepdim=True)
    #!: dcounts = counts_sum_inv * dprobs
    #!: dcounts_sum = -counts_sum**-2 * dcounts_sum_inv
    #!: dcounts = torch.ones_like(counts) * dcounts_sum
    #!: return dcounts
    #! Both contributions are there, but the second must be added, not subtracted.
    #!: dcounts_sum_inv = (counts * dprobs).sum(1, keepdim=True)
    #!: dcounts = counts_sum_inv * dprobs
    #!: dcounts_sum = -counts_sum**-2 * dcounts_sum_inv
    #!: dcounts -= torch.ones_like(counts) * dcounts_sum
    #!: return dcounts
