"""a4: the chain rule

A car is twice as fast as a bicycle, and a bicycle four times as fast as a walker. So a
car is 2·4 = 8 times as fast as a walker: slopes along a path are multiplied.

    x ──┬── u = k·x ── y = u² ──┬── z = y + x
        └───────────────────────┘

x reaches z along two paths, one of them direct. The slopes of the paths are added.

Arguments:

    x  a number
    k  a number

Write slope, the slope of z with respect to x. Start from the end: dz/dy, then dy/du,
then du/dx.
"""


def slope(x, k):
    return 0.0  # not written yet
    #: return 1.0 * (2 * (k * x)) * k + 1.0
    #! x also reaches z directly; that path's slope, 1, is added.
    #!: return 2 * (k * x) * k
    #! Along the long path, u changes k times as fast as x: the factor k of du/dx is missing.
    #!: return 2 * (k * x) + 1.0
    #! Slopes along one path are multiplied, not added.
    #!: return 1.0 + 2 * (k * x) + k
