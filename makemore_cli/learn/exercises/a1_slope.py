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

Write slope, the change of f divided by the change of x. Replace the line that is marked
"not written yet".
"""


def slope(f, x, h):
    return 0.0  # not written yet
    #: return (f(x + h) - f(x)) / h
    #! The change of f must be divided by the change of x, which is h.
    #!: return f(x + h) - f(x)
    #! The sign is wrong: take f at the new place minus f at the old one.
    #!: return (f(x) - f(x + h)) / h
    #! This nudges x both ways. That is more exact, but the exercise asks for the upward nudge: f(x + h) and f(x).
    #!: return (f(x + h) - f(x - h)) / (2 * h)
    #! This nudges x both ways, so x changes by 2·h. The exercise asks for the upward nudge: f(x + h) and f(x).
    #!: return (f(x + h) - f(x - h)) / h
    #! This nudges x downwards: take f(x + h) minus f(x).
    #!: return (f(x) - f(x - h)) / h
    #! The parentheses around the difference are missing, so only f(x) is divided by h.
    #!: return f(x + h) - f(x) / h
    #! This divides the value f(x + h) by h; subtract f(x) from it first.
    #!: return f(x + h) / h
