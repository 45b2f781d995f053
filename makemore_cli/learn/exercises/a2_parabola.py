"""a2: the derivative of a parabola, by hand

    f(x) = 3x² - 4x + 5

The rules: the derivative of xᵏ is k·xᵏ⁻¹, a constant factor stays, the derivative of a
sum is the sum of the derivatives, and that of a constant is 0.

Arguments:

    x  a number

Write derivative, the slope of f at x. (It is 14 at x = 3, and 0 at x = 2/3, the lowest
point of the parabola.)
"""


def derivative(x):
    return 0.0  # not written yet
    #: return 6 * x - 4
    #! The constant 5 does not change with x, so it adds nothing to the slope.
    #!: return 6 * x - 4 + 5
    #! The derivative of x² is 2x, so that of 3x² is 6x.
    #!: return 3 * x - 4
    #! The derivative of -4x is -4.
    #!: return 6 * x
    #! The derivative of -4x is -4, whatever x is.
    #!: return 6 * x - 4 * x
    #! The derivative of x² is 2x; the power falls by one.
    #!: return 6 * x**2 - 4
    #! This is the function itself, not its slope.
    #!: return 3 * x**2 - 4 * x + 5
