"""Batchnorm and tanh, forward and backward, for one tile; and cross-entropy, for one example."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from makemore_cli.backprop.kernel.arithmetic import clear, exact, exp, largest, put, tanh, total
from makemore_cli.backprop.kernel.intrinsics import at, lane, local, typed
from makemore_cli.backprop.kernel.layout import NO_LETTER, PANEL, TILE, Dimensions, Memory, Numbers
from makemore_cli.backprop.kernel.places import Tile
from makemore_cli.backprop.kernel.products import FEW
from makemore_cli.backprop.kernel.update import lerp


@exact
def batchnorm_and_tanh(t: Tile, rows: int, n: Any, eps: Any) -> None:
    """Replace hprebn (n, width) by bnraw, and set h to tanh(bngain · bnraw + bnbias). bnmean comes as the sum of rows.

    A sum of many equal rows, rounded ever again, is off the same way for all of them, and batchnorm's gradient is what
    is left when the mean has been taken out. So what is left of the mean is taken out too.
    """
    mean, rest, var, inv = local(t.h), local(t.h), local(t.h), local(t.h)
    few_rest, few_var = local(t.h), local(t.h)
    gain, bias, bnraw, squashed = local(t.h), local(t.h), local(t.h), local(t.h)
    one = typed(t.h, 1)
    for c in range(0, t.width, lane(t.h)):
        for j in range(lane(t.h)):
            mean[j] = t.bnmean[c + j] / n
        clear(rest)
        clear(var)
        for first in range(0, rows, FEW):
            clear(few_rest)
            clear(few_var)
            for i in range(first, min(first + FEW, rows)):
                for j in range(lane(t.h)):
                    bndiff = t.hprebn[i * TILE + c + j] - mean[j]
                    few_rest[j] += bndiff
                    few_var[j] += bndiff * bndiff
            for j in range(lane(t.h)):
                rest[j] += few_rest[j]
                var[j] += few_var[j]
        for j in range(lane(t.h)):
            left = rest[j] / n
            mean[j] += left
            var[j] = (var[j] - n * left * left) / (n - one)
            inv[j] = one / math.sqrt(var[j] + eps)
            gain[j] = t.bngain[c + j]
            bias[j] = t.bnbias[c + j]
        put(t.bnmean, c, mean)
        put(t.bnvar, c, var)
        put(t.bnvar_inv, c, inv)
        for i in range(rows):
            for j in range(lane(t.h)):
                bnraw[j] = (t.hprebn[i * TILE + c + j] - mean[j]) * inv[j]
                squashed[j] = tanh(gain[j] * bnraw[j] + bias[j])
            put(t.hprebn, i * TILE + c, bnraw)
            put(t.h, i * TILE + c, squashed)


@exact
def average_statistics(t: Tile, momentum: Any) -> None:
    """Move the running averages towards the batch's mean and variance."""
    row, width = np.int64(1), np.int64(TILE)
    lerp(t.running_mean, t.bnmean, momentum, row, width, t.width)
    lerp(t.running_var, t.bnvar, momentum, row, width, t.width)


@exact
def batchnorm_and_tanh_backward(t: Tile, rows: int, n: Any) -> None:
    """Replace dh by dhpreact = (1 − h²) · dh, and that by dhprebn = γσ⁻¹ · (dy − Σdy/n − x̂ · Σ(dy·x̂)/(n−1)).

    The two sums are the gradients of bias and gain. They are sums of sums of a few rows each, since a long sum is
    rounded once a row.
    """
    dgain, dbias, few_gain, few_bias = local(t.dh), local(t.dh), local(t.dh), local(t.dh)
    d, scale, db = local(t.dh), local(t.dh), local(t.dh)
    one = typed(t.dh, 1)
    for c in range(0, t.width, lane(t.dh)):
        clear(dgain)
        clear(dbias)
        for first in range(0, rows, FEW):
            clear(few_gain)
            clear(few_bias)
            for i in range(first, min(first + FEW, rows)):
                place = i * TILE + c
                for j in range(lane(t.dh)):
                    d[j] = t.dh[place + j] * (one - t.h[place + j] * t.h[place + j])
                    few_bias[j] += d[j]
                    few_gain[j] += d[j] * t.bnraw[place + j]
                put(t.dh, place, d)
            for j in range(lane(t.dh)):
                dgain[j] += few_gain[j]
                dbias[j] += few_bias[j]
        put(t.dbngain, c, dgain)
        put(t.dbnbias, c, dbias)
        clear(db)
        for j in range(lane(t.dh)):
            scale[j] = t.bngain[c + j] * t.bnvar_inv[c + j]
            dgain[j] /= n - one
            dbias[j] /= n
        for i in range(rows):
            place = i * TILE + c
            for j in range(lane(t.dh)):
                d[j] = scale[j] * ((t.dh[place + j] - dbias[j]) - t.bnraw[place + j] * dgain[j])
                db[j] += d[j]
            put(t.dh, place, d)
        put(t.db1, c, db)


@exact
def cross_entropy(m: Memory, s: Dimensions, numbers: Numbers, i: int, letter: int) -> Any:
    """Leave dlogits = (softmax − target) / n of example i in place of its logits. Returns its loss.

    The target has `right` for the next letter, and `every` of each letter for label smoothing.
    """
    b2, outside, every = at(m.b2, 0, 0, 0), at(m.target, 0, 0), at(m.target, 1, 0)
    row, top, counts, smooth = local(b2), local(b2), local(b2), local(b2)
    right = at(m.dlogits, letter // PANEL, i, letter % PANEL)  # the next letter's
    one = typed(b2, 1)
    for j in range(lane(b2)):
        top[j] = NO_LETTER
    for c in range(0, s.padded_V, lane(b2)):
        for j in range(lane(b2)):
            row[j] = b2[c + j] + outside[c + j]
        for group in range(s.groups):
            part = at(m.partial_logits, group, c // PANEL, i, c % PANEL)
            for j in range(lane(b2)):
                row[j] += part[j]
        for j in range(lane(b2)):
            top[j] = max(top[j], row[j])
        put(at(m.dlogits, c // PANEL, i, c % PANEL), 0, row)
    highest = largest(top)
    right_loss = numbers.right * (highest - right[0])
    clear(counts)
    clear(smooth)
    for c in range(0, s.padded_V, lane(b2)):
        logits = at(m.dlogits, c // PANEL, i, c % PANEL)
        for j in range(lane(b2)):
            smooth[j] += every[c + j] * (highest - logits[j])
            row[j] = exp(logits[j] - highest)
            counts[j] += row[j]
        put(logits, 0, row)
    counts_sum = total(counts)
    scale, share = one / (counts_sum * numbers.n), one / numbers.n
    for c in range(0, s.padded_V, lane(b2)):
        logits = at(m.dlogits, c // PANEL, i, c % PANEL)
        for j in range(lane(b2)):
            row[j] = logits[j] * scale - every[c + j] * share
        put(logits, 0, row)
    right[0] -= numbers.right * share
    return math.log(counts_sum) + right_loss + total(smooth)
