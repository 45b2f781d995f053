"""The kernel's decorators, exp and tanh, and operations on one strip of numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

from makemore_cli.backprop.kernel.intrinsics import Pointer, strip_length, typed

_inner = partial(njit, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
# Sums keep their order. Only a multiplication and the addition of its result become one instruction.
exact = _inner(fastmath={"contract"})
# For sums along a strip, which must be reordered to be vectorised.
any_order = _inner(fastmath={"contract", "reassoc", "nsz"})

# For float32 and float64: the types of real and whole numbers; exp's lowest argument, where 2^m becomes zero, and its
# highest; log(2) in so few bits that m times it is exact, and the remainder; the exponent's bias, and its lowest bit.
_FORMATS: dict[Any, tuple[Any, Any, float, float, float, float, int, int]] = {
    types.float32: (np.float32, np.int32, -88.0, 88.0, 0.693359375, -2.12194440054690583e-4, 127, 23),
    types.float64: (np.float64, np.int64, -709.0, 709.0, 0.693145751953125, 1.42860682030941723e-6, 1023, 52),
}


def split_exp(x: Any) -> Any:
    """2^m and e^r − 1, for e^x = 2^m · e^r with |r| ≤ log(2)/2, in compiled code. NaN stays NaN.

    The Taylor polynomial of degree 7 is accurate to float32's rounding, that of degree 13 to float64's.
    """
    raise NotImplementedError


@overload(split_exp, strict=False)  # the type hints differ
def _split_exp(x: types.Type) -> Callable[[Any], Any]:
    real, whole, low, high, log_2, log_2_rest, bias, shift = _FORMATS[x]
    lowest, highest, log2_e = real(low), real(high), real(math.log2(math.e))
    log_2, log_2_rest = real(log_2), real(log_2_rest)
    _, _, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13 = (real(1 / math.factorial(k)) for k in range(14))

    def short(r: Any, r2: Any) -> Any:
        return c6 + r * c7

    def long(r: Any, r2: Any) -> Any:
        return c6 + r * c7 + r2 * (c8 + r * c9 + r2 * (c10 + r * c11 + r2 * (c12 + r * c13)))

    tail = exact(short if real is np.float32 else long)

    def split(x: Any) -> Any:
        x = lowest if x < lowest else x  # not min and max, which lose NaN
        x = highest if x > highest else x
        m = np.rint(x * log2_e)
        r = x - m * log_2 - m * log_2_rest
        r2 = r * r
        power = whole((whole(m) + bias) << shift).view(real)
        return power, r + r2 * (c2 + r * c3 + r2 * (c4 + r * c5 + r2 * tail(r, r2)))

    return split


@exact
def exp(x: Any) -> Any:
    """e^x; zero for an x so low that e^x is not a normal number."""
    power, expm1 = split_exp(x)
    return power + power * expm1


@exact
def tanh(x: Any) -> Any:
    """Computed as u / (u + 2) with u = e^2x − 1, which is accurate for small x too."""
    power, expm1 = split_exp(x + x)
    u = power * expm1 + (power - typed(x, 1))
    return u / (u + typed(x, 2))


@exact
def clear(out: Pointer) -> None:
    """Set a strip to zero."""
    for j in range(strip_length(out)):
        out[j] = 0


@exact
def put(out: Pointer, offset: int, row: Pointer) -> None:
    """Write a strip to memory."""
    for j in range(strip_length(out)):
        out[offset + j] = row[j]


@any_order
def total(a: Pointer) -> Any:
    """The sum of a strip."""
    s = a[0]
    for j in range(1, strip_length(a)):
        s += a[j]
    return s


@any_order
def largest(a: Pointer) -> Any:
    """The largest number of a strip. It may or may not be NaN if one of them is."""
    s = a[0]
    for j in range(1, strip_length(a)):
        s = max(s, a[j])
    return s
