"""The update of the parameters: the optimisers of `training/optimisers.py`, line by line."""

from __future__ import annotations

import math
from typing import Any

from makemore_cli.backprop.kernel.arithmetic import clear, exact, put, total
from makemore_cli.backprop.kernel.intrinsics import Pointer, strip, strip_length, typed
from makemore_cli.backprop.kernel.layout import Array
from makemore_cli.backprop.kernel.pointers import Rows
from makemore_cli.backprop.update_numbers import Factors, Rule

CLIP_EPSILON = 1e-6  # see `optimisers.CLIP_EPSILON`


@exact
def squares(r: Rows) -> Any:
    """The sum of the squared gradients: along a row in their own type, over the rows in float64."""
    sums = strip(r.d)
    result = 0.0
    for i in range(r.length):
        clear(sums)
        for q in range(i * r.ld, i * r.ld + r.width, strip_length(r.d)):
            for j in range(strip_length(r.d)):
                sums[j] += r.d[q + j] * r.d[q + j]
        result += total(sums)
    return result


@exact
def clip_factor(parts: Array, rest: Any, clip: Any) -> Any:
    """The factor that clips the gradient's norm to `clip`, or 1. The squared norm is `rest` plus the sum of `parts`."""
    result = rest
    for part in range(len(parts)):
        result += parts[part]
    norm = math.sqrt(result)
    return clip / (norm + CLIP_EPSILON) if norm > clip else 1.0


@exact
def update(r: Rows, rule: Rule, factors: Factors, scale: Any) -> None:
    """Take one optimiser step with the gradient times `scale`."""
    if rule.adamw:
        adamw(r, rule, factors, scale)
    elif rule.momentum > 0:
        momentum(r, rule, factors.lr, scale)
    else:
        sgd(r, rule, factors.lr, scale)
    if rule.average:
        lerp(r.average, r.p, factors.new, r.length, r.ld, r.width)


@exact
def sgd(r: Rows, rule: Rule, lr: Any, scale: Any) -> None:
    """Stochastic gradient descent: p −= lr · (d + decay · p)."""
    p = strip(r.p)
    for i in range(r.length):
        for q in range(i * r.ld, i * r.ld + r.width, strip_length(p)):
            for j in range(strip_length(p)):
                p[j] = r.p[q + j] - lr * (scale * r.d[q + j] + rule.weight_decay * r.p[q + j])
            put(r.p, q, p)


@exact
def momentum(r: Rows, rule: Rule, lr: Any, scale: Any) -> None:
    """SGD with velocity = μ · velocity + d: p −= lr · velocity, or Nesterov's p −= lr · (d + μ · velocity)."""
    p, velocity = strip(r.p), strip(r.p)
    zero, one = typed(r.p, 0), typed(r.p, 1)
    of_gradient, of_velocity = (one, rule.momentum) if rule.nesterov else (zero, one)
    for i in range(r.length):
        for q in range(i * r.ld, i * r.ld + r.width, strip_length(p)):
            for j in range(strip_length(p)):
                d = scale * r.d[q + j] + rule.weight_decay * r.p[q + j]
                velocity[j] = rule.momentum * r.velocity[q + j] + d
                p[j] = r.p[q + j] - lr * (of_gradient * d + of_velocity * velocity[j])
            put(r.velocity, q, velocity)
            put(r.p, q, p)


@exact
def adamw(r: Rows, rule: Rule, factors: Factors, scale: Any) -> None:
    """Adam with decoupled weight decay; the factors are those of `Factors`."""
    p, m, v = strip(r.p), strip(r.p), strip(r.p)
    for i in range(r.length):
        for q in range(i * r.ld, i * r.ld + r.width, strip_length(p)):
            for j in range(strip_length(p)):
                d = scale * r.d[q + j]
                m[j] = r.m[q + j] + rule.rest1 * (d - r.m[q + j])
                v[j] = rule.beta2 * r.v[q + j] + rule.rest2 * (d * d)
                deviation = math.sqrt(v[j]) / factors.second + rule.epsilon
                p[j] = factors.shrink * r.p[q + j] - factors.size * (m[j] / deviation)
            put(r.m, q, m)
            put(r.v, q, v)
            put(r.p, q, p)


@exact
def lerp(average: Pointer, new: Pointer, share: Any, rows: int, ld: int, width: int) -> None:
    """Move an average towards `new`. If `share` is 1, it becomes exactly `new`, whatever it was."""
    moved = strip(average)
    whole = share == typed(average, 1)
    for i in range(rows):
        for q in range(i * ld, i * ld + width, strip_length(average)):
            for j in range(strip_length(average)):
                moved[j] = average[q + j] + share * (new[q + j] - average[q + j])
                moved[j] = new[q + j] if whole else moved[j]
            put(average, q, moved)
