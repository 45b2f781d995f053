"""One step of a gated recurrent unit."""

import torch

from makemore_cli import chain, step

gru = chain(
    "GRU cell",
    {
        "x": "n D",
        "h": "n H",
        "Wz": "D H",
        "Uz": "H H",
        "bz": "H",
        "Wr": "D H",
        "Ur": "H H",
        "br": "H",
        "Wc": "D H",
        "Uc": "H H",
        "bc": "H",
    },
    step(
        "az",
        lambda x, h, Wz, Uz, bz: x @ Wz + h @ Uz + bz,
        dx=lambda Wz, daz: daz @ Wz.T,
        dh=lambda Uz, daz: daz @ Uz.T,
        dWz=lambda x, daz: x.T @ daz,
        dUz=lambda h, daz: h.T @ daz,
        dbz=lambda daz: daz.sum(0),
    ),
    step("z", lambda az: torch.sigmoid(az), daz=lambda z, dz: z * (1 - z) * dz),
    step(
        "ar",
        lambda x, h, Wr, Ur, br: x @ Wr + h @ Ur + br,
        dx=lambda Wr, dar: dar @ Wr.T,
        dh=lambda Ur, dar: dar @ Ur.T,
        dWr=lambda x, dar: x.T @ dar,
        dUr=lambda h, dar: h.T @ dar,
        dbr=lambda dar: dar.sum(0),
    ),
    step("r", lambda ar: torch.sigmoid(ar), dar=lambda r, dr: r * (1 - r) * dr),
    step("rh", lambda r, h: r * h, dr=lambda h, drh: h * drh, dh=lambda r, drh: r * drh),
    step(
        "ac",
        lambda x, rh, Wc, Uc, bc: x @ Wc + rh @ Uc + bc,
        dx=lambda Wc, dac: dac @ Wc.T,
        drh=lambda Uc, dac: dac @ Uc.T,
        dWc=lambda x, dac: x.T @ dac,
        dUc=lambda rh, dac: rh.T @ dac,
        dbc=lambda dac: dac.sum(0),
    ),
    step("c", lambda ac: torch.tanh(ac), dac=lambda c, dc: (1 - c**2) * dc),
    step(
        "hnew",
        lambda z, h, c: (1 - z) * h + z * c,
        dz=lambda h, c, dhnew: (c - h) * dhnew,
        dh=lambda z, dhnew: (1 - z) * dhnew,
        dc=lambda z, dhnew: z * dhnew,
    ),
)
