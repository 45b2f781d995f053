"""The update of the parameters: the optimisers of `training/optimisers.py`, line by line the same."""

from __future__ import annotations

import math
from typing import Any

from makemore_cli.backprop.kernel.arithmetic import clear, exact, put, total
from makemore_cli.backprop.kernel.intrinsics import Pointer, lane, local, typed
from makemore_cli.backprop.kernel.layout import Array
from makemore_cli.backprop.kernel.places import Rows
from makemore_cli.backprop.update_numbers import Rule

CLIP_EPSILON = 1e-6  # see `optimisers.CLIP_EPSILON`


@exact
def squares(r: Rows) -> Any:
    """The sum of the squares of the gradients, in float64."""
    sums = local(r.d)
    result = 0.0
    for i in range(r.length):
        clear(sums)
        for q in range(i * r.ld, i * r.ld + r.width, lane(r.d)):
            for j in range(lane(r.d)):
                sums[j] += r.d[q + j] * r.d[q + j]
        result += total(sums)
    return result


@exact
def clip_factor(parts: Array, rest: Any, clip: Any) -> Any:
    """What scales down a gradient whose norm is larger than `clip`, given the parts of the sum of its squares."""
    result = rest
    for part in range(len(parts)):
        result += parts[part]
    norm = math.sqrt(result)
    return clip / (norm + CLIP_EPSILON) if norm > clip else 1.0


@exact
def update(r: Rows, rule: Rule, factors: Pointer, scale: Any) -> None:
    """One step of the optimiser after the gradient has been scaled."""
    if rule.adamw:
        adamw(r, rule, factors, scale)
    elif rule.momentum > 0:
        momentum(r, rule, factors[0], scale)
    else:
        sgd(r, rule, factors[0], scale)
    if rule.average:
        lerp(r.average, r.p, factors[4], r.length, r.ld, r.width)


@exact
def sgd(r: Rows, rule: Rule, lr: Any, scale: Any) -> None:
    """Stochastic gradient descent: p −= lr · (d + decay · p)."""
    p = local(r.p)
    for i in range(r.length):
        for q in range(i * r.ld, i * r.ld + r.width, lane(p)):
            for j in range(lane(p)):
                p[j] = r.p[q + j] - lr * (scale * r.d[q + j] + rule.weight_decay * r.p[q + j])
            put(r.p, q, p)


@exact
def momentum(r: Rows, rule: Rule, lr: Any, scale: Any) -> None:
    """The same with the velocity, which gathers gradients: p −= lr · velocity, or ahead of it as Nesterov has it."""
    p, velocity = local(r.p), local(r.p)
    zero, one = typed(r.p, 0), typed(r.p, 1)
    of_gradient, of_velocity = (one, rule.momentum) if rule.nesterov else (zero, one)
    for i in range(r.length):
        for q in range(i * r.ld, i * r.ld + r.width, lane(p)):
            for j in range(lane(p)):
                d = scale * r.d[q + j] + rule.weight_decay * r.p[q + j]
                velocity[j] = rule.momentum * r.velocity[q + j] + d
                p[j] = r.p[q + j] - lr * (of_gradient * d + of_velocity * velocity[j])
            put(r.velocity, q, velocity)
            put(r.p, q, p)


@exact
def adamw(r: Rows, rule: Rule, factors: Pointer, scale: Any) -> None:
    """Adam with decoupled weight decay; the factors are those of `Factors`."""
    p, m, v = local(r.p), local(r.p), local(r.p)
    shrink, size, second = factors[1], factors[2], factors[3]
    for i in range(r.length):
        for q in range(i * r.ld, i * r.ld + r.width, lane(p)):
            for j in range(lane(p)):
                d = scale * r.d[q + j]
                m[j] = r.m[q + j] + rule.rest1 * (d - r.m[q + j])
                v[j] = rule.beta2 * r.v[q + j] + rule.rest2 * (d * d)
                p[j] = shrink * r.p[q + j] - size * (m[j] / (math.sqrt(v[j]) / second + rule.epsilon))
            put(r.m, q, m)
            put(r.v, q, v)
            put(r.p, q, p)


@exact
def lerp(average: Pointer, new: Pointer, share: Any, rows: int, ld: int, width: int) -> None:
    """Move an average towards what is new; all of the way if that has the whole share."""
    moved = local(average)
    whole = share == typed(average, 1)
    for i in range(rows):
        for q in range(i * ld, i * ld + width, lane(average)):
            for j in range(lane(average)):
                moved[j] = average[q + j] + share * (new[q + j] - average[q + j])
                moved[j] = new[q + j] if whole else moved[j]
            put(average, q, moved)
