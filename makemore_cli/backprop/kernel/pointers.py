"""Pointers into the kernel's memory, named after what they point to (see `layout.Memory`)."""

from __future__ import annotations

from typing import NamedTuple

from makemore_cli.backprop.kernel.arithmetic import exact
from makemore_cli.backprop.kernel.intrinsics import Pointer, ahead, at
from makemore_cli.backprop.kernel.layout import GRADIENTS, PANEL, PARAMETERS, TILE, Dimensions, Memory
from makemore_cli.backprop.kernel.products import Matrix, matrix


class Tile(NamedTuple):
    """The data of a tile of hidden units. Rows are TILE numbers apart."""

    W1: Pointer  # padded_E rows for each position of the context
    W2T: Pointer
    bngain: Pointer
    bnbias: Pointer
    b1: Pointer
    dbngain: Pointer
    dbnbias: Pointer
    db1: Pointer
    tables: Pointer
    dtables: Pointer  # overwrites tables
    hprebn: Pointer
    bnraw: Pointer  # overwrites hprebn
    h: Pointer
    dh: Pointer
    dhprebn: Pointer  # overwrites dh
    bnmean: Pointer
    bnvar: Pointer
    bnvar_inv: Pointer
    running_mean: Pointer
    running_var: Pointer
    number: int
    width: int  # hidden units, rounded up to whole lines
    group: int
    adds: bool  # whether its group has an earlier tile, to whose partial sums it adds its own


@exact
def tile_at(m: Memory, s: Dimensions, tile: int) -> Tile:
    bngain = s.T * s.padded_E + s.padded_V
    p, d = at(m.weights, PARAMETERS, tile, 0, 0), at(m.weights, GRADIENTS, tile, 0, 0)
    tables, bnraw, dh = at(m.tables, tile, 0, 0), at(m.units, tile, 0, 0, 0), at(m.units, tile, 2, 0, 0)
    statistics = at(m.statistics, tile, 0, 0)
    return Tile(
        p,
        ahead(p, s.T * s.padded_E * TILE),
        ahead(p, bngain * TILE),
        ahead(p, (bngain + 1) * TILE),
        ahead(p, (bngain + 2) * TILE),
        ahead(d, bngain * TILE),
        ahead(d, (bngain + 1) * TILE),
        ahead(d, (bngain + 2) * TILE),
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
        tile,
        m.tiles[tile, 0],
        m.tiles[tile, 1],
        m.tiles[tile, 2] > 0,
    )


class Letters(NamedTuple):
    """The places of a batch's characters. Each position of the context has a slot for each character that occurs there.

    The first slot of a position is a multiple of ROWS. Between the positions there may be unused slots.
    """

    slot_of_use: Pointer  # (n, T): the slot of each character of the batch
    examples: Pointer  # the examples that have the character of slot 0, then those of slot 1 …
    start: Pointer  # (slots,): where a slot's examples begin
    end: Pointer  # (slots,): where they end
    letter: Pointer  # (slots,): a slot's character
    first: Pointer  # (T,): the first slot of a position
    used: Pointer  # (T,): the number of its slots
    seen: Pointer  # (V,): when a character was last seen
    slot_of_letter: Pointer  # (V,): the slot that it had then


@exact
def letters_of(m: Memory, me: int) -> Letters:
    """The `Letters` of one thread."""
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


class Position(NamedTuple):
    """The data of a tile at one position of the context: the characters there, and the position's part of W1."""

    emb: Matrix  # (slots, E)
    W1: Matrix  # (E, width)
    W1T: Matrix  # (width, E)
    dW1: Matrix  # (E, width)
    table: Matrix  # (slots, width)
    dtable: Matrix  # (slots, width), overwrites the table
    partial_demb: Matrix  # (slots, E), the part of the tile's group
    slots: int


@exact
def position_at(m: Memory, s: Dimensions, t: Tile, letters: Letters, me: int, position: int) -> Position:
    first, row = letters.first[position], position * s.padded_E
    table = matrix(ahead(t.tables, first * TILE), TILE)
    return Position(
        matrix(at(m.emb, me, first, 0), s.padded_E),
        matrix(at(m.weights, PARAMETERS, t.number, row, 0), TILE),
        matrix(at(m.W1T, t.number, position, 0, 0), s.padded_E),
        matrix(at(m.weights, GRADIENTS, t.number, row, 0), TILE),
        table,
        table,
        matrix(at(m.partial_demb, t.group, first, 0), s.padded_E),
        letters.used[position],
    )


class Panel(NamedTuple):
    """The data of a tile and one panel of the vocabulary."""

    W2: Matrix  # (width, letters)
    W2T: Matrix  # (letters, width)
    dW2T: Matrix  # (letters, width)
    partial_logits: Matrix  # (n, letters), the part of the tile's group
    dlogits: Matrix  # (n, letters), the same for every tile
    letters: int
    padded: int  # letters, rounded up to whole lines


@exact
def panel_at(m: Memory, s: Dimensions, t: Tile, panel: int) -> Panel:
    first, row = panel * PANEL, s.T * s.padded_E + panel * PANEL
    return Panel(
        matrix(at(m.W2, t.number, panel, 0, 0), s.ld_panel),
        matrix(at(m.weights, PARAMETERS, t.number, row, 0), TILE),
        matrix(at(m.weights, GRADIENTS, t.number, row, 0), TILE),
        matrix(at(m.partial_logits, t.group, panel, 0, 0), s.ld_panel),
        dlogits_at(m, s, panel),
        min(PANEL, s.V - first),
        min(PANEL, s.padded_V - first),
    )


@exact
def dlogits_at(m: Memory, s: Dimensions, panel: int) -> Matrix:
    return matrix(at(m.dlogits, panel, 0, 0), s.ld_panel)


class Rows(NamedTuple):
    """Some rows of parameters, with their gradients and kept vectors."""

    p: Pointer
    d: Pointer
    velocity: Pointer  # of SGD with momentum
    m: Pointer  # of AdamW, which has no velocity: both are the first kept vector
    v: Pointer  # of AdamW: the second kept vector
    average: Pointer  # the last kept vector
    length: int  # rows
    ld: int  # numbers from one row to the next
    width: int


@exact
def rows(p: Pointer, next_kind: int, kinds: int, length: int, ld: int, width: int) -> Rows:
    kept = ahead(p, 2 * next_kind)
    return Rows(
        p,
        ahead(p, next_kind),
        kept,
        kept,
        ahead(p, 3 * next_kind),
        ahead(p, (kinds - 1) * next_kind),
        length,
        ld,
        width,
    )


@exact
def rows_of_tile(m: Memory, tile: int, first: int, length: int) -> Rows:
    kinds, tiles, all_rows, ld = m.weights.shape
    p = at(m.weights, PARAMETERS, tile, first, 0)
    return rows(p, tiles * all_rows * ld, kinds, length, ld, m.tiles[tile, 0])


@exact
def rows_of_b2(m: Memory) -> Rows:
    kinds, length, width = m.b2.shape
    return rows(at(m.b2, PARAMETERS, 0, 0), width, kinds, length, width, width)


@exact
def rows_of_C(m: Memory, begin: int, end: int) -> Rows:  # noqa: N802
    kinds, length, width = m.C.shape
    return rows(at(m.C, PARAMETERS, begin, 0), length * width, kinds, end - begin, width, width)
