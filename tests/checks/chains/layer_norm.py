"""Layer norm: each row on its own mean and deviation."""

from makemore_cli import chain, step

layer_norm = chain(
    "layer norm",
    {"x": "n D", "gain": "D", "bias": "D", "eps": 1e-5},
    step("mean", lambda x: x.mean(1, keepdim=True), dx=lambda x, dmean: (dmean / x.shape[1]).expand_as(x)),
    step("diff", lambda x, mean: x - mean, dx=lambda ddiff: ddiff, dmean=lambda ddiff: -ddiff.sum(1, keepdim=True)),
    step("var", lambda diff: (diff**2).mean(1, keepdim=True), ddiff=lambda diff, D, dvar: 2 / D * diff * dvar),
    step("inv", lambda var, eps: (var + eps) ** -0.5, dvar=lambda inv, dinv: -0.5 * inv**3 * dinv),
    step(
        "norm",
        lambda diff, inv: diff * inv,
        ddiff=lambda inv, dnorm: inv * dnorm,
        dinv=lambda diff, dnorm: (diff * dnorm).sum(1, keepdim=True),
    ),
    step(
        "y",
        lambda norm, gain, bias: norm * gain + bias,
        dnorm=lambda gain, dy: gain * dy,
        dgain=lambda norm, dy: (norm * dy).sum(0),
        dbias=lambda dy: dy.sum(0),
    ),
)
