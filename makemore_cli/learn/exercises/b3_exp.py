"""b3: exp passes its gradient on

    out = exp(x)

exp is its own derivative.

Arguments:

    x     a number
    out   exp(x)
    dout  the gradient of out

Write exp_backward, the gradient of x.
"""


def exp_backward(x, out, dout):
    return 0.0  # not written yet
    #: return out * dout
    #! The local derivative is exp(x), which is out; this uses the input x.
    #!: return x * dout
    #! out is exp(x) already; this takes exp of it once more.
    #!: import math; return math.exp(out) * dout
    #! This is the local derivative; the chain rule multiplies it by dout.
    #!: return out
    #! dout is passed on unchanged: the local derivative, out, is missing.
    #!: return dout
