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
from makemore_cli.backprop.kernel.intrinsics import Pointer, arrive, arrived, at, pause, typed, yield_core
from makemore_cli.backprop.kernel.layers import (
    average_statistics,
    batchnorm_and_tanh,
    batchnorm_and_tanh_backward,
    cross_entropy,
)
from makemore_cli.backprop.kernel.layout import PANEL, TILE, Array, Batches, Dimensions, Memory, Numbers
from makemore_cli.backprop.kernel.places import (
    Tile,
    letters_of,
    panel_at,
    place_at,
    rows_of_b2,
    rows_of_C,
    rows_of_tile,
    tile_at,
)
from makemore_cli.backprop.kernel.products import add_product, matrix, product, sum_rows, transpose, transposed
from makemore_cli.backprop.kernel.update import clip_factor, squares, update
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
def update_tile(m: Memory, s: Dimensions, t: Tile, rule: Rule, factors: Pointer, scale: Any) -> None:
    """Update a tile's parameters, and the copies of both layers' weights."""
    for place in range(s.T):
        update(rows_of_tile(m, t.number, place * s.padded_E, s.E), rule, factors, scale)
    W2T = s.T * s.padded_E
    update(rows_of_tile(m, t.number, W2T, s.trained - W2T), rule, factors, scale)
    transpose_weights(m, s, t)


@exact
def transpose_weights(m: Memory, s: Dimensions, t: Tile) -> None:
    for place in range(s.T):
        W1 = matrix(at(m.weights, 0, t.number, place * s.padded_E, 0), TILE)
        transpose(matrix(at(m.W1T, t.number, place, 0, 0), s.padded_E), W1, s.padded_E, t.width)
    for panel in range(s.panels):
        v = panel_at(m, s, t, panel)
        transpose(v.W2, v.W2T, v.padded, t.width)


def train_steps(
    m: Memory, s: Dimensions, numbers: Numbers, rule: Rule, batches: Batches, arrivals: Array, me: int, threads: int
) -> None:
    """Train all steps, as thread `me` of `threads`, which all do this at the same time."""
    n, counter, barriers = numbers.n, at(arrivals, 0), np.int64(0)
    first, last = s.groups * me // threads, s.groups * (me + 1) // threads
    tiles = range(s.tiles * first // s.groups, s.tiles * last // s.groups)  # this thread's,
    examples = range(s.n * me // threads, s.n * (me + 1) // threads)  # for the loss,
    first_letter, last_letter = s.V * me // threads, s.V * (me + 1) // threads  # and for C
    b = letters_of(m, me)
    for letter in range(s.V):
        b.seen[letter] = 0
    for tile in tiles:
        transpose_weights(m, s, tile_at(m, s, tile))

    for step in range(batches.X.shape[0]):
        factors, scale = at(batches.factors, step, 0), typed(n, 1)
        slots = find_letters(b, batches.X, step)
        barriers = meet(counter, threads, barriers)  # C is up to date

        # Forward.
        embed(at(m.emb, me, 0, 0), at(m.C, 0, 0, 0), b, s)
        for tile in tiles:
            t = tile_at(m, s, tile)
            for place in range(s.T):
                x = place_at(m, s, t, b, me, place)
                product(x.table, x.emb, x.W1, x.slots, s.E, t.width)  # emb @ W1
            look_up(t, b, s)
            batchnorm_and_tanh(t, s.n, n, numbers.eps)
            average_statistics(t, numbers.running_momentum)
            for panel in range(s.panels):
                v = panel_at(m, s, t, panel)
                add_product(t.adds, v.logits, matrix(t.h, TILE), v.W2, s.n, t.width, v.padded)  # h @ W2
        barriers = meet(counter, threads, barriers)  # all parts of the logits are there
        for i in examples:
            m.losses[i] = cross_entropy(m, s, numbers, i, batches.Y[step, i])
        barriers = meet(counter, threads, barriers)  # dlogits is there

        # Backward, from the loss up.
        if me == 0:
            for panel in range(s.panels):
                v = panel_at(m, s, tile_at(m, s, np.int64(0)), panel)
                sum_rows(at(m.b2, 1, 0, panel * PANEL), v.dlogits, s.n, v.padded)  # db2 = dlogits.sum(0)
        for tile in tiles:
            t = tile_at(m, s, tile)
            for panel in range(s.panels):
                v = panel_at(m, s, t, panel)
                product(v.dW2T, transposed(v.dlogits), matrix(t.h, TILE), v.letters, s.n, t.width)  # dlogits.T @ h
                add_product(panel > 0, matrix(t.dh, TILE), v.dlogits, v.W2T, s.n, v.letters, t.width)  # dlogits @ W2.T
            batchnorm_and_tanh_backward(t, s.n, n)
            look_up_backward(t, b, slots)
            for place in range(s.T):
                x = place_at(m, s, t, b, me, place)
                product(x.dW1, transposed(x.emb), x.dtable, s.E, x.slots, t.width)  # emb.T @ dtable
                add_product(t.adds, x.demb, x.dtable, x.W1T, x.slots, t.width, s.padded_E)  # dtable @ W1.T
            if rule.clip == 0:
                update_tile(m, s, t, rule, factors, scale)
        barriers = meet(counter, threads, barriers)  # all parts of demb are there
        embed_backward(at(m.C, 1, 0, 0), m.partial_demb, b, s, first_letter, last_letter)

        # The update; of the tiles, only if it had to wait for the gradient's norm.
        if rule.clip > 0:
            for tile in tiles:
                m.squares[tile] = squares(rows_of_tile(m, tile, np.int64(0), s.trained))
            for letter in range(first_letter, last_letter):
                m.squares[s.tiles + letter] = squares(rows_of_C(m, letter, letter + 1))
            barriers = meet(counter, threads, barriers)  # all squares are there
            scale = typed(n, clip_factor(m.squares, squares(rows_of_b2(m)), rule.clip))
            for tile in tiles:
                update_tile(m, s, tile_at(m, s, tile), rule, factors, scale)
        update(rows_of_C(m, first_letter, last_letter), rule, factors, scale)
        if me == 0:
            update(rows_of_b2(m), rule, factors, scale)
            batches.losses[step] = 0
            for i in range(s.n):
                batches.losses[step] += m.losses[i] / s.n
