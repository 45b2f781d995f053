"""Where things begin in the kernel's memory: pointers, by the names of what they point to (see `layout.Memory`)."""

from __future__ import annotations

from typing import NamedTuple

from makemore_cli.backprop.kernel.arithmetic import exact
from makemore_cli.backprop.kernel.intrinsics import Pointer, ahead, at
from makemore_cli.backprop.kernel.layout import TILE, Dimensions, Memory


class Tile(NamedTuple):
    """What belongs to a tile of hidden units. Rows are TILE numbers apart if not said otherwise."""

    W1: Pointer  # rows for each place, padded_E of them
    W2T: Pointer
    bngain: Pointer
    bnbias: Pointer
    b1: Pointer
    dW1: Pointer
    dW2T: Pointer
    dbngain: Pointer
    dbnbias: Pointer
    db1: Pointer
    W1T: Pointer  # rows padded_E numbers apart, TILE of them for each place
    W2: Pointer  # rows ld_panel numbers apart, TILE of them for each panel
    tables: Pointer
    dtables: Pointer  # in the same place
    hprebn: Pointer
    bnraw: Pointer  # in the same place
    h: Pointer
    dh: Pointer
    dhprebn: Pointer  # in the same place
    bnmean: Pointer
    bnvar: Pointer
    bnvar_inv: Pointer
    running_mean: Pointer
    running_var: Pointer
    width: int


@exact
def tile_at(m: Memory, s: Dimensions, tile: int) -> Tile:
    W2T, bngain = s.T * s.padded_E, s.T * s.padded_E + s.padded_V
    p, d = at(m.weights, 0, tile, 0, 0), at(m.weights, 1, tile, 0, 0)
    tables, bnraw, dh = at(m.tables, tile, 0, 0), at(m.units, tile, 0, 0, 0), at(m.units, tile, 2, 0, 0)
    statistics = at(m.statistics, tile, 0, 0)
    return Tile(
        p,
        ahead(p, W2T * TILE),
        ahead(p, bngain * TILE),
        ahead(p, (bngain + 1) * TILE),
        ahead(p, (bngain + 2) * TILE),
        d,
        ahead(d, W2T * TILE),
        ahead(d, bngain * TILE),
        ahead(d, (bngain + 1) * TILE),
        ahead(d, (bngain + 2) * TILE),
        at(m.W1T, tile, 0, 0, 0),
        at(m.W2, tile, 0, 0, 0),
        tables,
        tables,
        bnraw,
        bnraw,
        at(m.units, tile, 1, 0, 0),
        dh,
        dh,
        statistics,
        ahead(statistics, TILE),
        ahead(statistics, 2 * TILE),
        ahead(statistics, 3 * TILE),
        ahead(statistics, 4 * TILE),
        m.widths[tile],
    )


class Letters(NamedTuple):
    """Where the letters of a batch stand. Each place of the context has a slot for each letter that it has there.

    The first slot of a place is a multiple of four.
    """

    slots: Pointer  # (n, T): the slot of each letter of the batch
    examples: Pointer  # the examples that have the letter of slot 0, then those of slot 1 …
    start: Pointer  # where a slot's examples begin,
    end: Pointer  # and end
    letters: Pointer  # a slot's letter
    first: Pointer  # (T,): a place's first slot,
    used: Pointer  # (T,): and the number of its slots
    seen: Pointer  # (V,): when a letter was last seen,
    slot: Pointer  # (V,): and the slot that it had


@exact
def letters_of(m: Memory, me: int) -> Letters:
    """Those of one thread."""
    return Letters(
        at(m.letters, me, 0, 0),
        at(m.letters, me, 1, 0),
        at(m.letters, me, 2, 0),
        at(m.letters, me, 3, 0),
        at(m.letters, me, 4, 0),
        at(m.letters, me, 5, 0),
        at(m.letters, me, 6, 0),
        at(m.letters, me, 7, 0),
        at(m.letters, me, 8, 0),
    )


class Rows(NamedTuple):
    """Where some rows of parameters begin, their gradients, and what is kept for each of them; and their extent."""

    p: Pointer
    d: Pointer
    velocity: Pointer  # of SGD with momentum,
    m: Pointer  # or of AdamW, in the same place,
    v: Pointer  # and after it
    average: Pointer  # the last
    length: int  # rows
    ld: int  # numbers from row to row
    width: int


@exact
def rows(p: Pointer, next_copy: int, copies: int, count: int, ld: int, width: int) -> Rows:
    kept = ahead(p, 2 * next_copy)
    return Rows(
        p,
        ahead(p, next_copy),
        kept,
        kept,
        ahead(p, 3 * next_copy),
        ahead(p, (copies - 1) * next_copy),
        count,
        ld,
        width,
    )


@exact
def rows_of_tile(m: Memory, tile: int, first: int, count: int) -> Rows:
    _, tiles, length, ld = m.weights.shape
    return rows(at(m.weights, 0, tile, first, 0), tiles * length * ld, len(m.weights), count, ld, m.widths[tile])


@exact
def rows_of_b2(m: Memory) -> Rows:
    width = m.b2.shape[2]
    return rows(at(m.b2, 0, 0, 0), width, len(m.b2), m.b2.shape[1], width, width)


@exact
def rows_of_C(m: Memory, begin: int, end: int) -> Rows:  # noqa: N802
    _, length, width = m.C.shape
    return rows(at(m.C, 0, begin, 0), length * width, len(m.C), end - begin, width, width)
