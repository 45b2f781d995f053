"""The first layer, looked up: each place of the context has a table of what its letters add, emb @ W1.

So a letter that stands in many examples is multiplied once. An example's row of hprebn is the sum of T rows of the
tables; backward, a row of a table gathers the gradients of its uses.
"""

from __future__ import annotations

from makemore_cli.backprop.kernel.arithmetic import clear, exact, put
from makemore_cli.backprop.kernel.intrinsics import Pointer, at, lane, local
from makemore_cli.backprop.kernel.layout import TILE, Array, Dimensions
from makemore_cli.backprop.kernel.places import Letters, Tile
from makemore_cli.backprop.kernel.products import FEW


@exact
def find_letters(b: Letters, X: Array, step: int) -> int:
    """Give each place's letters their slots (see `Letters`). Returns the number of slots."""
    n, T = X.shape[1], X.shape[2]
    count = 0
    for t in range(T):
        now = step * T + t + 1
        b.first[t] = count
        for i in range(n):
            letter = X[step, i, t]
            if b.seen[letter] != now:
                b.seen[letter] = now
                b.slot[letter] = count
                b.letters[count] = letter
                b.end[count] = 0
                count += 1
            u = b.slot[letter]
            b.slots[i * T + t] = u
            b.end[u] += 1
        place = t * n
        for u in range(b.first[t], count):
            place += b.end[u]
            b.start[u] = b.end[u] = place - b.end[u]
        for i in range(n):
            u = b.slots[i * T + t]
            b.examples[b.end[u]] = i
            b.end[u] += 1
        b.used[t] = count - b.first[t]
        count = (count + 3) // 4 * 4
    return count


@exact
def embed(emb: Pointer, C: Pointer, b: Letters, s: Dimensions) -> None:
    """Set a slot's row of emb to its letter's row of C."""
    row = local(emb)
    for t in range(s.T):
        for u in range(b.first[t], b.first[t] + b.used[t]):
            for e in range(0, s.padded_E, lane(emb)):
                for j in range(lane(emb)):
                    row[j] = C[b.letters[u] * s.padded_E + e + j]
                put(emb, u * s.padded_E + e, row)


@exact
def look_up(t: Tile, b: Letters, s: Dimensions) -> None:
    """Set hprebn (n, width) to the sums of the tables' rows and of b1; and bnmean to the sum of its rows."""
    total, row, bias = local(t.hprebn), local(t.hprebn), local(t.hprebn)
    for c in range(0, t.width, lane(t.hprebn)):
        clear(total)
        for j in range(lane(t.hprebn)):
            bias[j] = t.b1[c + j]
        for i in range(s.n):
            for j in range(lane(t.hprebn)):
                row[j] = bias[j]
            for place in range(s.T):
                u = b.slots[i * s.T + place] * TILE + c
                for j in range(lane(t.hprebn)):
                    row[j] += t.tables[u + j]
            for j in range(lane(t.hprebn)):
                total[j] += row[j]
            put(t.hprebn, i * TILE + c, row)
        put(t.bnmean, c, total)


@exact
def look_up_backward(t: Tile, b: Letters, count: int) -> None:
    """Set each row of dtables to the sum of the rows of dhprebn that have used it."""
    total, few = local(t.dhprebn), local(t.dhprebn)
    for u in range(count):
        for c in range(0, t.width, lane(t.dhprebn)):
            clear(total)
            for begin in range(b.start[u], b.end[u], FEW):
                clear(few)
                for use in range(begin, min(begin + FEW, b.end[u])):
                    i = b.examples[use] * TILE + c
                    for j in range(lane(t.dhprebn)):
                        few[j] += t.dhprebn[i + j]
                for j in range(lane(t.dhprebn)):
                    total[j] += few[j]
            put(t.dtables, u * TILE + c, total)


@exact
def embed_backward(dC: Pointer, partial_demb: Array, b: Letters, s: Dimensions, begin: int, end: int) -> None:
    """Set the rows `begin` to `end` of dC to the sums of their slots' gradients, over the groups of tiles."""
    row = local(dC)
    for e in range(begin * s.padded_E, end * s.padded_E):
        dC[e] = 0
    for t in range(s.T):
        for u in range(b.first[t], b.first[t] + b.used[t]):
            if begin <= b.letters[u] < end:
                for e in range(0, s.padded_E, lane(dC)):
                    place = b.letters[u] * s.padded_E + e
                    for j in range(lane(dC)):
                        row[j] = dC[place + j]
                    for group in range(s.groups):
                        part = at(partial_demb, group, u, e)
                        for j in range(lane(dC)):
                            row[j] += part[j]
                    put(dC, place, row)
