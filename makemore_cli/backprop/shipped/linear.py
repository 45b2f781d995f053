"""A linear layer with mean squared error; and what leads to it: one neuron, slopes, a single prediction."""

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
    why="Each output is a sum of products, so each factor gets the gradient times the other. The shapes allow one "
    "order only: dW has W's shape, and (D×n)·(n×H) is D×H.",
)


TRANSPOSED = (
    "With W on the left, as in y = σ(Wx + b), x is a column. (xW)ᵀ = Wᵀxᵀ: that W is this one transposed, and "
    "everything else is the same."
)

_ERROR = (
    step(
        "error",
        lambda y, t: y - t,
        dy=lambda derror: derror,
        dt=lambda derror: -derror,
        shape="n H",
        rule="difference ⇄ copy and negation",
        why="An addition passes its gradient on to both sides as it is; a difference negates one of them.",
    ),
    step(
        "loss",
        lambda error: (error**2).mean(),
        derror=lambda error, dloss: 2 * error / error.numel() * dloss,
        shape="",
        rule="power ⇄ local derivative; mean ⇄ 1/N each",
        why="The square brings a 2, the mean over N numbers 1/N. For two outputs they cancel, and only then: the "
        "gradient is the error itself.",
    ),
)

LINEAR = Lesson(
    chain("linear", {"x": "n D", "W": "D H", "b": "H", "t": "n H"}, _Y, *_ERROR),
    "a linear layer y = x·W + b, and the mean squared error against targets t",
    (
        "X (1×3) times W (3×2) is Y (1×2): the inner sizes match and vanish, the outer ones remain. Backward, "
        "dW = xᵀ·dy is (3×1)·(1×2) = 3×2, and dx = dy·Wᵀ is (1×2)·(2×3) = 1×3: a gradient has its tensor's shape.",
        TRANSPOSED,
        "Mean squared error is the simplest loss. For a choice among letters, cross-entropy takes its place: "
        "the chain softmax_cases.",
    ),
    (
        Example(
            "Two outputs of 1.0 against targets of 0.4: ½ and 2 cancel, so the gradient of each is 0.6.",
            {
                "x": [[1.0, 0.5, -0.5]],
                "W": [[1.0, 0.5], [1.0, 1.0], [1.0, 0.0]],
                "b": [0.0, 0.0],
                "t": [[0.4, 0.4]],
            },
            {"n": 1, "D": 3, "H": 2},
        ),
        Example(
            "All weights are 2, and each gradient is 4. An update with the learning rate 0.1 gives 2 − 0.1·4 = 1.6.",
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
            why="The derivative of tanh is 1 − tanh², which the forward pass has at hand.",
        ),
        *_ERROR,
    ),
    "the same layer through tanh: y = tanh(x·W + b)",
    (TRANSPOSED,),
    (
        Example(
            "One output near 0, where tanh lets the gradient through, and one far out, where it is flat.",
            {"x": [[1.0, 0.5]], "W": [[0.2, 2.0], [-0.2, 2.0]], "b": [0.0, 0.0], "t": [[0.0, 0.0]]},
            {"n": 1, "D": 2, "H": 2},
        ),
    ),
)

LINEAR_BATCHES = Lesson(
    chain(
        "linear over panes",
        {"x": "p n D", "W": "D H", "b": "H"},
        step(
            "y",
            lambda x, W, b: x @ W + b,
            dx=lambda W, dy: dy @ W.T,
            dW=lambda x, dy: x.flatten(0, 1).T @ dy.flatten(0, 1),
            db=lambda dy: dy.sum((0, 1)),
            shape="p n H",
            rule=PRODUCT,
            why="The panes of a cube share one W, so their contributions are added: the same as one tall matrix of all "
            "their rows.",
        ),
    ),
    "a batch of batches: a cube of p panes, each times the same W",
    examples=(
        Example(
            "Two panes of one row each.",
            {"x": [[[1.0, 2.0]], [[3.0, -1.0]]], "W": [[1.0, 0.0], [0.5, -1.0]], "b": [0.0, 0.0]},
            {"p": 2, "n": 1, "D": 2, "H": 2},
        ),
    ),
)


def _curves() -> list[str]:
    """Tanh and the sigmoid with their slopes, at some places."""
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
            why="An input of 0 gives its weight no gradient: whatever the weight, nothing would change.",
        ),
        step(
            "o",
            lambda a: torch.tanh(a),
            da=lambda o, do: (1 - o**2) * do,
            shape="",
            rule="tanh ⇄ local derivative",
            why="Far from 0 the curve is flat, and hardly anything comes back.",
        ),
    ),
    "one neuron: Σ xᵢ·wᵢ + b, through tanh",
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
            why="An addition passes its gradient on to both sides.",
        ),
        step(
            "loss",
            lambda y: 0.5 * (y - 0.4) ** 2,
            dy=lambda y, dloss: (y - 0.4) * dloss,
            shape="",
            rule="power ⇄ local derivative",
        ),
    ),
    "an addition, and y = 2·x, whose slope is 2",
    examples=(Example("A gradient of 0.6 from above.", {"x": 0.25, "c": 0.5}, {}),),
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
            why="The farther the prediction is from 1, the larger the gradient: the error becomes its size.",
        ),
    ),
    "one prediction y between 0 and 1, whose target is 1: is it a hot dog?",
    examples=(
        Example("It says 0.4.", {"y": 0.4}, {}),
        Example("It says 0.1: the loss is huge.", {"y": 0.1}, {}),
        Example("It says 0.99: the loss is small.", {"y": 0.99}, {}),
    ),
)
