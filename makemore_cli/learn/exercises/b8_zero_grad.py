"""b8: gradients accumulate, so set them to zero

A backward pass adds to each parameter's grad. If the gradients are not set to zero
before the next pass, the old ones count again. It is a common mistake, and easy to
miss, since the loss may still fall.

Arguments:

    parameters  a list of objects with .data and .grad, which may hold an old gradient
    backward    a function without arguments, which adds each parameter's gradient to
                its .grad, at the present .data
    lr          the learning rate
    steps       how many steps to do

Write descend: in each step, set all gradients to zero, call backward(), and change each
.data by lr times its gradient, downhill. Return nothing.
"""


def descend(parameters, backward, lr, steps):
    return None  # not written yet
    #: for _ in range(steps):
    #:     for p in parameters:
    #:         p.grad = 0.0
    #:     backward()
    #:     for p in parameters:
    #:         p.data -= lr * p.grad
    #! The gradients are not set to zero, so those of all earlier steps count too.
    #!: for _ in range(steps):
    #!:     backward()
    #!:     for p in parameters:
    #!:         p.data -= lr * p.grad
    #! This goes uphill: subtract lr times the gradient.
    #!: for _ in range(steps):
    #!:     for p in parameters:
    #!:         p.grad = 0.0
    #!:     backward()
    #!:     for p in parameters:
    #!:         p.data += lr * p.grad
    #! No .data has changed: either nothing is updated, or the gradients are set to zero between backward() and the update.
    #!: for _ in range(steps):
    #!:     backward()
    #!:     for p in parameters:
    #!:         p.grad = 0.0
    #!:     for p in parameters:
    #!:         p.data -= lr * p.grad
    #! The gradients are set to zero only once, before the first step.
    #!: for p in parameters:
    #!:     p.grad = 0.0
    #!: for _ in range(steps):
    #!:     backward()
    #!:     for p in parameters:
    #!:         p.data -= lr * p.grad
