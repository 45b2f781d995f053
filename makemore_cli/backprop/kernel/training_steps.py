"""The training pass of `fused.py`, compiled for the CPU and shared among threads: the same lines in the same order.

Everything but the logits and dC is independent for each hidden unit. So the hidden units are cut into tiles, and each
thread has some of them: from W1 to its part of the logits, and from dlogits back to its part of dC, it needs nothing
of the others. They meet at four barriers a step. The parts of a sum are added in the order of the tiles, so that no
digit depends on the number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from makemore_cli.backprop.kernel.arithmetic import exact
from makemore_cli.backprop.kernel.first_layer import embed, embed_backward, find_letters, look_up, look_up_backward
from makemore_cli.backprop.kernel.intrinsics import Pointer, ahead, arrive, arrived, at, pause, typed, yield_core
from makemore_cli.backprop.kernel.layers import batchnorm_and_tanh, batchnorm_and_tanh_backward, cross_entropy
from makemore_cli.backprop.kernel.layout import PANEL, TILE, Array, Batches, Dimensions, Memory, Numbers
from makemore_cli.backprop.kernel.places import Tile, letters_of, rows_of_b2, rows_of_C, rows_of_tile, tile_at
from makemore_cli.backprop.kernel.products import add_product, matrix, product, sum_rows, transpose, transposed
from makemore_cli.backprop.kernel.update import clip_factor, lerp, squares, update
from makemore_cli.backprop.update_numbers import Rule

SPINS = 2000  # looks at the counter before a waiting thread lets others have its core


@exact
def meet(counter: Pointer, threads: int, barriers: int) -> int:
    """Come to the next barrier, and wait for the other threads. Returns the number of barriers so far."""
    barriers += 1
    arrive(counter)
    spins = 0
    while arrived(counter) < barriers * threads:
        spins += 1
        if spins < SPINS:
            pause()
        else:
            yield_core()
    return barriers


@exact
def update_tile(m: Memory, s: Dimensions, rule: Rule, factors: Pointer, scale: Any, tile: int) -> None:
    """Update a tile's parameters, and the copies of both layers' weights."""
    for place in range(s.T):
        update(rows_of_tile(m, tile, place * s.padded_E, s.E), rule, factors, scale)
    W2T = s.T * s.padded_E
    update(rows_of_tile(m, tile, W2T, s.trained - W2T), rule, factors, scale)
    transpose_weights(tile_at(m, s, tile), s)


@exact
def transpose_weights(t: Tile, s: Dimensions) -> None:
    for place in range(s.T):
        W1, W1T = ahead(t.W1, place * s.padded_E * TILE), ahead(t.W1T, place * TILE * s.padded_E)
        transpose(W1T, s.padded_E, W1, TILE, s.padded_E, t.width)
    for panel in range(s.panels):
        first = panel * PANEL
        W2T, W2 = ahead(t.W2T, first * TILE), ahead(t.W2, panel * TILE * s.ld_panel)
        transpose(W2, s.ld_panel, W2T, TILE, min(PANEL, s.padded_V - first), t.width)


def train_steps(
    m: Memory, s: Dimensions, numbers: Numbers, rule: Rule, batches: Batches, arrivals: Array, me: int, threads: int
) -> None:
    """Train all steps, as thread `me` of `threads`, which all do this at the same time."""
    n, counter, barriers = numbers.n, at(arrivals, 0), np.int64(0)
    group_first, group_last = s.groups * me // threads, s.groups * (me + 1) // threads
    mine = range(s.tiles * group_first // s.groups, s.tiles * group_last // s.groups)  # this thread's tiles
    b = letters_of(m, me)
    emb = at(m.emb, me, 0, 0)
    for letter in range(s.V):
        b.seen[letter] = 0
    for tile in mine:
        transpose_weights(tile_at(m, s, tile), s)

    for step in range(batches.X.shape[0]):
        factors, scale = at(batches.factors, step, 0), typed(n, 1)
        slots = find_letters(b, batches.X, step)
        barriers = meet(counter, threads, barriers)  # C is up to date

        # Forward.
        embed(emb, at(m.C, 0, 0, 0), b, s)
        for group in range(group_first, group_last):
            group_begin = s.tiles * group // s.groups
            for tile in range(group_begin, s.tiles * (group + 1) // s.groups):
                t = tile_at(m, s, tile)
                for place in range(s.T):
                    u = b.first[place]
                    ours = matrix(ahead(emb, u * s.padded_E), s.padded_E)
                    W1 = matrix(ahead(t.W1, place * s.padded_E * TILE), TILE)
                    product(matrix(ahead(t.tables, u * TILE), TILE), ours, W1, b.used[place], s.E, t.width)
                look_up(t, b, s)
                batchnorm_and_tanh(t, s.n, n, numbers.eps)
                lerp(t.running_mean, t.bnmean, numbers.running_momentum, np.int64(1), np.int64(TILE), t.width)
                lerp(t.running_var, t.bnvar, numbers.running_momentum, np.int64(1), np.int64(TILE), t.width)
                for panel in range(s.panels):
                    logits = matrix(at(m.partial_logits, group, panel, 0, 0), s.ld_panel)
                    W2 = matrix(ahead(t.W2, panel * TILE * s.ld_panel), s.ld_panel)
                    letters = min(PANEL, s.padded_V - panel * PANEL)
                    add_product(tile > group_begin, logits, matrix(t.h, TILE), W2, s.n, t.width, letters)
        barriers = meet(counter, threads, barriers)  # all parts of the logits are there
        for i in range(s.n * me // threads, s.n * (me + 1) // threads):
            m.losses[i] = cross_entropy(m, s, numbers, i, batches.Y[step, i])
        barriers = meet(counter, threads, barriers)  # dlogits is there

        # Backward, from the loss up.
        if me == 0:
            for panel in range(s.panels):
                first = panel * PANEL
                db2, letters = at(m.b2, 1, 0, first), min(PANEL, s.padded_V - first)
                sum_rows(db2, at(m.dlogits, panel, 0, 0), s.n, s.ld_panel, letters)
        for group in range(group_first, group_last):
            group_begin = s.tiles * group // s.groups
            for tile in range(group_begin, s.tiles * (group + 1) // s.groups):
                t = tile_at(m, s, tile)
                for panel in range(s.panels):
                    first = panel * PANEL
                    dlogits, letters = at(m.dlogits, panel, 0, 0), min(PANEL, s.V - first)
                    dW2T = matrix(ahead(t.dW2T, first * TILE), TILE)
                    W2T = matrix(ahead(t.W2T, first * TILE), TILE)
                    product(dW2T, transposed(dlogits, s.ld_panel), matrix(t.h, TILE), letters, s.n, t.width)
                    add_product(panel > 0, matrix(t.dh, TILE), matrix(dlogits, s.ld_panel), W2T, s.n, letters, t.width)
                batchnorm_and_tanh_backward(t, s.n, n)
                look_up_backward(t, b, slots)
                for place in range(s.T):
                    u = b.first[place]
                    ours, dtables = ahead(emb, u * s.padded_E), matrix(ahead(t.dtables, u * TILE), TILE)
                    dW1 = matrix(ahead(t.dW1, place * s.padded_E * TILE), TILE)
                    product(dW1, transposed(ours, s.padded_E), dtables, s.E, b.used[place], t.width)
                    demb = matrix(at(m.partial_demb, group, u, 0), s.padded_E)
                    W1T = matrix(ahead(t.W1T, place * TILE * s.padded_E), s.padded_E)
                    add_product(tile > group_begin, demb, dtables, W1T, b.used[place], t.width, s.padded_E)
                if rule.clip == 0:
                    update_tile(m, s, rule, factors, scale, tile)
        barriers = meet(counter, threads, barriers)  # all parts of dC are there
        begin, end = s.V * me // threads, s.V * (me + 1) // threads  # this thread's letters
        embed_backward(at(m.C, 1, 0, 0), m.partial_demb, b, s, begin, end)

        # The update; of the tiles, only if it had to wait for the gradient's norm.
        if rule.clip > 0:
            for tile in mine:
                m.squares[tile] = squares(rows_of_tile(m, tile, np.int64(0), s.trained))
            for letter in range(begin, end):
                m.squares[s.tiles + letter] = squares(rows_of_C(m, letter, letter + 1))
            barriers = meet(counter, threads, barriers)  # all squares are there
            scale = typed(n, clip_factor(m.squares, squares(rows_of_b2(m)), rule.clip))
            for tile in mine:
                update_tile(m, s, rule, factors, scale, tile)
        update(rows_of_C(m, begin, end), rule, factors, scale)
        if me == 0:
            update(rows_of_b2(m), rule, factors, scale)
            batches.losses[step] = 0
            for i in range(s.n):
                batches.losses[step] += m.losses[i] / s.n
