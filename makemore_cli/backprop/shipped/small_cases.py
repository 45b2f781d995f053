"""Small cases that each show one rule."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from makemore_cli.backprop.chain import Stage, chain
from makemore_cli.backprop.inputs import index
from makemore_cli.backprop.shipped.lesson import Example, Lesson
from makemore_cli.backprop.step import step

A = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]

MATRIX_PRODUCT = Lesson(
    chain(
        "matrix product",
        {"A": "n m", "B": "m k", "c": "k"},
        step(
            "D",
            lambda A, B, c: A @ B + c,
            dA=lambda B, dD: dD @ B.T,
            dB=lambda A, dD: A.T @ dD,
            dc=lambda dD: dD.sum(0),
            shape="n k",
            rule="matrix product ⇄ product with the other factor, transposed; broadcast ⇄ sum",
            why="Written out entry by entry, the gradients form matrix products again.",
        ),
    ),
    "D = A·B + c, by hand for 2×2 matrices",
    (
        "a11 occurs in d11 (times b11) and in d12 (times b12), so its gradient is dd11·b11 + dd12·b12: the first row "
        "of dD times the first row of B. This is the first entry of dD·Bᵀ.",
        "c1 is added in both rows, so it gets the sum over the first column of dD.",
    ),
    (
        Example(
            "2×2 matrices.",
            {"A": [[1.0, 2.0], [3.0, 4.0]], "B": [[0.5, -1.0], [2.0, 0.0]], "c": [0.1, 0.2]},
            {"n": 2, "m": 2, "k": 2},
        ),
    ),
)

BROADCAST_PRODUCT = Lesson(
    chain(
        "broadcast product",
        {"A": "n m", "b": "n 1"},
        step(
            "C",
            lambda A, b: A * b,
            dA=lambda b, dC: b * dC,
            db=lambda A, dC: (A * dC).sum(1, keepdim=True),
            shape="n m",
            rule="product ⇄ the other factor; broadcast ⇄ sum",
            why="b is first replicated along the row, then multiplied. Backward, the replication becomes a sum.",
        ),
    ),
    "3×3 times 3×1: replicate, then multiply",
    examples=(Example("A 3×3 matrix.", {"A": A, "b": [[1.0], [2.0], [-1.0]]}, {"n": 3, "m": 3}),),
)

ROW_SUM = Lesson(
    chain(
        "row sum",
        {"A": "n m"},
        step(
            "s",
            lambda A: A.sum(1, keepdim=True),
            dA=lambda A, ds: torch.ones_like(A) * ds,
            shape="n 1",
            rule="sum ⇄ broadcast",
            why="Every entry has weight 1 in its row's sum, so the sum's gradient is replicated along the row.",
        ),
    ),
    "the sum of each row",
    examples=(Example("A 3×3 matrix.", {"A": A}, {"n": 3, "m": 3}),),
)

BROADCAST_DIFFERENCE = Lesson(
    chain(
        "broadcast difference",
        {"a": "n m", "b": "n 1"},
        step(
            "c",
            lambda a, b: a - b,
            da=lambda dc: dc,
            db=lambda dc: -dc.sum(1, keepdim=True),
            shape="n m",
            rule="difference ⇄ copy and negation; broadcast ⇄ sum",
            why="b is subtracted from every entry of its row, so b gets minus the sum over the row.",
        ),
    ),
    "a − b, where b is a column",
    examples=(Example("A 3×3 matrix.", {"a": A, "b": [[3.0], [6.0], [9.0]]}, {"n": 3, "m": 3}),),
)

TOY_LOSS = Lesson(
    chain(
        "toy loss",
        {"a": "", "b": "", "c": ""},
        step(
            "loss",
            lambda a, b, c: -(a + b + c) / 3,
            da=lambda dloss: -dloss / 3,
            db=lambda dloss: -dloss / 3,
            dc=lambda dloss: -dloss / 3,
            shape="",
            rule="mean ⇄ 1/n each",
            why="Each of the three has weight −1/3.",
        ),
    ),
    "−(a + b + c)/3: each gets −1/3",
    examples=(Example("Three log probabilities.", {"a": -1.0, "b": -2.0, "c": -0.5}, {}),),
)


def _counted() -> list[str]:
    n, V = 32, 27
    return [f"  of {n} × {V} = {n * V} log probabilities, {n} are picked; the other {n * V - n} get 0"]


PICKED = Lesson(
    chain(
        "picked",
        {"logprobs": "n V", "Y": index("n", "V")},
        step(
            "loss",
            lambda logprobs, Y, n: -logprobs[torch.arange(n), Y].mean(),
            dlogprobs=lambda logprobs, Y, n, dloss: torch.zeros_like(logprobs).scatter(
                1, Y[:, None], (-dloss / n).expand(n, 1)
            ),
            shape="",
            rule="selection ⇄ gradient to the selected entry; mean ⇄ 1/n each",
            why="The loss does not depend on the other numbers, so they get 0.",
        ),
    ),
    "minus the mean of one picked number per row: the picked ones get −1/n, all others 0",
    examples=(
        Example(
            "Three rows.",
            {"logprobs": [[-1.0, -2.0, -0.5], [-0.1, -3.0, -2.5], [-1.5, -1.0, -0.9]], "Y": [1, 0, 2]},
            {"n": 3, "V": 3},
        ),
    ),
    table=_counted,
)

ROW_MAXIMUM = Lesson(
    chain(
        "row maximum",
        {"a": "n m"},
        step(
            "top",
            lambda a: a.max(1, keepdim=True).values,
            da=lambda a, dtop: torch.zeros_like(a).scatter(1, a.max(1, keepdim=True).indices, dtop),
            shape="n 1",
            rule="selection ⇄ gradient to the selected entry",
            why="Only the largest entry of a row affects the result, so it gets the whole gradient.",
        ),
        stages=(
            Stage(
                "The same, with a one-hot matrix that marks the maxima.",
                "da",
                lambda a, dtop: F.one_hot(a.argmax(1), a.shape[1]) * dtop,
            ),
        ),
    ),
    "the maximum of each row, by scatter or by a one-hot matrix",
    examples=(Example("A 3×3 matrix.", {"a": [[0.1, 2.0, -1.0], [3.0, 0.0, 1.0], [0.5, 0.4, 0.6]]}, {"n": 3, "m": 3}),),
)

REPEATED_GATHER = Lesson(
    chain(
        "repeated gather",
        {"C": "V E", "X": index("n", "V")},
        step(
            "emb",
            lambda C, X: C[X],
            dC=lambda C, X, demb: torch.zeros_like(C).index_add(0, X, demb),
            shape="n E",
            rule="lookup ⇄ add to the rows looked up",
            why="A row that is used twice gets the sum of two gradients: = instead of += would keep only the last.",
        ),
    ),
    "a lookup of rows, one of them twice",
    examples=(
        Example(
            "Row 1 is used twice.",
            {"C": [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]], "X": [1, 0, 1]},
            {"V": 3, "E": 2, "n": 3},
        ),
    ),
)


def _bessel() -> list[str]:
    """The two estimates of the variance for small samples, whose true variance is 1."""
    generator = torch.Generator().manual_seed(0)
    lines = ["     n     mean, 1/n   below 1    mean, 1/(n−1)    below 1"]
    for n in (2, 4, 8, 32):
        samples = torch.randn(20_000, n, generator=generator, dtype=torch.float64)
        biased, unbiased = samples.var(1, correction=0), samples.var(1)
        lines.append(
            f"  {n:4}  {float(biased.mean()):12.3f} {float((biased < 1).double().mean()):9.0%} "
            f"{float(unbiased.mean()):16.3f} {float((unbiased < 1).double().mean()):10.0%}"
        )
    return ["  variances of 20,000 samples of n numbers, whose true variance is 1:", *lines]


BESSEL = Lesson(
    chain(
        "variance",
        {"x": "n"},
        step(
            "mean",
            lambda x: x.mean(),
            dx=lambda x, n, dmean: torch.ones_like(x) * dmean / n,
            shape="",
            rule="mean ⇄ 1/n each",
        ),
        step(
            "diff",
            lambda x, mean: x - mean,
            dx=lambda ddiff: ddiff,
            dmean=lambda ddiff: -ddiff.sum(),
            shape="n",
            rule="difference ⇄ copy and negation; broadcast ⇄ sum",
        ),
        step(
            "var",
            lambda diff, n: (diff**2).sum() / (n - 1),
            ddiff=lambda diff, n, dvar: 2 * diff / (n - 1) * dvar,
            shape="",
            rule="power ⇄ local derivative; sum ⇄ broadcast",
            why="The numbers are closer to the mean of the sample than to the true mean. Dividing by n − 1 instead of "
            "n compensates for that: Bessel's correction.",
        ),
    ),
    "the variance of a sample, divided by n − 1 instead of n",
    (
        "The batchnorm paper divides by n in training and by n − 1 at test time, and so does PyTorch. So training and "
        "test use different variances. The lecture and this program divide by n − 1 both times.",
    ),
    (Example("Four numbers.", {"x": [1.0, 2.0, 4.0, 5.0]}, {"n": 4}),),
    table=_bessel,
)

SOFTMAX_CASES = Lesson(
    chain(
        "softmax by cases",
        {"z": "V", "y": 0},
        step("counts", lambda z: z.exp(), dz=lambda counts, dcounts: counts * dcounts, shape="V", rule="exp ⇄ itself"),
        step(
            "total",
            lambda counts: counts.sum(),
            dcounts=lambda counts, dtotal: torch.ones_like(counts) * dtotal,
            shape="",
            rule="sum ⇄ broadcast",
        ),
        step(
            "p",
            lambda counts, total: counts / total,
            dcounts=lambda total, dp: dp / total,
            dtotal=lambda counts, total, dp: -(counts * dp).sum() / total**2,
            shape="V",
            rule="quotient ⇄ quotient rule",
        ),
        step(
            "loss",
            lambda p, y: -p[y].log(),
            dp=lambda p, y, dloss: torch.zeros_like(p).scatter(0, torch.tensor([y]), (-dloss / p[y]).reshape(1)),
            shape="",
            rule="selection ⇄ gradient to the selected entry; log ⇄ local derivative",
        ),
        stages=(
            Stage(
                "Both cases in one expression: the probabilities, minus 1 at the target.",
                "dz",
                lambda p, y, dloss: (p - F.one_hot(torch.tensor(y), len(p))) * dloss,
            ),
        ),
    ),
    "cross-entropy of one example, −log softmax(z)_y, by cases",
    (
        "p_y = e^z_y / Σ e^z_j. Apply the quotient rule. If i ≠ y, only the denominator depends on z_i, and "
        "∂p_y/∂z_i = −e^z_y · e^z_i / (Σ e^z_j)² = −p_y · p_i. If i = y, the numerator does too, and "
        "∂p_y/∂z_y = (e^z_y · Σ e^z_j − e^z_y · e^z_y) / (Σ e^z_j)² = p_y · (1 − p_y).",
        "The loss is −log p_y, whose derivative with respect to p_y is −1/p_y. The product of the two is p_i if i ≠ y, "
        "and p_y − 1 if i = y.",
    ),
    (Example("Three characters, of which the first is the target.", {"z": [1.0, 2.0, 0.5], "y": 0}, {"V": 3}),),
)

BATCHNORM_BY_HAND = Lesson(
    chain(
        "batchnorm on paper",
        {"x": "n 1", "gain": "1 1", "bias": "1 1", "eps": 1e-5},
        step(
            "mu",
            lambda x: x.mean(0, keepdim=True),
            dx=lambda x, n, dmu: torch.ones_like(x) * dmu / n,
            shape="1 1",
            rule="mean ⇄ 1/n each",
            why="μ has n + 1 arrows: one to each x̂ and one to σ².",
        ),
        step(
            "var",
            lambda x, mu, n: ((x - mu) ** 2).sum(0, keepdim=True) / (n - 1),
            dx=lambda x, mu, n, dvar: 2 / (n - 1) * (x - mu) * dvar,
            dmu=lambda x, mu, n, dvar: -2 / (n - 1) * (x - mu).sum(0, keepdim=True) * dvar,
            shape="1 1",
            rule="power ⇄ local derivative; sum ⇄ broadcast",
            why="∂σ²/∂μ = −2/(n−1) · Σ(x − μ) = 0: deviations from the mean sum to zero, so this branch vanishes.",
        ),
        step(
            "xhat",
            lambda x, mu, var, eps: (x - mu) * (var + eps) ** -0.5,
            dx=lambda var, eps, dxhat: (var + eps) ** -0.5 * dxhat,
            dmu=lambda var, eps, dxhat: -((var + eps) ** -0.5) * dxhat.sum(0, keepdim=True),
            dvar=lambda x, mu, var, eps, dxhat: -0.5 * (var + eps) ** -1.5 * ((x - mu) * dxhat).sum(0, keepdim=True),
            shape="n 1",
            rule="product ⇄ the other factor; power ⇄ local derivative",
            why="σ² and μ are used in every x̂, so each gets a sum over all of them.",
        ),
        step(
            "y",
            lambda gain, xhat, bias: gain * xhat + bias,
            dgain=lambda xhat, dy: (xhat * dy).sum(0, keepdim=True),
            dxhat=lambda gain, dy: gain * dy,
            dbias=lambda dy: dy.sum(0, keepdim=True),
            shape="n 1",
            rule="product ⇄ the other factor; broadcast ⇄ sum",
        ),
        stages=(
            Stage(
                "Everything substituted into one expression. The index i inside the sums becomes j, since i is now the "
                "entry of x. The power −3/2 is three times −1/2: two turn x_i − μ and x_j − μ into x̂_i and x̂_j.",
                "dx",
                lambda gain, var, eps, n, xhat, dy: (
                    gain * (var + eps) ** -0.5 / n * (n * dy - dy.sum(0) - n / (n - 1) * xhat * (dy * xhat).sum(0))
                ),
            ),
        ),
    ),
    "batchnorm of one column by hand, backward in the order x̂ → σ² → μ → x",
    examples=(
        Example(
            "Four numbers.",
            {"x": [[1.0], [2.0], [4.0], [5.0]], "gain": [[2.0]], "bias": [[0.5]], "eps": 0.0},
            {"n": 4},
        ),
    ),
)
