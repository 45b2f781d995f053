"""a3: one function of three numbers, and its three slopes

    d = a·b + c

Nudge one of the three, and leave the others as they are. How much does d change?

    a ──┐
        × ──┐
    b ──┘   + ── d
    c ──────┘

Arguments:

    a, b, c  numbers

Write slopes, which returns the three slopes of d: with respect to a, to b, and to c.
"""


def slopes(a, b, c):
    return 0.0, 0.0, 0.0  # not written yet
    #: return b, a, 1.0
    #! In a product, each factor's slope is the other factor.
    #!: return a, b, 1.0
    #! c is added as it is, so d changes by as much as c does: its slope is 1.
    #!: return b, a, c
    #! c is added as it is, so d changes by as much as c does: its slope is 1.
    #!: return b, a, 0.0
