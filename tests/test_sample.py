"""Sampling: what is drawn, in which proportions, and how the options change it."""

from __future__ import annotations

import math
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from makemore_cli.dataset import Vocabulary
from makemore_cli.errors import MakemoreError
from makemore_cli.model import Model, Sizes
from makemore_cli.parameters import initialise
from makemore_cli.run import load_checkpoint
from makemore_cli.sample import FEW, Options, names, sample, sample_run

VOCABULARY = Vocabulary("abc")


def model(T: int = 2, seed: int = 3, sharpen: float = 1.0) -> Model:
    """A small random network on three letters."""
    p, _ = initialise(Sizes(4, T, 3, 16), seed)
    p.W2.mul_(10 * sharpen)
    return Model(p.sizes, p.arrays(), np.zeros((1, 16), np.float32), np.ones((1, 16), np.float32))


def next_letter(m: Model, prefix: list[int], options: Options) -> list[float]:
    """Probabilities of what comes after a prefix, in float64 and in plain steps."""
    T = m.sizes.context
    logits = m.logits(np.array([([0] * T + prefix)[-T:]]))[0].tolist()
    weights = [math.exp(logit / options.temperature) for logit in logits]
    if options.top_k is not None:
        likely = sorted(range(4), key=lambda token: -weights[token])[: options.top_k]
        weights = [weight if token in likely else 0.0 for token, weight in enumerate(weights)]
    return [weight / sum(weights) for weight in weights]


def probability(m: Model, name: str, options: Options) -> float:
    """Of a name, letter by letter, its end included."""
    tokens = [*VOCABULARY.encode(name), 0]
    return math.prod(next_letter(m, tokens[:at], options)[token] for at, token in enumerate(tokens))


@pytest.mark.parametrize("options", [Options(), Options(temperature=0.5), Options(temperature=2.0), Options(top_k=2)])
def test_names_come_in_their_proportions(options: Options) -> None:
    """A chi-squared test over 40,000 names, at a level that chance passes once in a million seeds."""
    m, n = model(), 40_000
    counted = Counter(islice(names(m, VOCABULARY, 1, options), n))
    likely = {name: n * probability(m, name, options) for name, _ in counted.most_common(100)}
    cells = [(counted[name], expected) for name, expected in likely.items() if expected >= 20]
    rest = n - sum(c for c, _ in cells), n - sum(e for _, e in cells)
    if rest[1] >= 20:
        cells.append(rest)
    assert len(cells) > 5
    statistic = sum((c - e) ** 2 / e for c, e in cells)
    degrees = len(cells) - 1
    assert statistic < degrees + 5 * math.sqrt(2 * degrees) + 10


def test_the_same_seed_gives_the_same_names_and_a_larger_n_only_more() -> None:
    first = sample(model(), VOCABULARY, 20, seed=7)
    assert sample(model(), VOCABULARY, 20, seed=7) == first
    assert sample(model(), VOCABULARY, FEW + 50, seed=7)[:20] == first
    assert sample(model(), VOCABULARY, 20, seed=8) != first
    assert sample(model(), VOCABULARY, 0, seed=7) == []


def test_a_prefix_begins_every_name_and_conditions_the_rest() -> None:
    drawn = sample(model(), VOCABULARY, 4000, 1, Options(prefix="ab"))
    assert all(name.startswith("ab") for name in drawn)
    third = Counter(name[2:3] for name in drawn)
    for letter, expected in zip(["", "a", "b", "c"], next_letter(model(), [1, 2], Options()), strict=True):
        assert third[letter] / len(drawn) == pytest.approx(expected, abs=0.03)


def test_max_length_cuts() -> None:
    assert {len(name) for name in sample(model(), VOCABULARY, 500, 1, Options(max_length=3))} <= {0, 1, 2, 3}
    assert set(sample(model(), VOCABULARY, 50, 1, Options(prefix="ab", max_length=2))) == {"ab"}


def test_a_temperature_near_zero_is_nearly_greedy() -> None:
    assert set(sample(model(), VOCABULARY, 20, 1, Options(temperature=1e-40))) == set(
        sample(model(), VOCABULARY, 20, 1, Options(temperature=0.0))
    )


def test_a_model_that_has_overflowed() -> None:
    hot = model()
    hot.parameters["W2"].fill(3e38)
    with pytest.raises(MakemoreError, match="the model's scores are not finite"):
        sample(hot, VOCABULARY, 5, 1)


def test_temperature_zero_takes_the_likeliest_letter() -> None:
    m = model(T=1, sharpen=3)
    greedy = set(sample(m, VOCABULARY, 10, 1, Options(temperature=0.0, max_length=6)))
    assert greedy == set(sample(m, VOCABULARY, 10, 2, Options(top_k=1, max_length=6)))
    assert len(greedy) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_k": 0},
        {"max_length": 0},
        {"max_length": 10**9},
        {"prefix": "abc", "max_length": 2},
    ],
)
def test_options_that_make_no_sense(options) -> None:
    with pytest.raises(MakemoreError):
        Options(**options)


def test_a_prefix_that_the_model_does_not_know() -> None:
    with pytest.raises(MakemoreError, match=r"'axb': the model knows no 'x'; its letters are abc"):
        sample(model(), VOCABULARY, 1, 1, Options(prefix="axb"))


def test_new_names_are_new_and_different(trained: Path) -> None:
    checkpoint = load_checkpoint(trained)
    sampled = sample_run(checkpoint, 300, None, Options(), only_new=True)
    drawn = sampled.names()
    assert len(set(drawn)) == 300
    assert sampled.kinds == {"train": 0, "held_out": 0, "new": 300}
    known = (Path(__file__).parent.parent / "data" / "names.txt").read_text().split()
    assert not set(drawn) & set(known)

    short = sample_run(checkpoint, 50, None, Options(max_length=4), only_new=True)
    assert {len(name) for name in short.names()} <= {1, 2, 3}  # not what was cut off, and not nothing at all

    plain = sample_run(checkpoint, 2000, None, Options(temperature=0.7))
    drawn = plain.names()
    assert plain.kinds is not None
    assert sum(plain.kinds.values()) == 2000
    assert plain.kinds["new"] == sum(name not in known for name in drawn) < 2000
