"""A convolution of letters: embedded, gathered in windows by index, multiplied, and the largest over time kept."""

import torch

from makemore_cli import chain, index, step

convolution = chain(
    "convolution by index",
    {"X": index("n L", "V"), "C": "V E", "W": "K·E F", "b": "F"},
    step(
        "emb",
        lambda C, X: C[X],
        dC=lambda C, X, demb: torch.zeros_like(C).index_add(0, X.flatten(), demb.flatten(0, 1)),
        shape="n L E",
    ),
    step(
        "windows",
        lambda emb, L, K: emb[:, torch.arange(L - K + 1)[:, None] + torch.arange(K)].flatten(2),
        demb=lambda emb, L, K, E, dwindows: torch.zeros_like(emb).index_add(
            1,
            (torch.arange(L - K + 1)[:, None] + torch.arange(K)).flatten(),
            dwindows.unflatten(2, (K, E)).flatten(1, 2),
        ),
        shape="n L-K+1 K·E",
    ),
    step(
        "z",
        lambda windows, W, b: windows @ W + b,
        dwindows=lambda W, dz: dz @ W.T,
        dW=lambda windows, dz: (windows.mT @ dz).sum(0),
        db=lambda dz: dz.sum((0, 1)),
        shape="n L-K+1 F",
    ),
    step("a", lambda z: torch.nn.functional.softplus(z), dz=lambda z, da: torch.sigmoid(z) * da),
    step(
        "top",
        lambda a: a.max(1).values,
        da=lambda a, dtop: torch.zeros_like(a).scatter(1, a.argmax(1, keepdim=True), dtop[:, None]),
        shape="n F",
    ),
    sizes={"L": (5, 9), "K": (2, 4)},
)
