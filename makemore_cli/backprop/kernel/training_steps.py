"""The training steps, compiled for the CPU and divided among threads: the pass of `fused.py`, and then the update.

The lines are those of `fused.py` in the same order, except for the first layer, which is a lookup (`first_layer.py`).

Everything except the logits, the loss, db2 and dC is independent for each hidden unit. So the hidden units are divided
into tiles, and each thread has some of them: from W1 to its part of the logits, and from dlogits back to its part of
dC, it needs nothing from the others. At some points, the barriers, the threads wait for each other. Partial sums are
added in the order of the tiles, so no digit depends on the number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from makemore_cli.backprop.kernel.arithmetic import exact
from makemore_cli.backprop.kernel.first_layer import embed, find_letters, gather_dC, gather_dtables, look_up_hprebn
from makemore_cli.backprop.kernel.intrinsics import Pointer, arrive, arrived, at, pause, typed, yield_core
from makemore_cli.backprop.kernel.layers import (
    average_statistics,
    batchnorm_and_tanh,
    cross_entropy,
    tanh_and_batchnorm_backward,
)
from makemore_cli.backprop.kernel.layout import (
    GRADIENTS,
    PANEL,
    PARAMETERS,
    TILE,
    Array,
    Batches,
    Dimensions,
    Memory,
    Numbers,
)
from makemore_cli.backprop.kernel.pointers import (
    Tile,
    dlogits_at,
    letters_of,
    panel_at,
    position_at,
    rows_of_b2,
    rows_of_C,
    rows_of_tile,
    tile_at,
)
from makemore_cli.backprop.kernel.products import add_product, matrix, product, sum_rows, transpose, transposed
from makemore_cli.backprop.kernel.update import clip_factor, squares, update
from makemore_cli.backprop.update_numbers import Factors, Rule

SPINS = 2000  # times that a waiting thread reads the counter before it yields its core


@exact
def barrier(counter: Pointer, threads: int, barriers: int) -> int:
    """Wait until all threads have reached this barrier. Returns the number of barriers so far."""
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
def update_tile(m: Memory, s: Dimensions, t: Tile, rule: Rule, factors: Factors, scale: Any) -> None:
    """Update a tile's parameters, and then W1T and W2."""
    for position in range(s.T):  # one by one, without the rows that pad E
        update(rows_of_tile(m, t.number, position * s.padded_E, s.E), rule, factors, scale)
    first = s.T * s.padded_E  # row of W2T, which bngain, bnbias and b1 follow
    update(rows_of_tile(m, t.number, first, s.trained - first), rule, factors, scale)
    transpose_weights(m, s, t)


@exact
def transpose_weights(m: Memory, s: Dimensions, t: Tile) -> None:
    """Renew W1T and W2, which the products read, from W1 and W2T."""
    for position in range(s.T):
        W1 = matrix(at(m.weights, PARAMETERS, t.number, position * s.padded_E, 0), TILE)
        transpose(matrix(at(m.W1T, t.number, position, 0, 0), s.padded_E), W1, s.padded_E, t.width)
    for v in range(s.panels):
        panel = panel_at(m, s, t, v)
        transpose(panel.W2, panel.W2T, panel.padded, t.width)


def train_steps(
    m: Memory, s: Dimensions, numbers: Numbers, rule: Rule, batches: Batches, arrivals: Array, me: int, threads: int
) -> None:
    """Train all steps as thread `me` of `threads`, which all run this at the same time.

    `machine_code.py` has it compiled. `arrivals` counts the arrivals of threads at barriers, from 0.
    """
    counter, barriers = at(arrivals, 0), np.int64(0)
    # The work of this thread: tiles, examples for the loss, and characters for C.
    first, last = s.groups * me // threads, s.groups * (me + 1) // threads
    tiles = range(s.tiles * first // s.groups, s.tiles * last // s.groups)
    examples = range(s.n * me // threads, s.n * (me + 1) // threads)
    first_letter, last_letter = s.V * me // threads, s.V * (me + 1) // threads
    letters = letters_of(m, me)
    for letter in range(s.V):
        letters.seen[letter] = 0
    for tile in tiles:
        transpose_weights(m, s, tile_at(m, s, tile))

    for step in range(batches.X.shape[0]):
        f = at(batches.factors, step, 0)
        factors, scale = Factors(f[0], f[1], f[2], f[3], f[4]), typed(numbers.n, 1)
        # Each thread finds and embeds the characters for itself, which takes less time than waiting for another. All
        # find the same, so a slot has the same number in every thread.
        slots = find_letters(letters, batches.X, step)
        barriers = barrier(counter, threads, barriers)  # the last step is over: C and b2 are updated

        # Forward.
        embed(at(m.emb, me, 0, 0), at(m.C, PARAMETERS, 0, 0), letters, s)
        for tile in tiles:
            t = tile_at(m, s, tile)
            for p in range(s.T):
                position = position_at(m, s, t, letters, me, p)
                product(position.table, position.emb, position.W1, position.slots, s.E, t.width)  # emb @ W1
            look_up_hprebn(t, letters, s)  # embcat @ W1 + b1
            batchnorm_and_tanh(t, s, numbers)
            average_statistics(t, numbers.running_momentum)
            for v in range(s.panels):
                panel = panel_at(m, s, t, v)
                h = matrix(t.h, TILE)
                add_product(t.adds, panel.partial_logits, h, panel.W2, s.n, t.width, panel.padded)  # h @ W2
        barriers = barrier(counter, threads, barriers)  # all parts of the logits are ready
        for i in examples:
            m.losses[i] = cross_entropy(m, s, numbers, i, batches.Y[step, i])
        barriers = barrier(counter, threads, barriers)  # dlogits is ready

        # Backward.
        if me == 0:
            for v in range(s.panels):
                db2 = at(m.b2, GRADIENTS, 0, v * PANEL)
                sum_rows(db2, dlogits_at(m, s, v), s.n, min(PANEL, s.padded_V - v * PANEL))  # dlogits.sum(0)
        for tile in tiles:
            t = tile_at(m, s, tile)
            h, dh = matrix(t.h, TILE), matrix(t.dh, TILE)
            for v in range(s.panels):
                panel = panel_at(m, s, t, v)
                product(panel.dW2T, transposed(panel.dlogits), h, panel.letters, s.n, t.width)  # dlogits.T @ h
                add_product(v > 0, dh, panel.dlogits, panel.W2T, s.n, panel.letters, t.width)  # dlogits @ W2.T
            tanh_and_batchnorm_backward(t, s, numbers)  # dhpreact, dbngain, dbnbias, dhprebn, db1
            gather_dtables(t, letters, slots)
            for p in range(s.T):
                position = position_at(m, s, t, letters, me, p)
                emb, dtable = transposed(position.emb), position.dtable
                product(position.dW1, emb, dtable, s.E, position.slots, t.width)  # emb.T @ dtable
                demb = position.partial_demb
                add_product(t.adds, demb, dtable, position.W1T, position.slots, t.width, s.padded_E)  # dtable @ W1.T
            if rule.clip == 0:
                update_tile(m, s, t, rule, factors, scale)  # at once: no other thread reads this tile's parameters
        barriers = barrier(counter, threads, barriers)  # all parts of demb are ready, and db2
        gather_dC(at(m.C, GRADIENTS, 0, 0), m.partial_demb, letters, s, first_letter, last_letter)

        # The update. If gradients are clipped, the tiles are updated here, since they need the norm of all gradients.
        if rule.clip > 0:
            for tile in tiles:
                m.squares[tile] = squares(rows_of_tile(m, tile, np.int64(0), s.trained))
            for letter in range(first_letter, last_letter):
                m.squares[s.tiles + letter] = squares(rows_of_C(m, letter, letter + 1))
            barriers = barrier(counter, threads, barriers)  # all squares are ready
            scale = typed(numbers.n, clip_factor(m.squares, squares(rows_of_b2(m)), rule.clip))
            for tile in tiles:
                update_tile(m, s, tile_at(m, s, tile), rule, factors, scale)
        update(rows_of_C(m, first_letter, last_letter), rule, factors, scale)  # rows that this thread has gathered
        if me == 0:
            update(rows_of_b2(m), rule, factors, scale)
            batches.losses[step] = 0
            for i in range(s.n):
                batches.losses[step] += m.losses[i] / s.n
