"""b1: a product passes its gradient on

    out = a·b

dout is the gradient of out: how much the final result changes per unit change of out.
The chain rule multiplies it by the local derivative of out with respect to each factor.

    a ──┐
        × ── out ── … ── the final result
    b ──┘
             ◀── dout

Arguments:

    a, b  numbers
    dout  the gradient of out

Write product_backward, which returns the gradients of a and of b.
"""


def product_backward(a, b, dout):
    return 0.0, 0.0  # not written yet
    #: return b * dout, a * dout
    #! In a product, the local derivative with respect to a factor is the other factor.
    #!: return a * dout, b * dout
    #! These are the local derivatives; the chain rule multiplies them by dout.
    #!: return b, a
    #! A sum would pass dout on unchanged; a product multiplies it by the other factor.
    #!: return dout, dout
