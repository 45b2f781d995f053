"""b7: a neuron

    n = x1·w1 + x2·w2 + b        o = tanh(n)

    x1, w1 ──▶ × ──┐
    x2, w2 ──▶ × ──┼──▶ + ── n ── tanh ── o
    b ─────────────┘

Go backwards: first through tanh, then through the sum, which passes the gradient on to
all its terms unchanged, and then through the products.

Arguments:

    x1, x2  the inputs
    w1, w2  the weights
    b       the bias

Write gradients, which returns the gradients of o with respect to w1, w2, and b. (An
input of 0 gives its weight the gradient 0: changing the weight changes nothing.)
"""

import math


def gradients(x1, x2, w1, w2, b):
    return 0.0, 0.0, 0.0  # not written yet
    #: o = math.tanh(x1 * w1 + x2 * w2 + b)
    #: dn = 1 - o**2
    #: return x1 * dn, x2 * dn, dn
    #! The gradient must go back through tanh first: its local derivative, 1 - o², is missing.
    #!: return x1, x2, 1.0
    #! These are the gradients of the inputs; a weight's gradient is dn times its input.
    #!: o = math.tanh(x1 * w1 + x2 * w2 + b)
    #!: dn = 1 - o**2
    #!: return w1 * dn, w2 * dn, dn
    #! tanh's derivative is 1 minus the square of its output o, not of its input n.
    #!: n = x1 * w1 + x2 * w2 + b
    #!: dn = 1 - n**2
    #!: return x1 * dn, x2 * dn, dn
    #! The bias b is missing in n, so o is that of another neuron.
    #!: dn = 1 - math.tanh(x1 * w1 + x2 * w2) ** 2
    #!: return x1 * dn, x2 * dn, dn
    #! The gradient of b must go back through tanh too, so it is dn, not 1.
    #!: dn = 1 - math.tanh(x1 * w1 + x2 * w2 + b) ** 2
    #!: return x1 * dn, x2 * dn, 1.0
    #! The bias is added as it is, so its gradient is dn; no factor b belongs there.
    #!: o = math.tanh(x1 * w1 + x2 * w2 + b)
    #!: dn = 1 - o**2
    #!: return x1 * dn, x2 * dn, b * dn
