"""g5: Two names

    bnmeani = hprebn.mean(0, keepdim=True)
    bndiff = hprebn - bnmeani

dhprebn is right. But after it has been computed, dbndiff is wrong, although it came in
right.

Arguments:

    n        a number
    dbndiff  (n, H)

Repair the function, and then delete the comment `not written yet`.
"""

import torch
import torch.nn.functional as F


def backward(n, dbndiff):
    # not written yet
    dhprebn = dbndiff
    dbnmeani = -dbndiff.sum(0, keepdim=True)
    dhprebn += dbnmeani / n * torch.ones_like(dbndiff)
    return dbndiff, dbnmeani, dhprebn
    #: dhprebn = dbndiff.clone()
    #: dbnmeani = -dbndiff.sum(0, keepdim=True)
    #: dhprebn += dbnmeani / n * torch.ones_like(dbndiff)
    #: return dbndiff, dbnmeani, dhprebn
    #! dbndiff is changed: after =, dhprebn is the same tensor, and += changes it. A copy must be made before that.
    #!: dhprebn = dbndiff
    #!: dbnmeani = -dbndiff.sum(0, keepdim=True)
    #!: dhprebn += dbnmeani / n * torch.ones_like(dbndiff)
    #!: return dbndiff, dbnmeani, dhprebn
    #! dbndiff is right now, but dhprebn lacks the factor 1/n of the mean.
    #!: dhprebn = dbndiff.clone()
    #!: dbnmeani = -dbndiff.sum(0, keepdim=True)
    #!: dhprebn += dbnmeani * torch.ones_like(dbndiff)
    #!: return dbndiff, dbnmeani, dhprebn
