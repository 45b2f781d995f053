"""A linear layer with mean squared error, and what leads up to it: one neuron, slopes, a single prediction."""

from __future__ import annotations

import math

import torch

from makemore_cli.backprop.chain import chain
from makemore_cli.backprop.inputs import between
from makemore_cli.backprop.shipped.lesson import Example, Lesson
from makemore_cli.backprop.step import step

PRODUCT = "matrix product ⇄ product with the other factor, transposed; broadcast ⇄ sum"

_Y = step(
    "y",
    lambda x, W, b: x @ W + b,
    dx=lambda W, dy: dy @ W.T,
    dW=lambda x, dy: x.T @ dy,
    db=lambda dy: dy.sum(0),
    shape="n H",
    rule=PRODUCT,
    why="Each output is a sum of products, so each factor gets the upstream gradient times the other factor. The "
    "shapes allow only one order: dW has W's shape, and (D×n)·(n×H) is D×H.",
)


TRANSPOSED = (
    "If W is written on the left, as in y = σ(Wx + b), then x is a column. Since (xW)ᵀ = Wᵀxᵀ, that W is the transpose "
    "of this one, and everything else is the same."
)

_ERROR = (
    step(
        "error",
        lambda y, t: y - t,
        dy=lambda derror: derror,
        dt=lambda derror: -derror,
        shape="n H",
        rule="difference ⇄ copy and negation",
        why="A sum passes its gradient on to both terms unchanged; a difference negates it for the second.",
    ),
    step(
        "loss",
        lambda error: (error**2).mean(),
        derror=lambda error, dloss: 2 * error / error.numel() * dloss,
        shape="",
        rule="power ⇄ local derivative; mean ⇄ 1/N each",
        why="The square brings a factor 2, and the mean over N numbers a factor 1/N. For N = 2, and only then, they "
        "cancel, and the gradient is the error itself.",
    ),
)

LINEAR = Lesson(
    chain("linear", {"x": "n D", "W": "D H", "b": "H", "t": "n H"}, _Y, *_ERROR),
    "a linear layer y = x·W + b with the mean squared error against targets t",
    (
        "x (1×3) times W (3×2) is y (1×2): the inner sizes match and disappear, and the outer ones remain. Backward, "
        "dW = xᵀ·dy is (3×1)·(1×2) = 3×2, and dx = dy·Wᵀ is (1×2)·(2×3) = 1×3: a gradient has its tensor's shape.",
        TRANSPOSED,
        "Mean squared error is the simplest loss. To predict one of several characters, cross-entropy takes its "
        "place: see the chain softmax_cases.",
    ),
    (
        Example(
            "Two outputs of 1.0 against targets of 0.4. The factors ½ and 2 cancel, so each gradient is 0.6.",
            {
                "x": [[1.0, 0.5, -0.5]],
                "W": [[1.0, 0.5], [1.0, 1.0], [1.0, 0.0]],
                "b": [0.0, 0.0],
                "t": [[0.4, 0.4]],
            },
            {"n": 1, "D": 3, "H": 2},
        ),
        Example(
            "All weights are 2, and their gradients are 4. A step with learning rate 0.1 gives 2 − 0.1·4 = 1.6.",
            {
                "x": [[1.0, 1.0, 1.0]],
                "W": [[2.0, 2.0], [2.0, 2.0], [2.0, 2.0]],
                "b": [0.0, 0.0],
                "t": [[2.0, 2.0]],
            },
            {"n": 1, "D": 3, "H": 2},
        ),
    ),
)

LINEAR_TANH = Lesson(
    chain(
        "linear with tanh",
        {"x": "n D", "W": "D H", "b": "H", "t": "n H"},
        step(
            "a",
            lambda x, W, b: x @ W + b,
            dx=lambda W, da: da @ W.T,
            dW=lambda x, da: x.T @ da,
            db=lambda da: da.sum(0),
            shape="n H",
            rule=PRODUCT,
        ),
        step(
            "y",
            lambda a: torch.tanh(a),
            da=lambda y, dy: (1 - y**2) * dy,
            shape="n H",
            rule="tanh ⇄ local derivative",
            why="The derivative of tanh is 1 − tanh², which needs only the output y.",
        ),
        *_ERROR,
    ),
    "the same layer with tanh: y = tanh(x·W + b)",
    (TRANSPOSED,),
    (
        Example(
            "One output near 0, where tanh lets the gradient through, and one near 1, where tanh is flat.",
            {"x": [[1.0, 0.5]], "W": [[0.2, 2.0], [-0.2, 2.0]], "b": [0.0, 0.0], "t": [[0.0, 0.0]]},
            {"n": 1, "D": 2, "H": 2},
        ),
    ),
)

LINEAR_BATCHES = Lesson(
    chain(
        "linear over a batch",
        {"x": "p n D", "W": "D H", "b": "H"},
        step(
            "y",
            lambda x, W, b: x @ W + b,
            dx=lambda W, dy: dy @ W.T,
            dW=lambda x, dy: x.flatten(0, 1).T @ dy.flatten(0, 1),
            db=lambda dy: dy.sum((0, 1)),
            shape="p n H",
            rule=PRODUCT,
            why="All p matrices share one W, so their contributions are added. The result is the same as for one tall "
            "matrix of all their rows.",
        ),
    ),
    "a batch of batches: p matrices, each times the same W",
    examples=(
        Example(
            "Two matrices of one row each.",
            {"x": [[[1.0, 2.0]], [[3.0, -1.0]]], "W": [[1.0, 0.0], [0.5, -1.0]], "b": [0.0, 0.0]},
            {"p": 2, "n": 1, "D": 2, "H": 2},
        ),
    ),
)


def _curves() -> list[str]:
    """Tanh and the sigmoid with their slopes, at some points."""
    lines = ["       a     tanh(a)   slope     σ(a)    slope"]
    for a in (-4, -2, -1, 0, 1, 2, 4):
        t, s = math.tanh(a), 1 / (1 + math.exp(-a))
        lines.append(f"  {a:6.1f}  {t:9.4f} {1 - t * t:8.4f} {s:9.4f} {s * (1 - s):8.4f}")
    return lines


NEURON = Lesson(
    chain(
        "neuron",
        {"x": "D", "w": "D", "b": ""},
        step(
            "a",
            lambda x, w, b: (x * w).sum() + b,
            dx=lambda w, da: w * da,
            dw=lambda x, da: x * da,
            db=lambda da: da,
            shape="",
            rule="product ⇄ the other factor; sum ⇄ broadcast",
            why="A weight whose input is 0 gets no gradient: changing the weight would change nothing.",
        ),
        step(
            "o",
            lambda a: torch.tanh(a),
            da=lambda o, do: (1 - o**2) * do,
            shape="",
            rule="tanh ⇄ local derivative",
            why="Far from 0, tanh is flat and passes hardly any gradient back.",
        ),
    ),
    "one neuron: tanh(Σ xᵢ·wᵢ + b)",
    examples=(
        Example(
            "Four inputs.",
            {"x": [1.0, 2.0, -1.0, 0.0], "w": [0.5, -0.25, 0.2, 1.0], "b": 0.3},
            {"D": 4},
        ),
    ),
    table=_curves,
)

SLOPES = Lesson(
    chain(
        "slopes",
        {"x": "", "c": ""},
        step("twice", lambda x: 2 * x, dx=lambda dtwice: 2 * dtwice, shape="", rule="product ⇄ the other factor"),
        step(
            "y",
            lambda twice, c: twice + c,
            dtwice=lambda dy: dy,
            dc=lambda dy: dy,
            shape="",
            rule="sum ⇄ copy",
            why="A sum passes its gradient on to both terms unchanged.",
        ),
        step(
            "loss",
            lambda y: 0.5 * (y - 0.4) ** 2,
            dy=lambda y, dloss: (y - 0.4) * dloss,
            shape="",
            rule="power ⇄ local derivative",
        ),
    ),
    "a sum, and the product 2·x, whose slope is 2",
    examples=(Example("An upstream gradient of 0.6.", {"x": 0.25, "c": 0.5}, {}),),
)

HOT_DOG = Lesson(
    chain(
        "hot dog or not",
        {"y": between("", 0, 1)},
        step(
            "loss",
            lambda y: -y.log(),
            dy=lambda y, dloss: -dloss / y,
            shape="",
            rule="log ⇄ local derivative",
            why="The further the prediction is from its target, 1, the larger the gradient.",
        ),
    ),
    "one prediction y between 0 and 1 with target 1: the probability of a hot dog",
    examples=(
        Example("The prediction is 0.4.", {"y": 0.4}, {}),
        Example("The prediction is 0.1, and the loss is large.", {"y": 0.1}, {}),
        Example("The prediction is 0.99, and the loss is small.", {"y": 0.99}, {}),
    ),
)
