"""Batchnorm and tanh, forward and backward, for one tile; and cross-entropy, for one example."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from makemore_cli.backprop.kernel.arithmetic import clear, exact, exp, largest, put, tanh, total
from makemore_cli.backprop.kernel.intrinsics import at, strip, strip_length, typed
from makemore_cli.backprop.kernel.layout import NO_LETTER, PANEL, PARAMETERS, TILE, Dimensions, Memory, Numbers
from makemore_cli.backprop.kernel.pointers import Tile
from makemore_cli.backprop.kernel.products import FEW
from makemore_cli.backprop.kernel.update import lerp


@exact
def batchnorm_and_tanh(t: Tile, s: Dimensions, numbers: Numbers) -> None:
    """Set bnraw, in place of hprebn (n, width), and h = tanh(bngain · bnraw + bnbias).

    On entry, bnmean is the sum of rows. The mean of many rows has a rounding error. So δ, the mean of the differences
    from it, which should be zero, is added to it, and the sum of squares is corrected accordingly:
    Σ(x − m − δ)² = Σ(x − m)² − n·δ².
    """
    n, one = numbers.n, typed(t.h, 1)
    mean, differences, squares, inv = strip(t.h), strip(t.h), strip(t.h), strip(t.h)
    few_differences, few_squares = strip(t.h), strip(t.h)
    gain, bias, bnraw, h = strip(t.h), strip(t.h), strip(t.h), strip(t.h)
    for c in range(0, t.width, strip_length(t.h)):
        for j in range(strip_length(t.h)):
            mean[j] = t.bnmean[c + j] / n
        clear(differences)
        clear(squares)
        for first in range(0, s.n, FEW):
            clear(few_differences)
            clear(few_squares)
            for i in range(first, min(first + FEW, s.n)):
                for j in range(strip_length(t.h)):
                    bndiff = t.hprebn[i * TILE + c + j] - mean[j]
                    few_differences[j] += bndiff
                    few_squares[j] += bndiff * bndiff
            for j in range(strip_length(t.h)):
                differences[j] += few_differences[j]
                squares[j] += few_squares[j]
        for j in range(strip_length(t.h)):
            error = differences[j] / n
            mean[j] += error
            squares[j] = (squares[j] - n * error * error) / (n - one)
            inv[j] = one / math.sqrt(squares[j] + numbers.eps)
            gain[j] = t.bngain[c + j]
            bias[j] = t.bnbias[c + j]
        put(t.bnmean, c, mean)
        put(t.bnvar, c, squares)
        put(t.bnvar_inv, c, inv)
        for i in range(s.n):
            for j in range(strip_length(t.h)):
                bnraw[j] = (t.hprebn[i * TILE + c + j] - mean[j]) * inv[j]
                h[j] = tanh(gain[j] * bnraw[j] + bias[j])
            put(t.bnraw, i * TILE + c, bnraw)
            put(t.h, i * TILE + c, h)


@exact
def average_statistics(t: Tile, momentum: Any) -> None:
    """Move the running averages towards the batch's mean and variance."""
    row, width = np.int64(1), np.int64(TILE)
    lerp(t.running_mean, t.bnmean, momentum, row, width, t.width)
    lerp(t.running_var, t.bnvar, momentum, row, width, t.width)


@exact
def tanh_and_batchnorm_backward(t: Tile, s: Dimensions, numbers: Numbers) -> None:
    """Set dhpreact = (1 − h²) · dh, and then dhprebn = γσ⁻¹ · (dy − Σdy/n − x̂ · Σ(dy·x̂)/(n−1)), all in place of dh.

    The two sums are the gradients of bias and gain. Summing in blocks of FEW rows keeps rounding errors small.
    """
    n, one = numbers.n, typed(t.dh, 1)
    dbngain, dbnbias, few_dbngain, few_dbnbias = strip(t.dh), strip(t.dh), strip(t.dh), strip(t.dh)
    dhpreact, dhprebn, db1 = strip(t.dh), strip(t.dh), strip(t.dh)
    scale, mean_dbngain, mean_dbnbias = strip(t.dh), strip(t.dh), strip(t.dh)
    for c in range(0, t.width, strip_length(t.dh)):
        clear(dbngain)
        clear(dbnbias)
        for first in range(0, s.n, FEW):
            clear(few_dbngain)
            clear(few_dbnbias)
            for i in range(first, min(first + FEW, s.n)):
                offset = i * TILE + c
                for j in range(strip_length(t.dh)):
                    dhpreact[j] = t.dh[offset + j] * (one - t.h[offset + j] * t.h[offset + j])
                    few_dbnbias[j] += dhpreact[j]
                    few_dbngain[j] += dhpreact[j] * t.bnraw[offset + j]
                put(t.dh, offset, dhpreact)
            for j in range(strip_length(t.dh)):
                dbngain[j] += few_dbngain[j]
                dbnbias[j] += few_dbnbias[j]
        put(t.dbngain, c, dbngain)
        put(t.dbnbias, c, dbnbias)
        clear(db1)
        for j in range(strip_length(t.dh)):
            scale[j] = t.bngain[c + j] * t.bnvar_inv[c + j]
            mean_dbngain[j] = dbngain[j] / (n - one)
            mean_dbnbias[j] = dbnbias[j] / n
        for i in range(s.n):
            offset = i * TILE + c
            for j in range(strip_length(t.dh)):
                centred = (t.dh[offset + j] - mean_dbnbias[j]) - t.bnraw[offset + j] * mean_dbngain[j]
                dhprebn[j] = scale[j] * centred
                db1[j] += dhprebn[j]
            put(t.dhprebn, offset, dhprebn)
        put(t.db1, c, db1)


@exact
def cross_entropy(m: Memory, s: Dimensions, numbers: Numbers, i: int, letter: int) -> Any:
    """Set dlogits = (softmax − target) / n for example i. Returns its loss.

    With label smoothing s, the target is 1 − s for the next character, plus s/V for every character.
    """
    b2, mask, smoothing = at(m.b2, PARAMETERS, 0, 0), at(m.target, 0, 0), at(m.target, 1, 0)
    row, top, counts, smoothed = strip(b2), strip(b2), strip(b2), strip(b2)
    next_letter = at(m.dlogits, letter // PANEL, i, letter % PANEL)
    one = typed(b2, 1)
    for j in range(strip_length(b2)):
        top[j] = NO_LETTER
    for v in range(0, s.padded_V, strip_length(b2)):
        for j in range(strip_length(b2)):
            row[j] = b2[v + j] + mask[v + j]
        for group in range(s.groups):
            part = at(m.partial_logits, group, v // PANEL, i, v % PANEL)
            for j in range(strip_length(b2)):
                row[j] += part[j]
        for j in range(strip_length(b2)):
            top[j] = max(top[j], row[j])
        put(at(m.dlogits, v // PANEL, i, v % PANEL), 0, row)  # the logits
    highest = largest(top)
    right_loss = numbers.right * (highest - next_letter[0])
    clear(counts)
    clear(smoothed)
    for v in range(0, s.padded_V, strip_length(b2)):
        logits = at(m.dlogits, v // PANEL, i, v % PANEL)
        for j in range(strip_length(b2)):
            smoothed[j] += smoothing[v + j] * (highest - logits[j])
            row[j] = exp(logits[j] - highest)
            counts[j] += row[j]
        put(logits, 0, row)  # the counts
    counts_sum = total(counts)
    scale, one_over_n = one / (counts_sum * numbers.n), one / numbers.n
    for v in range(0, s.padded_V, strip_length(b2)):
        dlogits = at(m.dlogits, v // PANEL, i, v % PANEL)
        for j in range(strip_length(b2)):
            row[j] = dlogits[j] * scale - smoothing[v + j] * one_over_n
        put(dlogits, 0, row)
    next_letter[0] -= numbers.right * one_over_n
    # −log p = log(counts_sum) + highest − logit, and the target's entries sum to one.
    return math.log(counts_sum) + right_loss + total(smoothed)
