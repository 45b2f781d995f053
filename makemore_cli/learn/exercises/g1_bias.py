"""g1: The bias grows

    y = x @ W + b

b has the shape (H,). After the first b = b - lr * db, the bias was a matrix, and nobody
noticed: everything still broadcasts.

Arguments:

    x   (n, D)
    W   (D, H)
    dy  (n, H)

Repair the function, and then delete the comment `not written yet`.
"""

import torch
import torch.nn.functional as F


def backward(x, W, dy):
    # not written yet
    dW = x.T @ dy
    db = dy
    return dW, db
    #: dW = x.T @ dy
    #: db = dy.sum(0)
    #: return dW, db
    #! Nothing has been changed: which shape does b have, and which one does db have?
    #!: dW = x.T @ dy
    #!: db = dy
    #!: return dW, db
    #! b is added to each example, so db is the sum over the examples, not their mean.
    #!: dW = x.T @ dy
    #!: db = dy.mean(0)
    #!: return dW, db
