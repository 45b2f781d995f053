"""b4: a power passes its gradient on

    out = a**k          k is a constant

A division a/b is a·b**-1, so this also covers division.

Arguments:

    a     a number above 0
    k     a number, such as 2, 0.5 or -1
    dout  the gradient of out

Write power_backward, the gradient of a.
"""


def power_backward(a, k, dout):
    return 0.0  # not written yet
    #: return k * a ** (k - 1) * dout
    #! The exponent falls by one: the derivative of aᵏ is k·aᵏ⁻¹.
    #!: return k * a**k * dout
    #! The factor k is missing: the derivative of aᵏ is k·aᵏ⁻¹.
    #!: return a ** (k - 1) * dout
    #! In Python, ** binds more strongly than -: a**k-1 is (a**k) - 1, so write a ** (k - 1).
    #!: return k * a**k - 1 * dout
    #! This is the local derivative; the chain rule multiplies it by dout.
    #!: return k * a ** (k - 1)
    #! In Python, ** binds more strongly than -: a**k-1 is (a**k) - 1, so write a ** (k - 1).
    #!: return (k * a**k - 1) * dout
