"""The kernel's memory: which arrays there are, their shapes, and where the parameters stand in them.

Hidden units are cut into tiles of at most `TILE`. What belongs to a tile lies together, so that a thread that owns it
finds it in its own cache. Tiles come in groups, as many as threads can be used; a thread owns whole groups.

The vocabulary is cut into panels of `PANEL` letters: the logits of a panel are a matrix of their own, which a cache
holds.

Every width is padded to a multiple of `LINE`, and every array starts at a cache line. What is padded in the parameters
is zero and stays zero, since its gradient is; what is padded elsewhere is never read as part of a number that counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from makemore_cli.network.model import Sizes

LINE = 16  # float32 numbers in a cache line
TILE = 64  # hidden units
FEWEST_TILES = 2  # if there are hidden units enough
MOST_GROUPS = 16
PANEL = 128  # letters of the vocabulary
MARGIN = 3  # rows that a product of four rows may touch beyond a matrix
NO_LETTER = -1e30  # score of what pads the vocabulary: its probability is exactly zero

Array = NDArray[Any]


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
    trained: int  # rows of a tile's weights: all, or all but the last, which is b1


class Memory(NamedTuple):
    """All that the compiled pass works on. Rows are padded; numbers are of the parameters' type if not said otherwise.

    What is kept of each parameter lies in a copy of its own: the parameters, their gradients, what the optimiser
    keeps from step to step (velocity, or m and v), and their average.
    """

    weights: Array  # (copies, tiles, rows, TILE), the rows being those of W1 for each place, of W2T, bngain, bnbias, b1
    b2: Array  # (copies, 1, V)
    C: Array  # (copies, V, E)
    W1T: Array  # (tiles, T, TILE, E), the first layer's weights transposed, made after each update
    W2: Array  # (tiles, panels, TILE, PANEL), and the second's
    emb: Array  # (threads, slots, E), the rows of C that a batch uses
    tables: Array  # (tiles, slots, TILE), emb @ W1, and then dtables
    units: Array  # (tiles, 3, n, TILE): bnraw, and hprebn before; h; dh, and dhpreact and dhprebn after
    statistics: Array  # (tiles, 5, TILE): bnmean, bnvar, bnvar_inv, and averages of the first two
    partial_logits: Array  # (groups, panels, n, PANEL)
    dlogits: Array  # (panels, n, PANEL), and logits before
    partial_demb: Array  # (groups, slots, E)
    target: Array  # (2, V): zero, and NO_LETTER for what pads the vocabulary; what label smoothing adds to the target
    losses: Array  # (n,) in nats, float64
    squares: Array  # (tiles + V,), float64, of the gradients' entries, for clipping: of each tile, of each row of C
    letters: Array  # (threads, 9, length), int64: see `places.Letters`
    widths: Array  # (tiles,), int64: hidden units, rounded up to whole lines


class Numbers(NamedTuple):
    """The numbers of a pass that are no lengths, in the parameters' type."""

    n: Any
    eps: Any
    right: Any  # the target of the next letter, before label smoothing adds to it
    running_momentum: Any


class Batches(NamedTuple):
    """What comes in and goes out, for each step."""

    X: Array  # (steps, n, T)
    Y: Array  # (steps, n)
    factors: Array  # (steps, 5)
    losses: Array  # (steps,)


def up(length: int, multiple: int) -> int:
    """The length, rounded up."""
    return -(-length // multiple) * multiple


class Layout:
    """The memory of the pass for one network and batch size, and where the parameters are in it."""

    def __init__(self, sizes: Sizes, n: int, dtype: np.dtype[Any], smoothing: float, copies: int) -> None:
        T, E, V, H = sizes.context, sizes.embedding, sizes.vocabulary, sizes.hidden
        lines = up(H, LINE) // LINE
        tiles = max(-(-lines * LINE // TILE), min(FEWEST_TILES, lines))
        widths = np.diff([lines * tile // tiles for tile in range(tiles + 1)]) * LINE
        ends = np.minimum(np.cumsum(widths), H).tolist()
        self.units = [slice(begin, end) for begin, end in zip([0, *ends[:-1]], ends, strict=True)]  # of each tile
        padded_E, padded_V = up(E, LINE), up(V, LINE)
        panels, width = -(-V // PANEL), min(padded_V, PANEL)
        # At an even number of lines from each other, the rows would share few places of the cache.
        ld_panel = width if width // LINE % 2 else width + LINE
        groups, rows = min(tiles, MOST_GROUPS), T * padded_E + padded_V + 3
        self.dimensions = Dimensions(
            n, T, E, V, padded_E, padded_V, panels, ld_panel, tiles, groups, rows if sizes.first_bias else rows - 1
        )
        n4, slots, whole, double = up(n, 4), T * up(min(n, V), 4) + MARGIN, np.dtype(np.int64), np.dtype(np.float64)
        self.memory = Memory(
            *aligned(
                (dtype, (copies, tiles, rows, TILE)),
                (dtype, (copies, 1, padded_V)),
                (dtype, (copies, V, padded_E)),
                (dtype, (tiles, T, TILE, padded_E)),
                (dtype, (tiles, panels, TILE, ld_panel)),
                (dtype, (groups, slots, padded_E)),
                (dtype, (tiles, slots, TILE)),
                (dtype, (tiles, 3, n4, TILE)),
                (dtype, (tiles, 5, TILE)),
                (dtype, (groups, panels, n4, ld_panel)),
                (dtype, (panels, n4, ld_panel)),
                (dtype, (groups, slots, padded_E)),
                (dtype, (2, padded_V)),
                (double, (n,)),
                (double, (tiles + V,)),
                (whole, (groups, 9, up(max(n * T, slots, V), LINE))),
                (whole, (tiles,)),
            )
        )
        self.memory.target[0, V:] = NO_LETTER
        self.memory.target[1, :V] = smoothing / V
        self.memory.widths[:] = widths

    def put(self, copy: int, arrays: Mapping[str, Array]) -> None:
        """Copy the parameters, by name and in their own shapes, into a copy; what is padded becomes zero."""
        for part in (self.memory.weights, self.memory.b2, self.memory.C):
            part[copy] = 0
        for padded, own in self._views(copy, arrays):
            padded[...] = own

    def take(self, copy: int, arrays: Mapping[str, Array]) -> None:
        """Copy them back."""
        for padded, own in self._views(copy, arrays):
            own[...] = padded

    def _views(self, copy: int, arrays: Mapping[str, Array]) -> Iterator[tuple[Array, Array]]:
        """Pairs of views: a part of a parameter in a copy, and in its own array."""
        d, memory = self.dimensions, self.memory
        yield memory.C[copy, :, : d.E], arrays["C"]
        yield memory.b2[copy, 0, : d.V], arrays["b2"]
        W1 = arrays["W1"].reshape(d.T, d.E, -1)
        W2T, rest = d.T * d.padded_E, d.T * d.padded_E + d.padded_V
        for tile, units in zip(memory.weights[copy], self.units, strict=True):
            rows = tile[:, : units.stop - units.start]
            yield rows[:W2T].reshape(d.T, d.padded_E, -1)[:, : d.E], W1[:, :, units]
            yield rows[W2T : W2T + d.V], arrays["W2"].T[:, units]
            yield rows[rest], arrays["bngain"][0, units]
            yield rows[rest + 1], arrays["bnbias"][0, units]
            if "b1" in arrays:
                yield rows[rest + 2], arrays["b1"][units]

    def running(self, averages: Array) -> Iterator[tuple[Array, Array]]:
        """Pairs of views: a part of the averages of bnmean and bnvar in the memory, and in an array (2, H)."""
        for tile, units in zip(self.memory.statistics, self.units, strict=True):
            yield tile[3:, : units.stop - units.start], averages[:, units]


def aligned(*shapes: tuple[np.dtype[Any], tuple[int, ...]]) -> list[Array]:
    """Zeros of these types and shapes in one piece of memory, each at the start of a cache line.

    Between two of them a line is left free, so that two threads never write to the same.
    """
    lengths = [math.prod(shape) * dtype.itemsize for dtype, shape in shapes]
    memory = np.zeros(sum(up(length, 64) + 64 for length in lengths) + 64, np.uint8)
    begin = -memory.ctypes.data % 64
    arrays: list[Array] = []
    for length, (dtype, shape) in zip(lengths, shapes, strict=True):
        arrays.append(memory[begin : begin + length].view(dtype).reshape(shape))
        begin += up(length, 64) + 64
    return arrays
