"""Attention of one head over a batch of sequences, with a causal mask."""

import torch

from makemore_cli import chain, step

attention = chain(
    "attention",
    {"x": "B T D", "Wq": "D K", "Wk": "D K", "Wv": "D M", "Wo": "M D"},
    step("q", lambda x, Wq: x @ Wq, dx=lambda Wq, dq: dq @ Wq.T, dWq=lambda x, dq: torch.einsum("btd,btk->dk", x, dq)),
    step("k", lambda x, Wk: x @ Wk, dx=lambda Wk, dk: dk @ Wk.T, dWk=lambda x, dk: (x.mT @ dk).sum(0)),
    step(
        "v", lambda x, Wv: x @ Wv, dx=lambda Wv, dv: dv @ Wv.T, dWv=lambda x, dv: x.flatten(0, 1).T @ dv.flatten(0, 1)
    ),
    step(
        "scores",
        lambda q, k, K: q @ k.mT / K**0.5,
        dq=lambda k, K, dscores: dscores @ k / K**0.5,
        dk=lambda q, K, dscores: dscores.mT @ q / K**0.5,
    ),
    step(
        "masked",
        lambda scores, T: scores.masked_fill(torch.ones(T, T).triu(1).bool(), -1e9),
        dscores=lambda T, dmasked: dmasked.masked_fill(torch.ones(T, T).triu(1).bool(), 0),
    ),
    step(
        "p",
        lambda masked: masked.softmax(-1),
        dmasked=lambda p, dp: p * (dp - (p * dp).sum(-1, keepdim=True)),
    ),
    step("mixed", lambda p, v: p @ v, dp=lambda v, dmixed: dmixed @ v.mT, dv=lambda p, dmixed: p.mT @ dmixed),
    step(
        "y",
        lambda mixed, Wo: mixed @ Wo,
        dmixed=lambda Wo, dy: dy @ Wo.T,
        dWo=lambda mixed, dy: (mixed.mT @ dy).sum(0),
    ),
)
