"""b2: tanh passes its gradient on

    out = tanh(x)

The derivative of tanh is 1 - tanh². The forward pass has computed out already, so the
backward pass can use it.

      1 |          ------
        |       /
      0 +------/--------  x        steep in the middle, flat at both ends
        |     /
     -1 |-----

Arguments:

    x     a number
    out   tanh(x)
    dout  the gradient of out

Write tanh_backward, the gradient of x.
"""


def tanh_backward(x, out, dout):
    return 0.0  # not written yet
    #: return (1 - out**2) * dout
    #! The derivative 1 - tanh² needs the output of tanh, which is out, not its input x.
    #!: return (1 - x**2) * dout
    #! out is tanh(x) already; this takes the tanh of it once more.
    #!: import math; return (1 - math.tanh(out) ** 2) * dout
    #! The parentheses around 1 - out² are missing, so dout multiplies only the 1.
    #!: return dout * 1 - out**2
    #! The square is out**2; out * 2 is twice out.
    #!: return (1 - out * 2) * dout
    #! The square is out**2; this has out itself.
    #!: return (1 - out) * dout
    #! This is the local derivative; the chain rule multiplies it by dout.
    #!: return 1 - out**2
