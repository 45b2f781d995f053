"""Matrix products, transposition and sums of rows.

Separate loops read, compute and write numbers. So the compiler knows that no write changes a number that is yet to be
read, and vectorises each loop.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from makemore_cli.backprop.kernel.arithmetic import clear, exact, put
from makemore_cli.backprop.kernel.intrinsics import Pointer, square, square_bits, square_side, strip, strip_length
from makemore_cli.backprop.kernel.layout import ROWS

DEPTH = 256  # products summed in one block, which keeps rounding errors small, and the factors in the cache
FEW = 32  # rows summed in one block, which keeps rounding errors small


class Matrix(NamedTuple):
    """The start of a matrix, and the distances between its rows and between its columns, in numbers."""

    p: Pointer
    row: int
    column: int


@exact
def matrix(p: Pointer, ld: int) -> Matrix:
    """The matrix whose rows are `ld` numbers apart."""
    return Matrix(p, np.int64(ld), np.int64(1))


@exact
def transposed(A: Matrix) -> Matrix:
    """The same numbers as the transposed matrix."""
    return Matrix(A.p, A.column, A.row)


@exact
def product(out: Matrix, A: Matrix, B: Matrix, M: int, K: int, N: int) -> None:
    """Set out (M, N) to A (M, K) @ B (K, N). M and N are rounded up as in `add_product`."""
    add_product(np.bool_(False), out, A, B, M, K, N)


@exact
def add_product(add: Any, out: Matrix, A: Matrix, B: Matrix, M: int, K: int, N: int) -> None:
    """Add A (M, K) @ B (K, N) to out (M, N) if `add`, and otherwise set out to it. Only A may be transposed.

    ROWS rows, that is four, are computed at a time. So M is rounded up to a multiple of ROWS, and N to whole strips.
    Numbers beyond M and N become zero, or are never read.
    """
    row0, row1, row2, row3 = strip(out.p), strip(out.p), strip(out.p), strip(out.p)
    for first in range(0, K, DEPTH):
        last = min(first + DEPTH, K)
        for c in range(0, N, strip_length(out.p)):
            for i in range(0, M, ROWS):
                clear(row0)
                clear(row1)
                clear(row2)
                clear(row3)
                for k in range(first, last):
                    a, b = i * A.row + k * A.column, k * B.row + c
                    a0, a1, a2, a3 = A.p[a], A.p[a + A.row], A.p[a + 2 * A.row], A.p[a + 3 * A.row]
                    for j in range(strip_length(out.p)):
                        row0[j] += a0 * B.p[b + j]
                        row1[j] += a1 * B.p[b + j]
                        row2[j] += a2 * B.p[b + j]
                        row3[j] += a3 * B.p[b + j]
                more = add or first > 0
                put_or_add(out.p, i * out.row + c, row0, more)
                put_or_add(out.p, (i + 1) * out.row + c, row1, more)
                put_or_add(out.p, (i + 2) * out.row + c, row2, more)
                put_or_add(out.p, (i + 3) * out.row + c, row3, more)


@exact
def put_or_add(out: Pointer, offset: int, row: Pointer, add: Any) -> None:
    """Write a strip to memory, or add it to what is there."""
    if add:
        for j in range(strip_length(out)):
            row[j] += out[offset + j]
    put(out, offset, row)


@exact
def transpose(out: Matrix, A: Matrix, M: int, N: int) -> None:
    """Set out (N, M) to A (M, N) transposed, in square blocks; M and N are rounded up to whole blocks.

    The index of a number in a square consists of the bits of its row and then those of its column. Interleaving the
    first half of the square with the second rotates these bits by one. After as many rotations as a column has bits,
    row and column are exchanged.
    """
    a, b = square(out.p), square(out.p)
    numbers = square_side(out.p) * square_side(out.p)
    for i in range(0, M, square_side(out.p)):
        for j in range(0, N, square_side(out.p)):
            for r in range(square_side(out.p)):
                for c in range(square_side(out.p)):
                    a[square_side(out.p) * r + c] = A.p[(i + r) * A.row + j + c]
            for _ in range(square_bits(out.p)):
                for c in range(numbers // 2):
                    b[2 * c] = a[c]
                    b[2 * c + 1] = a[c + numbers // 2]
                for c in range(numbers):
                    a[c] = b[c]
            for r in range(square_side(out.p)):
                for c in range(square_side(out.p)):
                    out.p[(j + r) * out.row + i + c] = a[square_side(out.p) * r + c]


@exact
def sum_rows(out: Pointer, a: Matrix, rows: int, N: int) -> None:
    """Set out (N,) to the sum of the rows of a (rows, N)."""
    total, few = strip(out), strip(out)
    for c in range(0, N, strip_length(out)):
        clear(total)
        for first in range(0, rows, FEW):
            clear(few)
            for i in range(first, min(first + FEW, rows)):
                for j in range(strip_length(out)):
                    few[j] += a.p[i * a.row + c + j]
            for j in range(strip_length(out)):
                total[j] += few[j]
        put(out, c, total)
