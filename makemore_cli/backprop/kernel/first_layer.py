"""The first layer as a lookup. Each position of the context has a lookup table, emb @ W1, with each character's
contribution to hprebn.

So a character that occurs in many examples is multiplied once. An example's row of hprebn is the sum of T rows of the
tables. Backward, a row of a table gets the sum of the gradients of its uses.
"""

from __future__ import annotations

from makemore_cli.backprop.kernel.arithmetic import clear, exact, put
from makemore_cli.backprop.kernel.intrinsics import Pointer, at, strip, strip_length
from makemore_cli.backprop.kernel.layout import ROWS, TILE, Array, Dimensions
from makemore_cli.backprop.kernel.pointers import Letters, Tile
from makemore_cli.backprop.kernel.products import FEW


@exact
def find_letters(letters: Letters, X: Array, step: int) -> int:
    """Assign slots to the characters of each position (see `Letters`). Returns the number of slots, used or not."""
    n, T = X.shape[1], X.shape[2]
    slots = 0
    for position in range(T):
        now = step * T + position + 1
        letters.first[position] = slots
        # New characters get slots. For now, `end` counts the uses of each slot.
        for i in range(n):
            letter = X[step, i, position]
            if letters.seen[letter] != now:
                letters.seen[letter] = now
                letters.slot_of_letter[letter] = slots
                letters.letter[slots] = letter
                letters.end[slots] = 0
                slots += 1
            slot = letters.slot_of_letter[letter]
            letters.slot_of_use[i * T + position] = slot
            letters.end[slot] += 1
        # A counting sort of the examples by slot: `end` is where the next one is written.
        begin = position * n
        for slot in range(letters.first[position], slots):
            uses = letters.end[slot]
            letters.start[slot] = letters.end[slot] = begin
            begin += uses
        for i in range(n):
            slot = letters.slot_of_use[i * T + position]
            letters.examples[letters.end[slot]] = i
            letters.end[slot] += 1
        letters.used[position] = slots - letters.first[position]
        while slots % ROWS:  # the next position begins at a multiple of ROWS
            letters.start[slots] = letters.end[slots] = 0
            slots += 1
    return slots


@exact
def embed(emb: Pointer, C: Pointer, letters: Letters, s: Dimensions) -> None:
    """Set each slot's row of emb to its character's row of C."""
    row = strip(emb)
    for position in range(s.T):
        for slot in range(letters.first[position], letters.first[position] + letters.used[position]):
            for e in range(0, s.padded_E, strip_length(emb)):
                for j in range(strip_length(emb)):
                    row[j] = C[letters.letter[slot] * s.padded_E + e + j]
                put(emb, slot * s.padded_E + e, row)


@exact
def look_up_hprebn(t: Tile, letters: Letters, s: Dimensions) -> None:
    """Set hprebn (n, width) to the sums of b1 and the tables' rows, and bnmean to the sum of hprebn's rows."""
    total, row, bias = strip(t.hprebn), strip(t.hprebn), strip(t.hprebn)
    for c in range(0, t.width, strip_length(t.hprebn)):
        clear(total)
        for j in range(strip_length(t.hprebn)):
            bias[j] = t.b1[c + j]
        for i in range(s.n):
            for j in range(strip_length(t.hprebn)):
                row[j] = bias[j]
            for position in range(s.T):
                offset = letters.slot_of_use[i * s.T + position] * TILE + c
                for j in range(strip_length(t.hprebn)):
                    row[j] += t.tables[offset + j]
            for j in range(strip_length(t.hprebn)):
                total[j] += row[j]
            put(t.hprebn, i * TILE + c, row)
        put(t.bnmean, c, total)


@exact
def gather_dtables(t: Tile, letters: Letters, slots: int) -> None:
    """Set each row of dtables to the sum of the rows of dhprebn of the examples that use it."""
    total, few = strip(t.dhprebn), strip(t.dhprebn)
    for slot in range(slots):
        for c in range(0, t.width, strip_length(t.dhprebn)):
            clear(total)
            for begin in range(letters.start[slot], letters.end[slot], FEW):
                clear(few)
                for use in range(begin, min(begin + FEW, letters.end[slot])):
                    offset = letters.examples[use] * TILE + c
                    for j in range(strip_length(t.dhprebn)):
                        few[j] += t.dhprebn[offset + j]
                for j in range(strip_length(t.dhprebn)):
                    total[j] += few[j]
            put(t.dtables, slot * TILE + c, total)


@exact
def gather_dC(dC: Pointer, partial_demb: Array, letters: Letters, s: Dimensions, begin: int, end: int) -> None:  # noqa: N802
    """Set the rows `begin` to `end` of dC to the gradients of their slots, summed over the groups of tiles."""
    row = strip(dC)
    for e in range(begin * s.padded_E, end * s.padded_E):
        dC[e] = 0
    for position in range(s.T):
        for slot in range(letters.first[position], letters.first[position] + letters.used[position]):
            if begin <= letters.letter[slot] < end:
                for e in range(0, s.padded_E, strip_length(dC)):
                    offset = letters.letter[slot] * s.padded_E + e
                    for j in range(strip_length(dC)):
                        row[j] = dC[offset + j]
                    for group in range(s.groups):
                        part = at(partial_demb, group, slot, e)
                        for j in range(strip_length(dC)):
                            row[j] += part[j]
                    put(dC, offset, row)
