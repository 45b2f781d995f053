"""The training pass of `fused.py`, compiled for the CPU: the same lines, on plain arrays, without a call of PyTorch's.

Three things make it fast. The hidden unit is the inner, contiguous axis of every matrix (so W2 is kept transposed, as
W2T), and every width is padded with zeros to whole vectors, so no loop has a remainder; padded entries stay zero. All
six matrix products are one of two small kernels, unrolled 4 × 4. And the padded width is known to the compiler: it is
16 · len(lanes), and the length of a tuple is part of its type. So each width is compiled once, and then kept on disk.

Only this file's functions are compiled together, so that a change to any of them makes all of it anew.
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import njit, prange, types
from numba.core import config, event
from numba.extending import overload
from numpy.typing import NDArray

from makemore_cli.compiled import Kept
from makemore_cli.model import Sizes

LANE = 16  # float32 numbers in the widest vector, 64 bytes; every array starts at a multiple of them
NO_LETTER = -1e30  # score of what pads the vocabulary: its probability is exactly zero
BLOCK = 4  # rows that a product takes at a time
FEW = 32  # rows that are summed before they are added to the others

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
    """The parameters, or their gradients, padded: K = T·E and V to whole blocks, H to whole vectors."""

    C: Array  # (V, E)
    W1: Array  # (K, H)
    b1: Array  # (H,), zero where the network has none
    W2T: Array  # (V, H)
    b2: Array  # (V,), padded to whole vectors
    bngain: Array  # (H,)
    bnbias: Array  # (H,)


class Activations(NamedTuple):
    """What the forward pass leaves for the backward pass, and the gradients of that, padded like the weights."""

    embcat: Array  # (n, K)
    bnraw: Array  # (n, H), hprebn before
    bnmean: Array  # (H,)
    bnvar: Array  # (H,)
    bnvar_inv: Array  # (H,)
    rest: Array  # (H,), what rounding has left of the mean
    h: Array  # (n, H)
    dlogits: Array  # (n, V), logits before
    dhprebn: Array  # (n, H), dh and dhpreact before
    dembcat: Array  # (n, K)
    zeros: Array  # (H,)
    sums: Array  # (2, H)


# --- What the compiler must be told: the width, products, exp and tanh ---


@exact
def padded(lanes: Lanes) -> int:
    """The padded width, a constant to the compiler. An assertion ties it to the arrays."""
    return LANE * len(lanes)


@any_order
def product_rows(out: Array, start: Array, A: Array, W: Array, first: int, last: int, lanes: Lanes) -> None:
    """Some rows of `product`."""
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
    """Some rows of `product_transposed`."""
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
    """As u / (u + 2) with u = e^2x − 1, which keeps its digits where x is small too."""
    power, expm1 = split_exp(_TWO * x)
    u = power * expm1 + (power - _ONE)
    return u / (u + _TWO)


def exp(x: np.floating) -> np.floating:
    """In compiled code `exp32`, or the C library's for float64; elsewhere it is not called."""
    raise NotImplementedError


def tanh(x: np.floating) -> np.floating:
    """In compiled code `tanh32`, or the C library's for float64; elsewhere it is not called."""
    raise NotImplementedError


@overload(exp, strict=False)  # a lambda has no type hints
def _exp(x: types.Type) -> Callable[[Any], Any]:
    return (lambda x: exp32(x)) if x == types.float32 else (lambda x: math.exp(x))


@overload(tanh, strict=False)
def _tanh(x: types.Type) -> Callable[[Any], Any]:
    return (lambda x: tanh32(x)) if x == types.float32 else (lambda x: math.tanh(x))


# --- Forward ---


@exact
def embed(embcat: Array, C: Array, X: Tokens) -> None:
    """Leaves embcat = C[X], the embedded letters of an example side by side."""
    size = C.shape[1]
    for i in range(X.shape[0]):
        for t in range(X.shape[1]):
            letter = X[i, t]
            for e in range(size):
                embcat[i, t * size + e] = C[letter, e]


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
    """Leaves bnraw in place of bndiff, and h = tanh(bngain · bnraw + bnbias)."""
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
def cross_entropy(logits: Array, b2: Array, Y: Tokens, n: np.floating) -> float:
    """Add b2 to the logits. Returns the loss; leaves dlogits = (softmax − onehot) / n in place of the logits."""
    width, rows = logits.shape[1], Y.shape[0]
    one = logits.dtype.type(1)
    loss = 0.0
    for i in range(rows):
        for v in range(width):
            logits[i, v] += b2[v]
        top = largest(logits, i, width)
        loss += top - logits[i, Y[i]]
        for v in range(width):
            logits[i, v] = exp(logits[i, v] - top)
    for i in range(rows):
        counts_sum = total(logits, i, width)
        loss += math.log(counts_sum)
        scale = one / (counts_sum * n)
        for v in range(width):
            logits[i, v] *= scale
        logits[i, Y[i]] -= one / n
    return loss / rows


# --- Backward ---


@exact
def sum_rows(out: Array, x: Array, rows: int) -> None:
    """Leaves x.sum(0) in `out`."""
    for j in range(out.shape[0]):
        out[j] = 0
    for i in range(rows):
        for j in range(out.shape[0]):
            out[j] += x[i, j]


@exact
def tanh_backward(
    dh: Array, h: Array, bnraw: Array, dbngain: Array, dbnbias: Array, sums: Array, rows: int, lanes: Lanes
) -> None:
    """Leaves dhpreact = (1 − h²) · dh in place of dh, and what gain and bias get of it.

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
    """Leaves dhprebn = γσ⁻¹ · (dy − Σdy/n − x̂ · Σ(dy·x̂)/(n−1)) in place of dhpreact."""
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
def embed_backward(dC: Array, dembcat: Array, X: Tokens) -> None:
    """A letter's row of dC gathers all its uses."""
    size = dC.shape[1]
    for letter in range(dC.shape[0]):
        for e in range(size):
            dC[letter, e] = 0
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
    first_bias: bool,
    lanes: Lanes,
    share: bool | None,
) -> float:
    """Loss of one batch; its gradients are left in `d`. The lines are those of `fused.training_pass`."""
    rows = X.shape[0]
    # What is changed in place has a name before and one after.
    hprebn = bnraw = a.bnraw
    logits = dlogits = a.dlogits
    dh = dhpreact = dhprebn = a.dhprebn

    # Forward.
    embed(a.embcat, p.C, X)
    product(hprebn, p.b1, a.embcat, p.W1, lanes, share)
    batch_statistics(hprebn, a.bnmean, a.bnvar, a.rest, n, rows, lanes)
    inverse_deviation(a.bnvar_inv, a.bnvar, eps)
    normalise_and_squash(a.h, bnraw, a.rest, a.bnvar_inv, p.bngain, p.bnbias, rows, lanes)
    product_transposed(logits, a.h, p.W2T, lanes, share)
    loss = cross_entropy(logits, p.b2, Y, n)

    # Backward, from the loss up.
    sum_rows(d.b2, dlogits, rows)
    product(d.W2T, a.zeros, dlogits.T, a.h, lanes, share)
    product(dh, a.zeros, dlogits, p.W2T, lanes, share)
    tanh_backward(dh, a.h, bnraw, d.bngain, d.bnbias, a.sums, rows, lanes)
    batchnorm_backward(dhpreact, bnraw, a.bnvar_inv, p.bngain, d.bngain, d.bnbias, n, rows, lanes)
    if first_bias:
        sum_rows(d.b1, dhprebn, rows)
    product(d.W1, a.zeros, a.embcat.T, dhprebn, lanes, share)
    product_transposed(a.dembcat, dhprebn, p.W1, lanes, share)
    embed_backward(d.C, a.dembcat, X)
    return loss


@exact
def sgd(flat: Array, gradients: Array, lr: np.floating) -> None:
    """Plain stochastic gradient descent: parameters −= lr · gradients."""
    for i in range(flat.shape[0]):
        flat[i] -= lr * gradients[i]


@exact
def lerp(average: Array, new: Array, momentum: np.floating) -> None:
    """Move a running average towards a batch's own value."""
    for j in range(average.shape[0]):
        average[j] += momentum * (new[j] - average[j])


@Kept
def train_steps(
    p: Weights,
    d: Weights,
    a: Activations,
    flat: Array,
    dflat: Array,
    X: Tokens,
    Y: Tokens,
    lrs: Array,
    losses: Array,
    n: np.floating,
    eps: np.floating,
    first_bias: bool,
    running: Array,
    momentum: np.floating,
    lanes: Lanes,
    share: bool | None,
) -> None:
    """A training step for each leading index of X and Y. Other threads of Python go on meanwhile."""
    for step in range(X.shape[0]):
        losses[step] = training_pass(p, d, a, X[step], Y[step], n, eps, first_bias, lanes, share)
        sgd(flat, dflat, lrs[step])
        lerp(running[0], a.bnmean, momentum)
        lerp(running[1], a.bnvar, momentum)


# --- Its memory, and how it is called ---


class Kernel:
    """The compiled pass for one network and batch size, with memory of its own."""

    def __init__(self, sizes: Sizes, batch_size: int, dtype: np.dtype[np.floating], eps: float) -> None:
        self.sizes, self.batch_size, self.real, self.eps = sizes, batch_size, dtype.type, eps
        V, E, K, H = sizes.vocabulary, sizes.embedding, sizes.context * sizes.embedding, sizes.hidden
        n, V4, K4 = _up(batch_size, BLOCK), _up(V, BLOCK), _up(K, BLOCK)
        H16, V16 = _up(H, LANE), _up(V, LANE)
        self.lanes = (0,) * (H16 // LANE)
        shapes = ((V, E), (K4, H16), (H16,), (V4, H16), (V16,), (H16,), (H16,))
        self.flat, weights = _aligned(shapes, dtype)
        self.dflat, gradients = _aligned(shapes, dtype)
        self.weights, self.gradients = Weights(*weights), Weights(*gradients)
        activations = (
            (n, K4),
            (n, H16),
            (H16,),
            (H16,),
            (H16,),
            (H16,),
            (n, H16),
            (n, V16),
            (n, H16),
            (n, K4),
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
            "C": weights.C,
            "W1": weights.W1[: T * E, :H],
            "b1": weights.b1[:H],
            "W2": weights.W2T[:V, :H].T,
            "b2": weights.b2[:V],
            "bngain": weights.bngain[None, :H],
            "bnbias": weights.bnbias[None, :H],
        }
        return {name: views[name] for name in self.sizes.shapes()}

    def load(self, parameters: Mapping[str, Array]) -> None:
        """Copy the parameters, by name and in their own shapes, into the padded weights."""
        for name, view in self.named(self.weights).items():
            view[...] = parameters[name]

    def store(self, parameters: Mapping[str, Array]) -> None:
        """Copy the weights back."""
        for name, view in self.named(self.weights).items():
            parameters[name][...] = view

    def prepare(self, started: Callable[[], None], threads: int = 1) -> None:
        """Have the machine code for this width: from the disk, or compiled, before which `started` is called.

        It is compiled by a process of its own, and then taken from the disk like ever after: a process that compiles
        keeps other copies of the functions at hand, optimised otherwise, and the last digits would be others.
        """
        try:
            with event.install_listener("numba:compile", _NotHere()):
                self._load(threads)
        except _NotKeptError:
            started()
            arguments = f"{self.sizes.hidden}, {self.real.__name__!r}, {threads}"
            code = f"from makemore_cli.backprop.kernel import compile_for; compile_for({arguments})"
            subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
            self._load(threads)

    def _load(self, threads: int) -> None:
        nothing = np.zeros((0, self.batch_size, self.sizes.context), np.int64)
        self.train(nothing, nothing[:, :, 0], [], threads=threads)

    def train(
        self,
        X: NDArray[np.int64],
        Y: NDArray[np.int64],
        learning_rates: Sequence[float],
        running: tuple[Array, Array, float] | None = None,
        *,
        threads: int = 1,
    ) -> NDArray[np.float64]:
        """A step for each leading index of X (steps, n, T) and Y (steps, n). Returns the losses, in nats a letter.

        `running` holds averages (H,) of the batches' mean and variance, which are updated, and the batch's share in
        them. More than one thread share the rows of the matrix products, which changes no digit.
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
            np.ascontiguousarray(X),
            np.ascontiguousarray(Y),
            np.array(learning_rates, real),
            losses,
            real(self.batch_size),
            real(self.eps),
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
