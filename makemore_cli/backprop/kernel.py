"""The training pass of `fused.py`, compiled for the CPU: the same lines, on plain arrays, without a call of PyTorch's.

Three things make it fast. The hidden unit is the inner, contiguous axis of every matrix (so W2 is kept transposed, as
W2T), and every width is padded with zeros to whole vectors, so no loop has a remainder; padded entries stay zero. All
six matrix products are one of two small kernels, unrolled 4 × 4. And the padded width is known to the compiler: it is
16 · len(lanes), and the length of a tuple is part of its type. So each width is compiled once, and then kept on disk.

Only this file's functions are compiled together, so that a change to any of them makes all of it anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from makemore_cli.system.compiled import Kept  # before Numba, which it keeps from settings in the working folder

# isort: split
import numba
import numpy as np
from numba import njit, prange, types
from numba.core import config, event
from numba.extending import overload
from numpy.typing import NDArray

from makemore_cli.errors import MakemoreError
from makemore_cli.network.model import Sizes
from makemore_cli.system import child_processes as children
from makemore_cli.system.environment import NO_JIT

LANE = 16  # float32 numbers in the widest vector, 64 bytes; every array starts at a multiple of them
NO_LETTER = -1e30  # score of what pads the vocabulary: its probability is exactly zero
BLOCK = 4  # rows that a product takes at a time
FEW = 32  # rows that are summed before they are added to the others
FACTORS = 5  # numbers that a step has of its own
WORTH_A_TABLE = 2  # examples of a batch for each letter, from which on the first layer is looked up
CLIP_EPSILON = 1e-6  # see `optimisers.CLIP_EPSILON`

Array = NDArray[np.floating]
Tokens = NDArray[np.int64]
Lanes = tuple[int, ...]  # as many as there are vectors in a row

# "exact" leaves sums in their order: it only fuses a product with the sum that takes it. "any_order" is for sums along
# a row, which must be split to become vectors.
exact = njit(fastmath={"contract"}, error_model="numpy")
inlined = njit(fastmath={"contract"}, error_model="numpy", inline="always")  # compiles faster
any_order = njit(fastmath=True, error_model="numpy")
shared = njit(fastmath=True, error_model="numpy", parallel=True)


class Weights(NamedTuple):
    """The parameters, or their gradients, padded: V, E and K = T·E to whole blocks, H to whole vectors."""

    C: Array  # (V, E)
    W1: Array  # (K, H)
    b1: Array  # (H,), zero where the network has none
    W2T: Array  # (V, H)
    bngain: Array  # (H,)
    bnbias: Array  # (H,)
    b2: Array  # (V,), padded to whole vectors; the last, since its padding is not zero


class Activations(NamedTuple):
    """The forward pass's tensors that the backward pass reads, and their gradients, padded like the weights."""

    embcat: Array  # (n, K), where the first layer is a product
    tables: Array  # (T, V, H), where it is looked up, and no rows otherwise
    dtables: Array  # (T, V, H)
    bnraw: Array  # (n, H), hprebn before
    bnmean: Array  # (H,)
    bnvar: Array  # (H,)
    bnvar_inv: Array  # (H,)
    rest: Array  # (H,), what rounding has left of the mean
    h: Array  # (n, H)
    dlogits: Array  # (n, V), logits before
    dhprebn: Array  # (n, H), dh and dhpreact before
    dembcat: Array  # (n, K)
    dC: Array  # (V, E), what one place of the context adds  # noqa: N815
    zeros: Array  # (H,)
    sums: Array  # (2, H)


class Rule(NamedTuple):
    """The numbers of an update that are the same in every step."""

    adamw: bool
    nesterov: bool
    momentum: float
    beta1: float
    rest1: float  # 1 − beta1
    beta2: float
    rest2: float
    epsilon: float
    weight_decay: float  # of sgd
    clip: float  # zero for none


SGD = Rule(False, False, 0, 0, 0, 0, 0, 0, 0, 0)


class Memory(NamedTuple):
    """The vectors that an optimiser keeps from step to step, each as long as the weights, or empty."""

    velocity: Array
    m: Array
    v: Array
    average: Array


# --- What the compiler must be told: the width, products, exp and tanh ---


@exact
def padded(lanes: Lanes) -> int:
    """The padded width, a constant to the compiler. An assertion ties it to the arrays."""
    return LANE * len(lanes)


@any_order
def product_rows(out: Array, start: Array, A: Array, W: Array, first: int, last: int, lanes: Lanes) -> None:
    width = padded(lanes)
    assert width == out.shape[1] == start.shape[0] == W.shape[1]
    for i in range(first, last, BLOCK):
        for j in range(width):
            out[i, j] = out[i + 1, j] = out[i + 2, j] = out[i + 3, j] = start[j]
        for k in range(0, W.shape[0], BLOCK):
            a00, a01, a02, a03 = A[i, k], A[i, k + 1], A[i, k + 2], A[i, k + 3]
            a10, a11, a12, a13 = A[i + 1, k], A[i + 1, k + 1], A[i + 1, k + 2], A[i + 1, k + 3]
            a20, a21, a22, a23 = A[i + 2, k], A[i + 2, k + 1], A[i + 2, k + 2], A[i + 2, k + 3]
            a30, a31, a32, a33 = A[i + 3, k], A[i + 3, k + 1], A[i + 3, k + 2], A[i + 3, k + 3]
            for j in range(width):
                w0, w1, w2, w3 = W[k, j], W[k + 1, j], W[k + 2, j], W[k + 3, j]
                out[i, j] += a00 * w0 + a01 * w1 + a02 * w2 + a03 * w3
                out[i + 1, j] += a10 * w0 + a11 * w1 + a12 * w2 + a13 * w3
                out[i + 2, j] += a20 * w0 + a21 * w1 + a22 * w2 + a23 * w3
                out[i + 3, j] += a30 * w0 + a31 * w1 + a32 * w2 + a33 * w3


@any_order
def product_transposed_rows(out: Array, A: Array, W: Array, first: int, last: int, lanes: Lanes) -> None:
    width = padded(lanes)
    assert width == A.shape[1] == W.shape[1]
    zero = out.dtype.type(0)
    for i in range(first, last, BLOCK):
        for k in range(0, W.shape[0], BLOCK):
            s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = zero
            s20 = s21 = s22 = s23 = s30 = s31 = s32 = s33 = zero
            for j in range(width):
                a0, a1, a2, a3 = A[i, j], A[i + 1, j], A[i + 2, j], A[i + 3, j]
                w0, w1, w2, w3 = W[k, j], W[k + 1, j], W[k + 2, j], W[k + 3, j]
                s00, s01, s02, s03 = s00 + a0 * w0, s01 + a0 * w1, s02 + a0 * w2, s03 + a0 * w3
                s10, s11, s12, s13 = s10 + a1 * w0, s11 + a1 * w1, s12 + a1 * w2, s13 + a1 * w3
                s20, s21, s22, s23 = s20 + a2 * w0, s21 + a2 * w1, s22 + a2 * w2, s23 + a2 * w3
                s30, s31, s32, s33 = s30 + a3 * w0, s31 + a3 * w1, s32 + a3 * w2, s33 + a3 * w3
            out[i, k], out[i, k + 1], out[i, k + 2], out[i, k + 3] = s00, s01, s02, s03
            out[i + 1, k], out[i + 1, k + 1], out[i + 1, k + 2], out[i + 1, k + 3] = s10, s11, s12, s13
            out[i + 2, k], out[i + 2, k + 1], out[i + 2, k + 2], out[i + 2, k + 3] = s20, s21, s22, s23
            out[i + 3, k], out[i + 3, k + 1], out[i + 3, k + 2], out[i + 3, k + 3] = s30, s31, s32, s33


@shared
def product_shared(out: Array, start: Array, A: Array, W: Array, lanes: Lanes) -> None:
    for block in prange(out.shape[0] // BLOCK):
        product_rows(out, start, A, W, BLOCK * block, BLOCK * (block + 1), lanes)


@shared
def product_transposed_shared(out: Array, A: Array, W: Array, lanes: Lanes) -> None:
    for block in prange(out.shape[0] // BLOCK):
        product_transposed_rows(out, A, W, BLOCK * block, BLOCK * (block + 1), lanes)


@inlined
def product(out: Array, start: Array, A: Array, W: Array, lanes: Lanes, share: bool | None) -> None:
    """Set out to start + A @ W, for A (rows, k), W (k, H), and the row `start` (H,)."""
    if share is None:
        product_rows(out, start, A, W, 0, out.shape[0], lanes)
    else:
        product_shared(out, start, A, W, lanes)


@inlined
def product_transposed(out: Array, A: Array, W: Array, lanes: Lanes, share: bool | None) -> None:
    """Set out to A @ W.T, for A (rows, H) and W (k, H)."""
    if share is None:
        product_transposed_rows(out, A, W, 0, out.shape[0], lanes)
    else:
        product_transposed_shared(out, A, W, lanes)


# float32's exp, as vectors: e^x = 2^m · e^r with |r| ≤ log(2)/2, where the Taylor polynomial is good to a rounding.
_LOG2_E = np.float32(math.log2(math.e))
_LOG_2 = np.float32(0.693359375)  # few bits, so that m · _LOG_2 is exact; the rest of log(2) comes by itself
_LOG_2_REST = np.float32(math.log(2) - 0.693359375)
_TAYLOR = tuple(np.float32(1 / math.factorial(power)) for power in range(8))
_LOWEST, _HIGHEST = np.float32(-87), np.float32(88)  # where e^x leaves float32
_ZERO, _ONE, _TWO = np.float32(0), np.float32(1), np.float32(2)
_EXPONENT_BIAS, _EXPONENT_SHIFT = 127, 23  # a float32's exponent in its bits


@exact
def split_exp(x: np.float32) -> tuple[np.float32, np.float32]:
    """2^m and e^r − 1, for e^x = 2^m · e^r. NaN stays NaN."""
    x = _LOWEST if x < _LOWEST else _HIGHEST if x > _HIGHEST else x
    m = np.rint(x * _LOG2_E)
    r = x - m * _LOG_2 - m * _LOG_2_REST
    r2 = r * r
    high = _TAYLOR[4] + r * _TAYLOR[5] + r2 * (_TAYLOR[6] + r * _TAYLOR[7])
    expm1 = r + r2 * (_TAYLOR[2] + r * _TAYLOR[3] + r2 * high)
    power = np.int32((np.int32(m) + _EXPONENT_BIAS) << _EXPONENT_SHIFT).view(np.float32)
    return power, expm1


@exact
def exp32(x: np.float32) -> np.float32:
    power, expm1 = split_exp(x)
    return _ZERO if x < _LOWEST else power + power * expm1


@exact
def tanh32(x: np.float32) -> np.float32:
    """Computed as u / (u + 2) with u = e^2x − 1, which keeps its digits for small x."""
    power, expm1 = split_exp(_TWO * x)
    u = power * expm1 + (power - _ONE)
    return u / (u + _TWO)


def exp(x: np.floating) -> np.floating:
    """The exponential in compiled code: `exp32`, or the C library's for float64. It is not called elsewhere."""
    raise NotImplementedError


def tanh(x: np.floating) -> np.floating:
    """The hyperbolic tangent in compiled code: `tanh32`, or the C library's for float64. It is not called elsewhere."""
    raise NotImplementedError


@overload(exp, strict=False)  # a lambda has no type hints
def _exp(x: types.Type) -> Callable[[Any], Any]:
    return (lambda x: exp32(x)) if x == types.float32 else (lambda x: math.exp(x))


@overload(tanh, strict=False)
def _tanh(x: types.Type) -> Callable[[Any], Any]:
    return (lambda x: tanh32(x)) if x == types.float32 else (lambda x: math.tanh(x))


# --- Forward ---


@exact
def embed(embcat: Array, C: Array, X: Tokens, size: int) -> None:
    """Set embcat to C[X], the embedded letters of an example side by side, E = `size` numbers each."""
    for i in range(X.shape[0]):
        for t in range(X.shape[1]):
            letter = X[i, t]
            for e in range(size):
                embcat[i, t * size + e] = C[letter, e]


@exact
def look_up(hprebn: Array, tables: Array, X: Tokens, lanes: Lanes) -> None:
    """Set each row of hprebn to the sum of the rows that its letters have in the tables of their places."""
    width = padded(lanes)
    assert width == hprebn.shape[1] == tables.shape[2]
    for i in range(X.shape[0]):
        letter = X[i, 0]
        for j in range(width):
            hprebn[i, j] = tables[0, letter, j]
        for t in range(1, X.shape[1]):
            letter = X[i, t]
            for j in range(width):
                hprebn[i, j] += tables[t, letter, j]


@exact
def batch_statistics(
    hprebn: Array, bnmean: Array, bnvar: Array, rest: Array, n: np.floating, rows: int, lanes: Lanes
) -> None:
    """The batch's mean and unbiased variance. Leaves bndiff in place of hprebn, but for `rest`.

    A sum of many equal rows, rounded ever again, is off the same way for all of them, and batchnorm's gradient is what
    is left when the mean has been taken out. So what is left of the mean is taken out too.
    """
    width = padded(lanes)
    assert width == hprebn.shape[1] == bnmean.shape[0] == bnvar.shape[0] == rest.shape[0]
    one = hprebn.dtype.type(1)
    for j in range(width):
        bnmean[j] = bnvar[j] = rest[j] = 0
    for i in range(rows):
        for j in range(width):
            bnmean[j] += hprebn[i, j]
    for j in range(width):
        bnmean[j] /= n
    for i in range(rows):
        for j in range(width):
            hprebn[i, j] -= bnmean[j]
            rest[j] += hprebn[i, j]
            bnvar[j] += hprebn[i, j] * hprebn[i, j]
    for j in range(width):
        rest[j] /= n
        bnmean[j] += rest[j]
        bnvar[j] = (bnvar[j] - n * rest[j] * rest[j]) / (n - one)


@exact
def inverse_deviation(bnvar_inv: Array, bnvar: Array, eps: np.floating) -> None:
    """bnvar_inv = (bnvar + eps) ** −½"""
    one = bnvar.dtype.type(1)
    for j in range(bnvar.shape[0]):
        bnvar_inv[j] = one / math.sqrt(bnvar[j] + eps)


@exact
def normalise_and_squash(
    h: Array, bnraw: Array, rest: Array, bnvar_inv: Array, bngain: Array, bnbias: Array, rows: int, lanes: Lanes
) -> None:
    """Replace bndiff by bnraw, and set h to tanh(bngain · bnraw + bnbias)."""
    width = padded(lanes)
    assert width == h.shape[1] == bnraw.shape[1] == bngain.shape[0] == bnbias.shape[0]
    assert width == rest.shape[0] == bnvar_inv.shape[0]
    for i in range(rows):
        for j in range(width):
            bnraw[i, j] = (bnraw[i, j] - rest[j]) * bnvar_inv[j]
            h[i, j] = tanh(bngain[j] * bnraw[i, j] + bnbias[j])


@any_order
def largest(logits: Array, i: int, width: int) -> np.floating:
    """The largest logit of row i."""
    top = logits[i, 0]
    for v in range(width):
        top = max(top, logits[i, v])
    return top


@any_order
def total(counts: Array, i: int, width: int) -> np.floating:
    """The sum of row i."""
    counts_sum = counts.dtype.type(0)
    for v in range(width):
        counts_sum += counts[i, v]
    return counts_sum


@exact
def cross_entropy(logits: Array, b2: Array, Y: Tokens, n: np.floating, smoothing: np.floating, letters: int) -> float:
    """Add b2 to the logits. Returns the loss; leaves dlogits = (softmax − target) / n in place of the logits.

    The target is onehot, of which each of the V letters has got `smoothing` / V.
    """
    width, rows = logits.shape[1], Y.shape[0]
    one = logits.dtype.type(1)
    right, every = one - smoothing, smoothing / logits.dtype.type(letters)
    loss = 0.0
    for i in range(rows):
        for v in range(width):
            logits[i, v] += b2[v]
        top = largest(logits, i, width)
        loss += top - right * logits[i, Y[i]]
        if smoothing > 0:
            loss -= every * total(logits, i, letters)
        for v in range(width):
            logits[i, v] = exp(logits[i, v] - top)
    for i in range(rows):
        counts_sum = total(logits, i, width)
        loss += math.log(counts_sum)
        scale = one / (counts_sum * n)
        for v in range(width):
            logits[i, v] *= scale
        logits[i, Y[i]] -= right / n
        if smoothing > 0:
            for v in range(letters):
                logits[i, v] -= every / n
    return loss / rows


# --- Backward ---


@exact
def sum_rows(out: Array, x: Array, rows: int) -> None:
    """Set `out` to x.sum(0)."""
    for j in range(out.shape[0]):
        out[j] = 0
    for i in range(rows):
        for j in range(out.shape[0]):
            out[j] += x[i, j]


@exact
def tanh_backward(
    dh: Array, h: Array, bnraw: Array, dbngain: Array, dbnbias: Array, sums: Array, rows: int, lanes: Lanes
) -> None:
    """Replace dh by dhpreact = (1 − h²) · dh, and sum the gradients of gain and bias.

    These two are sums of sums of a few rows each, since a long sum is rounded once a row.
    """
    width = padded(lanes)
    assert width == dh.shape[1] == h.shape[1] == bnraw.shape[1] == dbngain.shape[0] == dbnbias.shape[0]
    assert width == sums.shape[1]
    one = h.dtype.type(1)
    for j in range(width):
        dbngain[j] = dbnbias[j] = 0
    for first in range(0, rows, FEW):
        for j in range(width):
            sums[0, j] = sums[1, j] = 0
        for i in range(first, min(first + FEW, rows)):
            for j in range(width):
                dh[i, j] *= one - h[i, j] * h[i, j]
                sums[0, j] += dh[i, j] * bnraw[i, j]
                sums[1, j] += dh[i, j]
        for j in range(width):
            dbngain[j] += sums[0, j]
            dbnbias[j] += sums[1, j]


@exact
def batchnorm_backward(
    dhpreact: Array,
    bnraw: Array,
    bnvar_inv: Array,
    bngain: Array,
    dbngain: Array,
    dbnbias: Array,
    n: np.floating,
    rows: int,
    lanes: Lanes,
) -> None:
    """Replace dhpreact by dhprebn = γσ⁻¹ · (dy − Σdy/n − x̂ · Σ(dy·x̂)/(n−1))."""
    width = padded(lanes)
    assert width == dhpreact.shape[1] == bnraw.shape[1] == dbngain.shape[0] == dbnbias.shape[0]
    assert width == bnvar_inv.shape[0] == bngain.shape[0]
    one = bnraw.dtype.type(1)
    mean, mean_unbiased = one / n, one / (n - one)
    for i in range(rows):
        for j in range(width):
            centred = dhpreact[i, j] - mean * dbnbias[j] - bnraw[i, j] * (mean_unbiased * dbngain[j])
            dhpreact[i, j] = bngain[j] * bnvar_inv[j] * centred


@exact
def clear(x: Array) -> None:
    """Set an array to zero."""
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            x[i, j] = 0


@exact
def look_up_backward(dtables: Array, dhprebn: Array, X: Tokens, lanes: Lanes) -> None:
    """Sum the gradients of all uses of a table's row."""
    width = padded(lanes)
    assert width == dhprebn.shape[1] == dtables.shape[2]
    for t in range(X.shape[1]):
        for letter in range(dtables.shape[1]):
            for j in range(width):
                dtables[t, letter, j] = 0
    for i in range(X.shape[0]):
        for t in range(X.shape[1]):
            letter = X[i, t]
            for j in range(width):
                dtables[t, letter, j] += dhprebn[i, j]


@exact
def embed_backward(dC: Array, dembcat: Array, X: Tokens, size: int) -> None:
    """Sum the gradients of all uses of a letter's row of C."""
    for i in range(X.shape[0]):
        for t in range(X.shape[1]):
            letter = X[i, t]
            for e in range(size):
                dC[letter, e] += dembcat[i, t * size + e]


# --- The pass, the update, the loop ---


@inlined
def training_pass(
    p: Weights,
    d: Weights,
    a: Activations,
    X: Tokens,
    Y: Tokens,
    n: np.floating,
    eps: np.floating,
    smoothing: np.floating,
    letters: int,
    size: int,
    first_bias: bool,
    lanes: Lanes,
    share: bool | None,
) -> float:
    """Loss of one batch; its gradients are left in `d`. The lines are those of `fused.training_pass`.

    Where a batch has more examples than there are letters, the first layer is looked up: each place of the context has
    a table of what its letters add, (V, E) @ (E, H). So the products have V rows for each place, and not n.
    """
    rows, places, whole = X.shape[0], a.tables.shape[0], p.C.shape[1]
    # What is changed in place has a name before and one after.
    hprebn = bnraw = a.bnraw
    logits = dlogits = a.dlogits
    dh = dhpreact = dhprebn = a.dhprebn

    # Forward.
    if places > 0:
        for t in range(places):
            start = p.b1 if t == 0 else a.zeros
            product(a.tables[t], start, p.C, p.W1[t * size : t * size + whole], lanes, share)
        look_up(hprebn, a.tables, X, lanes)
    else:
        embed(a.embcat, p.C, X, size)
        product(hprebn, p.b1, a.embcat, p.W1, lanes, share)
    batch_statistics(hprebn, a.bnmean, a.bnvar, a.rest, n, rows, lanes)
    inverse_deviation(a.bnvar_inv, a.bnvar, eps)
    normalise_and_squash(a.h, bnraw, a.rest, a.bnvar_inv, p.bngain, p.bnbias, rows, lanes)
    product_transposed(logits, a.h, p.W2T, lanes, share)
    loss = cross_entropy(logits, p.b2, Y, n, smoothing, letters)

    # Backward, from the loss up.
    sum_rows(d.b2, dlogits, rows)
    product(d.W2T, a.zeros, dlogits.T, a.h, lanes, share)
    product(dh, a.zeros, dlogits, p.W2T, lanes, share)
    tanh_backward(dh, a.h, bnraw, d.bngain, d.bnbias, a.sums, rows, lanes)
    batchnorm_backward(dhpreact, bnraw, a.bnvar_inv, p.bngain, d.bngain, d.bnbias, n, rows, lanes)
    if first_bias:
        sum_rows(d.b1, dhprebn, rows)
    clear(d.C)
    if places > 0:
        look_up_backward(a.dtables, dhprebn, X, lanes)
        for t in range(places):
            # What is padded in C is zero, so that rows beyond this place's become zero, and are then the next one's.
            product(d.W1[t * size : t * size + whole], a.zeros, p.C.T, a.dtables[t], lanes, share)
            product_transposed(a.dC, a.dtables[t], p.W1[t * size : t * size + whole], lanes, share)
            for letter in range(letters):
                for e in range(size):
                    d.C[letter, e] += a.dC[letter, e]
    else:
        product(d.W1, a.zeros, a.embcat.T, dhprebn, lanes, share)
        product_transposed(a.dembcat, dhprebn, p.W1, lanes, share)
        embed_backward(d.C, a.dembcat, X, size)
    return loss


@any_order
def clip(gradient: Array, largest: float) -> None:
    """Scale down a gradient whose norm is larger than `clip`."""
    squares = gradient.dtype.type(0)
    for i in range(gradient.shape[0]):
        squares += gradient[i] * gradient[i]
    norm = math.sqrt(squares)
    if norm > largest:
        scale = largest / (norm + CLIP_EPSILON)
        for i in range(gradient.shape[0]):
            gradient[i] *= scale


@exact
def sgd(flat: Array, gradient: Array, velocity: Array, rule: Rule, lr: np.floating) -> None:
    """Stochastic gradient descent: parameters −= lr · gradient, with momentum −= lr · velocity."""
    if velocity.shape[0] == 0:
        for i in range(flat.shape[0]):
            flat[i] -= lr * (gradient[i] + rule.weight_decay * flat[i])
        return
    ahead = rule.momentum if rule.nesterov else flat.dtype.type(0)
    for i in range(flat.shape[0]):
        g = gradient[i] + rule.weight_decay * flat[i]
        velocity[i] = rule.momentum * velocity[i] + g
        flat[i] -= lr * (g + ahead * velocity[i] if rule.nesterov else velocity[i])


@exact
def adamw(flat: Array, gradient: Array, m: Array, v: Array, rule: Rule, factors: Array) -> None:
    """Adam with decoupled weight decay; the factors are those of `Factors`."""
    shrink, size, second = factors[1], factors[2], factors[3]
    for i in range(flat.shape[0]):
        g = gradient[i]
        m[i] += rule.rest1 * (g - m[i])
        v[i] = rule.beta2 * v[i] + rule.rest2 * (g * g)
        flat[i] = shrink * flat[i] - size * (m[i] / (math.sqrt(v[i]) / second + rule.epsilon))


@exact
def lerp(average: Array, new: Array, share: np.floating) -> None:
    """Move an average towards what is new; all of the way where that has the whole share."""
    for i in range(average.shape[0]):
        average[i] = new[i] if share == 1 else average[i] + share * (new[i] - average[i])


@exact
def update(flat: Array, gradient: Array, memory: Memory, rule: Rule, factors: Array) -> None:
    """One step of the optimiser (see `optimisers.Optimiser.update`)."""
    if rule.clip > 0:
        clip(gradient, rule.clip)
    if rule.adamw:
        adamw(flat, gradient, memory.m, memory.v, rule, factors)
    else:
        sgd(flat, gradient, memory.velocity, rule, factors[0])
    lerp(memory.average, flat, factors[4])


@Kept
def train_steps(
    p: Weights,
    d: Weights,
    a: Activations,
    flat: Array,
    dflat: Array,
    memory: Memory,
    rule: Rule,
    X: Tokens,
    Y: Tokens,
    factors: Array,
    losses: Array,
    n: np.floating,
    eps: np.floating,
    smoothing: np.floating,
    letters: int,
    size: int,
    first_bias: bool,
    running: Array,
    momentum: np.floating,
    lanes: Lanes,
    share: bool | None,
) -> None:
    """A training step for each leading index of X and Y, without Python's global lock."""
    for step in range(X.shape[0]):
        losses[step] = training_pass(
            p, d, a, X[step], Y[step], n, eps, smoothing, letters, size, first_bias, lanes, share
        )
        update(flat, dflat, memory, rule, factors[step])
        lerp(running[0], a.bnmean, momentum)
        lerp(running[1], a.bnvar, momentum)


# --- Its memory, and how it is called ---


class Kernel:
    """The compiled pass for one network and batch size, with memory of its own."""

    def __init__(
        self,
        sizes: Sizes,
        batch_size: int,
        dtype: np.dtype[np.floating],
        eps: float,
        *,
        smoothing: float = 0.0,
        rule: Rule = SGD,
        kept: Sequence[str] = (),
        lookup: bool | None = None,
    ) -> None:
        """`kept` names what the optimiser's rule keeps from step to step, and "average" where there is one.

        `lookup` says whether the first layer is looked up in tables or is a product. If it is not given, the length of
        a batch decides.
        """
        self.sizes, self.batch_size, self.real = sizes, batch_size, dtype.type
        self.eps, self.smoothing = eps, smoothing
        self.rule = Rule(rule.adamw, rule.nesterov, *(self.real(number) for number in rule[2:]))
        V, T, E, H = sizes.vocabulary, sizes.context, sizes.embedding, sizes.hidden
        n, V4, E4 = (_up(length, BLOCK) for length in (batch_size, V, E))
        K4 = _up((T - 1) * E + E4, BLOCK)
        H16, V16 = _up(H, LANE), _up(V, LANE)
        self.lanes = (0,) * (H16 // LANE)
        shapes = ((V4, E4), (K4, H16), (H16,), (V4, H16), (H16,), (H16,), (V16,))
        flat, weights = _aligned(shapes, dtype)
        dflat, gradients = _aligned(shapes, dtype)
        self.weights, self.gradients = Weights(*weights), Weights(*gradients)
        memories = {name: _aligned(shapes, dtype) for name in kept}
        self.memories = {name: Weights(*parts) for name, (_, parts) in memories.items()}
        # What pads b2 at their end is no parameter.
        end = slice(len(flat) - (V16 - V))
        self.flat, self.dflat = flat[end], dflat[end]
        nothing = np.zeros(0, dtype)
        self.memory = Memory(*(memories[name][0][end] if name in memories else nothing for name in Memory._fields))
        looked_up = batch_size >= WORTH_A_TABLE * V4 if lookup is None else lookup
        self.multiplications = H * (T * E * (V if looked_up else batch_size) + V * batch_size)  # in a forward pass
        places, products = (T, 0) if looked_up else (0, n)
        activations = (
            (products, K4),
            (places, V4, H16),
            (places, V4, H16),
            (n, H16),
            (H16,),
            (H16,),
            (H16,),
            (H16,),
            (n, H16),
            (n, V16),
            (n, H16),
            (products, K4),
            (V4, E4),
            (H16,),
            (2, H16),
        )
        self.activations = Activations(*_aligned(activations, dtype)[1])
        self.weights.b2[V:] = NO_LETTER
        self.running = np.zeros((2, H16), dtype)

    def named(self, weights: Weights) -> dict[str, Array]:
        """Views of padded arrays with the parameters' own names and shapes."""
        T, E, H, V = self.sizes.context, self.sizes.embedding, self.sizes.hidden, self.sizes.vocabulary
        views = {
            "C": weights.C[:V, :E],
            "W1": weights.W1[: T * E, :H],
            "b1": weights.b1[:H],
            "W2": weights.W2T[:V, :H].T,
            "b2": weights.b2[:V],
            "bngain": weights.bngain[None, :H],
            "bnbias": weights.bnbias[None, :H],
        }
        return {name: views[name] for name in self.sizes.shapes()}

    def load(self, parameters: Mapping[str, Array], kept: Mapping[str, Mapping[str, Array]] | None = None) -> None:
        """Copy the parameters, by name and in their own shapes, into the padded weights; so, too, what is kept."""
        for weights, arrays in self._pairs(parameters, kept):
            for name, view in self.named(weights).items():
                view[...] = arrays[name]

    def store(self, parameters: Mapping[str, Array], kept: Mapping[str, Mapping[str, Array]] | None = None) -> None:
        """Copy all of it back."""
        for weights, arrays in self._pairs(parameters, kept):
            for name, view in self.named(weights).items():
                arrays[name][...] = view

    def _pairs(
        self, parameters: Mapping[str, Array], kept: Mapping[str, Mapping[str, Array]] | None
    ) -> list[tuple[Weights, Mapping[str, Array]]]:
        return [(self.weights, parameters), *((self.memories[name], arrays) for name, arrays in (kept or {}).items())]

    def prepare(self, started: Callable[[], None], threads: int = 1) -> None:
        """Have the machine code for this width: from the disk, or compiled, before which `started` is called.

        It is compiled by a process of its own, and then taken from the disk like ever after: a process that compiles
        keeps other copies of the functions at hand, optimised otherwise, and the last digits would be others.
        Raises MakemoreError if Numba is kept from compiling.
        """
        if config.DISABLE_JIT:  # type: ignore[attr-defined]
            raise MakemoreError(f"the kernel can't be compiled, since {NO_JIT} is set; unset it, or choose tensor")
        try:
            with event.install_listener("numba:compile", _NotHere()):
                self._load(threads)
        except _NotKeptError:
            started()
            arguments = f"{self.sizes.hidden}, {self.real.__name__!r}, {threads}"
            children.run(f"from makemore_cli.backprop.kernel import compile_for; compile_for({arguments})")
            self._load(threads)

    def _load(self, threads: int) -> None:
        nothing = np.zeros((0, self.batch_size, self.sizes.context), np.int64)
        self.train(nothing, nothing[:, :, 0], [], threads=threads)

    def train(
        self,
        X: NDArray[np.int64],
        Y: NDArray[np.int64],
        factors: Sequence[Sequence[float]],
        running: tuple[Array, Array, float] | None = None,
        *,
        threads: int = 1,
    ) -> NDArray[np.float64]:
        """A step for each leading index of X (steps, n, T) and Y (steps, n). Returns the losses, in nats per character.

        `factors` are the steps' own numbers (see `Factors`). `running` holds averages (H,) of the batches' mean
        and variance, which are updated, and the batch's share in them. More than one thread share the rows of the
        matrix products, which changes no digit.
        """
        losses, momentum, H = np.empty(len(X)), 0.0, self.sizes.hidden
        if running is not None:
            mean, var, momentum = running
            self.running[0, :H], self.running[1, :H] = mean, var
        real = self.real
        if threads > 1:
            numba.set_num_threads(min(threads, config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
        arguments = (
            self.weights,
            self.gradients,
            self.activations,
            self.flat,
            self.dflat,
            self.memory,
            self.rule,
            np.ascontiguousarray(X),
            np.ascontiguousarray(Y),
            np.array(factors, real).reshape(len(X), FACTORS),
            losses,
            real(self.batch_size),
            real(self.eps),
            real(self.smoothing),
            self.sizes.vocabulary,
            self.sizes.embedding,
            self.sizes.first_bias,
            self.running,
            real(momentum),
            self.lanes,
            None if threads == 1 else True,
        )
        train_steps(*arguments)
        if running is not None:
            mean[:], var[:] = self.running[:, :H]
        return losses


def compile_for(hidden: int, real: str, threads: int) -> None:
    """Compile for a width, which leaves the machine code on disk."""
    Kernel(Sizes(2, 1, 1, hidden), 2, np.dtype(real), 1.0)._load(threads)


class _NotKeptError(Exception):
    """The machine code is not on the disk."""


class _NotHere(event.Listener):
    """Keeps this process from compiling."""

    def on_start(self, event: event.Event) -> None:
        raise _NotKeptError

    def on_end(self, event: event.Event) -> None:
        pass


def _up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def _aligned(shapes: Sequence[tuple[int, ...]], dtype: np.dtype[np.floating]) -> tuple[Array, list[Array]]:
    """Zeros of the given shapes on one flat array, each starting at a multiple of the widest vector's bytes."""
    ends = np.cumsum([_up(math.prod(shape), LANE) for shape in shapes])
    vector = LANE * dtype.itemsize
    memory = np.zeros(int(ends[-1]) * dtype.itemsize + vector, np.uint8)
    offset = -memory.ctypes.data % vector
    flat = memory[offset : offset + len(memory) - vector].view(dtype)
    parts = zip(np.split(flat, ends[:-1]), shapes, strict=True)
    return flat, [part[: math.prod(shape)].reshape(shape) for part, shape in parts]
