"""Matrix products, transposition and sums of rows.

Numbers are read, worked on and written in loops of their own, so that no
write can change what is yet to be read, and each loop becomes vector instructions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from makemore_cli.backprop.kernel.arithmetic import clear, exact, put
from makemore_cli.backprop.kernel.intrinsics import Pointer, lane, local, local_block, side, side_bits

DEPTH = 256  # products that are summed before they are added to the others, for precision and for the cache
FEW = 32  # rows that are summed before they are added to the others


class Matrix(NamedTuple):
    """Where a matrix begins, and the distances of its rows and of its columns, in numbers."""

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
def product(out: Matrix, A: Matrix, W: Matrix, M: int, K: int, N: int) -> None:
    """Set out (M, N) to A (M, K) @ W (K, N). Only A may be transposed; `add_product` says what is rounded up."""
    add_product(np.bool_(False), out, A, W, M, K, N)


@exact
def add_product(add: Any, out: Matrix, A: Matrix, W: Matrix, M: int, K: int, N: int) -> None:
    """Add A (M, K) @ W (K, N) to out (M, N), or set it to that.

    Four rows are done at a time: so M is rounded up to a multiple of four, and both A and out must have these rows.
    N is rounded up to whole lanes.
    """
    row0, row1, row2, row3 = local(out.p), local(out.p), local(out.p), local(out.p)
    for first in range(0, K, DEPTH):
        last = min(first + DEPTH, K)
        for c in range(0, N, lane(out.p)):
            for i in range(0, M, 4):
                clear(row0)
                clear(row1)
                clear(row2)
                clear(row3)
                for k in range(first, last):
                    a, w = i * A.row + k * A.column, k * W.row + c
                    a0, a1, a2, a3 = A.p[a], A.p[a + A.row], A.p[a + 2 * A.row], A.p[a + 3 * A.row]
                    for j in range(lane(out.p)):
                        row0[j] += a0 * W.p[w + j]
                        row1[j] += a1 * W.p[w + j]
                        row2[j] += a2 * W.p[w + j]
                        row3[j] += a3 * W.p[w + j]
                more = add or first > 0
                put_lane(out.p, i * out.row + c, row0, more)
                put_lane(out.p, (i + 1) * out.row + c, row1, more)
                put_lane(out.p, (i + 2) * out.row + c, row2, more)
                put_lane(out.p, (i + 3) * out.row + c, row3, more)


@exact
def put_lane(out: Pointer, place: int, row: Pointer, add: Any) -> None:
    """Put a lane into `out`, or add it to what is there."""
    if add:
        for j in range(lane(out)):
            row[j] += out[place + j]
    put(out, place, row)


@exact
def transpose(out: Matrix, A: Matrix, M: int, N: int) -> None:
    """Set out (N, M) to A (M, N) transposed, in square blocks; M and N are rounded up to whole ones.

    To shuffle the two halves of a block of 8 × 8 = 2⁶ numbers moves each by one bit of its place. After three times,
    the bits of the row and of the column have changed places.
    """
    a, b = local_block(out.p), local_block(out.p)
    numbers = side(out.p) * side(out.p)
    for i in range(0, M, side(out.p)):
        for j in range(0, N, side(out.p)):
            for r in range(side(out.p)):
                for c in range(side(out.p)):
                    a[side(out.p) * r + c] = A.p[(i + r) * A.row + j + c]
            for _ in range(side_bits(out.p)):
                for c in range(numbers // 2):
                    b[2 * c] = a[c]
                    b[2 * c + 1] = a[c + numbers // 2]
                for c in range(numbers):
                    a[c] = b[c]
            for r in range(side(out.p)):
                for c in range(side(out.p)):
                    out.p[(j + r) * out.row + i + c] = a[side(out.p) * r + c]


@exact
def sum_rows(out: Pointer, a: Matrix, rows: int, N: int) -> None:
    """Set out (N,) to the sum of the rows of a (rows, N)."""
    total, few = local(out), local(out)
    for c in range(0, N, lane(out)):
        clear(total)
        for first in range(0, rows, FEW):
            clear(few)
            for i in range(first, min(first + FEW, rows)):
                for j in range(lane(out)):
                    few[j] += a.p[i * a.row + c + j]
            for j in range(lane(out)):
                total[j] += few[j]
        put(out, c, total)
