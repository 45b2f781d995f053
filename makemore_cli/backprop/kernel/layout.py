"""The kernel's memory: its arrays, their shapes, and the place of the parameters in them.

Hidden units are divided into tiles of at most `TILE`. The data of a tile lies together, so the thread that owns it
finds it in its own cache. Tiles form groups, as many as threads can be used; a thread owns whole groups.

The vocabulary is divided into panels of `PANEL` characters. The logits of a panel are a matrix of their own, which fits
into a cache.

Every width is padded to a multiple of `LINE`, and every array starts at a cache line. The padding of parameters is zero
and stays zero, since its gradient is zero; other padding never affects a result.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from makemore_cli.network.model import Sizes

LINE = 16  # float32 numbers in a cache line
TILE = 64  # hidden units
ROWS = 4  # that a matrix product computes at a time
FEWEST_TILES = 2  # if there are enough hidden units
MOST_GROUPS = 16
PANEL = 128  # characters of the vocabulary
PARAMETERS, GRADIENTS = 0, 1  # indices of the kinds of numbers in the weights, b2 and C
NO_LETTER = -1e30  # logit of the vocabulary's padding, whose probability is then exactly zero

Array = Any  # a NumPy array, or its type and shape


class Dimensions(NamedTuple):
    """The lengths that the compiled pass works with."""

    n: int
    T: int
    E: int
    V: int
    padded_E: int
    padded_V: int
    panels: int
    ld_panel: int  # numbers from one row of a panel to the next
    tiles: int
    groups: int
    trained: int  # rows of a tile's weights that are trained: all, or all but the last, b1


class Memory(NamedTuple):
    """The arrays of the compiled pass. Widths are padded. Numbers have the parameters' type unless stated otherwise.

    Each parameter has several kinds of numbers: the parameter, its gradient, the optimiser's vectors (velocity, or m
    and v), and its average.
    """

    weights: (
        Array  # (kinds, tiles, rows, TILE); the rows are those of W1 for each position, of W2T, bngain, bnbias and b1
    )
    b2: Array  # (kinds, 1, V)
    C: Array  # (kinds, V, E)
    W1T: Array  # (tiles, T, TILE, E), the transpose of W1, renewed after each update
    W2: Array  # (tiles, panels, TILE, PANEL), the transpose of W2T, renewed likewise
    emb: Array  # (threads, slots, E), the rows of C that a batch uses
    tables: Array  # (tiles, slots, TILE): emb @ W1, then dtables
    units: Array  # (tiles, 3, n, TILE): hprebn, then bnraw; h; dh, then dhpreact, then dhprebn
    statistics: Array  # (tiles, 5, TILE): bnmean, bnvar, bnvar_inv, and running averages of the first two
    partial_logits: Array  # (groups, panels, n, PANEL)
    dlogits: Array  # (panels, n, PANEL): logits, then dlogits
    partial_demb: Array  # (groups, slots, E)
    target: Array  # (2, V): zero, or NO_LETTER in the padding; what label smoothing adds to the target
    losses: Array  # (n,) in nats, float64
    squares: Array  # (tiles + V,), float64: sums of squared gradients, for clipping: of each tile, of each row of C
    letters: Array  # (threads, 9, length), int64: see `pointers.Letters`
    tiles: Array  # (tiles, 3), int64: hidden units, rounded up to whole lines; the tile's group; its index in the group


class Numbers(NamedTuple):
    """The numbers of a pass that are not lengths, in the parameters' type."""

    n: Any
    eps: Any
    right: Any  # the target of the next character, before label smoothing adds to it
    running_momentum: Any


class Batches(NamedTuple):
    """The inputs and the losses of each step."""

    X: Array  # (steps, n, T)
    Y: Array  # (steps, n)
    factors: Array  # (steps, 5)
    losses: Array  # (steps,)


def up(length: int, multiple: int) -> int:
    """The length, rounded up to a multiple."""
    return -(-length // multiple) * multiple


def dimensions(sizes: Sizes, n: int) -> Dimensions:
    """The lengths for a network and a batch size."""
    T, E, V, H = sizes.context, sizes.embedding, sizes.vocabulary, sizes.hidden
    lines, padded_E, padded_V = -(-H // LINE), up(E, LINE), up(V, LINE)
    tiles = max(-(-lines * LINE // TILE), min(FEWEST_TILES, lines))
    width = min(padded_V, PANEL)
    # If rows were an even number of cache lines apart, the rows of a panel would share few places in the cache.
    ld_panel = width if width // LINE % 2 else width + LINE
    trained = T * padded_E + padded_V + (3 if sizes.first_bias else 2)
    groups = min(tiles, MOST_GROUPS)
    return Dimensions(n, T, E, V, padded_E, padded_V, -(-V // PANEL), ld_panel, tiles, groups, trained)


def arrays(d: Dimensions, dtype: np.dtype[Any], kinds: int) -> Memory:
    """The type and shape of each array."""
    n, slots = up(d.n, ROWS), d.T * up(min(d.n, d.V), ROWS)
    rows = d.T * d.padded_E + d.padded_V + 3
    whole, double = np.dtype(np.int64), np.dtype(np.float64)
    return Memory(
        weights=(dtype, (kinds, d.tiles, rows, TILE)),
        b2=(dtype, (kinds, 1, d.padded_V)),
        C=(dtype, (kinds, d.V, d.padded_E)),
        W1T=(dtype, (d.tiles, d.T, TILE, d.padded_E)),
        W2=(dtype, (d.tiles, d.panels, TILE, d.ld_panel)),
        emb=(dtype, (d.groups, slots, d.padded_E)),
        tables=(dtype, (d.tiles, slots, TILE)),
        units=(dtype, (d.tiles, 3, n, TILE)),
        statistics=(dtype, (d.tiles, 5, TILE)),
        partial_logits=(dtype, (d.groups, d.panels, n, d.ld_panel)),
        dlogits=(dtype, (d.panels, n, d.ld_panel)),
        partial_demb=(dtype, (d.groups, slots, d.padded_E)),
        target=(dtype, (2, d.padded_V)),
        losses=(double, (d.n,)),
        squares=(double, (d.tiles + d.V,)),
        letters=(whole, (d.groups, 9, up(max(d.n * d.T, slots, d.V), LINE))),
        tiles=(whole, (d.tiles, 3)),
    )


def memory_bytes(sizes: Sizes, n: int, dtype: np.dtype[Any], kinds: int) -> int:
    """The memory that the pass takes, in bytes."""
    return sum(_bytes(*array) for array in arrays(dimensions(sizes, n), dtype, kinds))


class Layout:
    """The memory of the pass for one network and batch size, and where the parameters are in it."""

    def __init__(self, sizes: Sizes, n: int, dtype: np.dtype[Any], smoothing: float, kinds: int) -> None:
        self.dimensions = d = dimensions(sizes, n)
        self.memory = Memory(*aligned(*arrays(d, dtype, kinds)))
        self.memory.target[0, d.V :] = NO_LETTER
        self.memory.target[1, : d.V] = smoothing / d.V
        lines, H = -(-sizes.hidden // LINE), sizes.hidden
        widths = np.diff([lines * tile // d.tiles for tile in range(d.tiles + 1)]) * LINE
        ends = np.minimum(np.cumsum(widths), H).tolist()
        self.units = [slice(begin, end) for begin, end in zip([0, *ends[:-1]], ends, strict=True)]  # of each tile
        first = [d.tiles * group // d.groups for group in range(d.groups + 1)]
        group = np.repeat(np.arange(d.groups), np.diff(first))
        self.memory.tiles[:] = np.column_stack([widths, group, np.arange(d.tiles) - np.array(first)[group]])

    def put(self, kind: int, arrays: Mapping[str, Array]) -> None:
        """Copy the parameters, by name and in their own shapes, into one kind of numbers. Padding becomes zero."""
        for part in (self.memory.weights, self.memory.b2, self.memory.C):
            part[kind] = 0
        for padded, own in self._views(kind, arrays):
            padded[...] = own

    def take(self, kind: int, arrays: Mapping[str, Array]) -> None:
        """Copy one kind of numbers back."""
        for padded, own in self._views(kind, arrays):
            own[...] = padded

    def _views(self, kind: int, arrays: Mapping[str, Array]) -> Iterator[tuple[Array, Array]]:
        """Pairs of views of a part of a parameter: in the kernel's memory, and in its own array."""
        d, memory = self.dimensions, self.memory
        yield memory.C[kind, :, : d.E], arrays["C"]
        yield memory.b2[kind, 0, : d.V], arrays["b2"]
        W1 = arrays["W1"].reshape(d.T, d.E, -1)
        W2T, rest = d.T * d.padded_E, d.T * d.padded_E + d.padded_V
        for tile, units in zip(memory.weights[kind], self.units, strict=True):
            rows = tile[:, : units.stop - units.start]
            yield rows[:W2T].reshape(d.T, d.padded_E, -1)[:, : d.E], W1[:, :, units]
            yield rows[W2T : W2T + d.V], arrays["W2"].T[:, units]
            yield rows[rest], arrays["bngain"][0, units]
            yield rows[rest + 1], arrays["bnbias"][0, units]
            if "b1" in arrays:
                yield rows[rest + 2], arrays["b1"][units]

    def running(self, averages: Array) -> Iterator[tuple[Array, Array]]:
        """Pairs of views of a part of the running averages: in the kernel's memory, and in an array (2, H)."""
        for tile, units in zip(self.memory.statistics, self.units, strict=True):
            yield tile[3:, : units.stop - units.start], averages[:, units]


def _bytes(dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    return math.prod(shape) * dtype.itemsize


def aligned(*shapes: tuple[np.dtype[Any], tuple[int, ...]]) -> list[Array]:
    """Zeros of these types and shapes in one block of memory. Each array starts at a cache line.

    A line between two arrays is left free, so that two threads never write to the same one.
    """
    memory = np.zeros(sum(up(_bytes(*array), 64) + 64 for array in shapes) + 64, np.uint8)
    begin = -memory.ctypes.data % 64
    found: list[Array] = []
    for dtype, shape in shapes:
        length = _bytes(dtype, shape)
        found.append(memory[begin : begin + length].view(dtype).reshape(shape))
        begin += up(length, 64) + 64
    return found
