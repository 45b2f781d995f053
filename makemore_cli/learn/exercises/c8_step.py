"""c8: one step of gradient descent

The gradient points uphill, so the parameters take a small step against it.

Arguments:

    W   (D, H)  the weights
    dW  (D, H)  the gradient of the loss with respect to W
    lr          the learning rate, a number

Write step, which returns the new weights, and leaves W itself as it is. (All weights 2,
all gradients 4, and a learning rate of 0.1 give 1.6.)
"""

import torch


def step(W, dW, lr):
    return torch.zeros_like(W)  # not written yet
    #: return W - lr * dW
    #! This goes uphill: subtract lr times the gradient.
    #!: return W + lr * dW
    #! The learning rate is missing.
    #!: return W - dW
    #! This is the change; subtract it from W.
    #!: return lr * dW
    #! The learning rate scales the gradient only, not W.
    #!: return lr * (W - dW)
