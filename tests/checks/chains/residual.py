"""A residual block with relu, its mean squared error, and a weight decay."""

import torch

from makemore_cli import chain, step

residual = chain(
    "residual block",
    {"x": "n D", "t": "n D", "W1": "D H", "b1": "H", "W2": "H D", "b2": "D", "decay": 0.01},
    step(
        "a",
        lambda x, W1, b1: x @ W1 + b1,
        dx=lambda W1, da: da @ W1.T,
        dW1=lambda x, da: x.T @ da,
        db1=lambda da: da.sum(0),
    ),
    step("r", lambda a: torch.relu(a), da=lambda a, dr: dr * (a > 0)),
    step(
        "f",
        lambda r, W2, b2: r @ W2 + b2,
        dr=lambda W2, df: df @ W2.T,
        dW2=lambda r, df: r.T @ df,
        db2=lambda df: df.sum(0),
    ),
    step("y", lambda x, f: x + f, dx=lambda dy: dy, df=lambda dy: dy),
    step(
        "error",
        lambda y, t: ((y - t) ** 2).mean(),
        dy=lambda y, t, derror: 2 / y.numel() * (y - t) * derror,
        dt=lambda y, t, derror: -2 / y.numel() * (y - t) * derror,
    ),
    step(
        "penalty",
        lambda W1, W2, decay: decay * ((W1**2).sum() + (W2**2).sum()),
        dW1=lambda W1, decay, dpenalty: 2 * decay * W1 * dpenalty,
        dW2=lambda W2, decay, dpenalty: 2 * decay * W2 * dpenalty,
    ),
    step("loss", lambda error, penalty: error + penalty, derror=lambda dloss: dloss, dpenalty=lambda dloss: dloss),
)
