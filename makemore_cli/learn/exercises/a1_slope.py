"""a1: the slope of a function, by nudging

    f(x)
     |            .
     |         .  | f(x + h) - f(x)
     |     .      |
     |  .---------'
     |      h
     +----------------- x

The derivative of f at x is how much f(x) changes, per unit, if x changes a little.
Nudge x by a small h, upwards only, and see how much the result changes.

Arguments:

    f  a function of one number
    x  a number
    h  the nudge, such as 0.1

Write slope, the change of f divided by the change of x.
"""


def slope(f, x, h):
    return 0.0  # not written yet
    #: return (f(x + h) - f(x)) / h
    #! The change of f must be divided by the change of x, which is h.
    #!: return f(x + h) - f(x)
    #! The sign is wrong: take f at the new place minus f at the old one.
    #!: return (f(x) - f(x + h)) / h
    #! This divides the value f(x + h) by h; subtract f(x) from it first.
    #!: return f(x + h) / h
