"""b5: a number that is used twice

    d = a·b        e = a + b        f = d·e

       ┌──▶ d = a·b ──┐
    a ─┤              × ── f
       └──▶ e = a + b ┘
    (and b the same)

a reaches f through d and through e. Each use contributes to its gradient, and the
contributions are added. (At a = -2, b = 3 the gradients are -3 and -8.)

Arguments:

    a, b  numbers

Write gradients, which returns the gradients of f with respect to a and to b.
"""


def gradients(a, b):
    return 0.0, 0.0  # not written yet
    #: d, e = a * b, a + b
    #: dd, de = e, d
    #: return b * dd + 1.0 * de, a * dd + 1.0 * de
    #! Only the use through e counts here: the second contribution has overwritten the first. Add them.
    #!: d, e = a * b, a + b
    #!: return d, d
    #! Only the use through d counts here: the one through e is missing. Add them.
    #!: d, e = a * b, a + b
    #!: return b * e, a * e
    #! The gradient of a factor of f is the other factor: dd is e, and de is d.
    #!: d, e = a * b, a + b
    #!: return b * d + e, a * d + e
