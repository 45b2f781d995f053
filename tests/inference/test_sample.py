"""Sampling: what is drawn, in which proportions, and how the options change it."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from makemore_cli.config.schema import Config
from makemore_cli.errors import MakemoreError
from makemore_cli.inference import sample as sampling
from makemore_cli.inference.batches import FEW, Batches
from makemore_cli.inference.lecture_sampler import names as lecture_names
from makemore_cli.inference.next_letters import Options, alias_shares, next_probabilities
from makemore_cli.inference.sample import default_seed, names, sample, sample_new, sample_run, texts
from makemore_cli.inference.sampling_processes import draw_side_by_side
from makemore_cli.names.vocabulary import Vocabulary
from makemore_cli.network.model import Folded, Model, Sizes
from makemore_cli.network.parameters import initialise
from makemore_cli.runs.checkpoint import load_checkpoint
from tests.conftest import logits_in_float64

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


def probability_of_prefix(m: Model, prefix: str) -> float:
    tokens = VOCABULARY.encode(prefix)
    return math.prod(next_letter(m, tokens[:at], Options())[token] for at, token in enumerate(tokens))


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


@pytest.mark.slow
def test_a_million_names_by_table_and_by_the_lectures_procedure() -> None:
    """Two samples of one distribution, by a chi-squared test; and the table's against the true probabilities."""
    m, n, few = model(T=3, sharpen=0.3), 1_000_000, 10_000
    table = Counter(islice(names(m, VOCABULARY, 1, Options()), n))
    lecture = Counter(islice(lecture_names(m, VOCABULARY, 2), few))
    likely = [name for name, count in lecture.most_common(100) if count >= 20]
    cells = [(lecture[name], table[name]) for name in likely]
    cells.append((few - sum(a for a, _ in cells), n - sum(b for _, b in cells)))
    assert len(cells) > 10
    a, b = np.array(cells, dtype=float).T
    statistic = (((n / few) ** 0.5 * a - (few / n) ** 0.5 * b) ** 2 / (a + b)).sum()
    degrees = len(cells) - 1
    assert statistic < degrees + 5 * math.sqrt(2 * degrees) + 10
    true = {name: n * probability(m, name, Options()) for name in likely}
    statistic = sum((table[name] - expected) ** 2 / expected for name, expected in true.items())
    assert statistic < len(true) + 5 * math.sqrt(2 * len(true)) + 10


def test_the_lectures_procedure_is_the_lectures() -> None:
    """One `torch.multinomial` a letter from one generator, as the notebook's loop has it."""
    m = model(T=3)
    g = torch.Generator().manual_seed(2147483657)
    expected = []
    for _ in range(30):
        context, name = [0] * 3, ""
        while True:
            probs = torch.softmax(logits_in_float64(m, torch.tensor([context])), 1).float()
            token = int(torch.multinomial(probs, num_samples=1, generator=g))
            context = [*context[1:], token]
            if token == 0:
                break
            name += VOCABULARY.letters[token - 1]
        expected.append(name)
    assert list(islice(lecture_names(m, VOCABULARY, 2147483657), 30)) == expected


@given(
    V=st.integers(2, 30),
    seed=st.integers(0, 2**31),
    sharpness=st.floats(0, 30),
    top_k=st.one_of(st.none(), st.integers(1, 30)),
)
def test_the_shares_are_thenext_probabilities(V: int, seed: int, sharpness: float, top_k: int | None) -> None:
    """What the alias method draws, added up: each letter's own part, and what it gets as another's alias."""
    logits = np.random.default_rng(seed).normal(size=(20, V)) * sharpness
    probabilities = next_probabilities(logits, Options(top_k=top_k))
    shares = alias_shares(probabilities)
    alias = shares.astype(int)
    assert alias.max() < V
    drawn = (shares - alias) / V
    for letter in range(V):
        np.add.at(drawn, (np.arange(20), alias[:, letter]), (1 - (shares - alias)[:, letter]) / V)
    np.testing.assert_allclose(drawn, probabilities, rtol=0, atol=1e-9)
    assert (drawn[probabilities == 0] == 0).all()


@pytest.mark.parametrize("T", [1, 3, 8])
def test_a_folded_network_is_the_network(T: int) -> None:
    m = model(T)
    m = replace(m, bnmean=m.bnmean + 0.3, bnvar=m.bnvar * 2)
    X = np.random.default_rng(1).integers(0, 4, (500, T))
    np.testing.assert_allclose(Folded(m).logits(X), m.logits(X), rtol=0, atol=2e-5)
    np.testing.assert_allclose(m.logits(X), logits_in_float64(m, torch.from_numpy(X)), rtol=0, atol=2e-5)


def test_many_names_begin_with_the_few(trained: Path) -> None:
    """Where the first are drawn otherwise than the rest, and also for a prefix and a context too long for a table."""
    for m, options in ((model(T=2), Options(prefix="ab")), (model(T=12), Options(max_length=6))):
        many = list(islice(names(m, VOCABULARY, 3, options), FEW + 3000))
        assert many[: FEW + 10] == sample(m, VOCABULARY, FEW + 10, 3, options)
        assert all(name.startswith(options.prefix) and len(name) <= options.max_length for name in many)
        counted = Counter(many[FEW:])
        name, count = counted.most_common(1)[0]
        if len(name) < options.max_length:
            expected = probability(m, name, Options()) / (probability_of_prefix(m, options.prefix))
            assert count / 3000 == pytest.approx(expected, abs=0.05)


def test_only_the_first_100_000_are_looked_up(trained: Path) -> None:
    sampled = sample_run(load_checkpoint(trained), 150_000, None, Options())
    assert sum(text.count("\n") for text in sampled.texts()) == sampled.drawn == 150_000
    assert sampled.counted == 100_000 == sum((sampled.kinds or {}).values())


def test_the_lectures_procedure_has_no_options(trained: Path) -> None:
    checkpoint = load_checkpoint(trained)
    assert len(sample_run(checkpoint, 3, None, Options(), lecture=True).names()) == 3
    for options, only_new in ((Options(temperature=2.0), False), (Options(prefix="a"), False), (Options(), True)):
        with pytest.raises(MakemoreError, match="lecture cannot be combined with any sampling option but a seed"):
            sample_run(checkpoint, 3, None, options, only_new=only_new, lecture=True)


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
    with pytest.raises(MakemoreError, match="the model's logits are not finite"):
        sample(hot, VOCABULARY, 5, 1)
    with pytest.raises(MakemoreError, match="the model's logits are not finite"):
        next(lecture_names(hot, VOCABULARY, 1))


def test_a_name_that_never_ends_is_cut() -> None:
    endless = model()
    endless.parameters["b2"][0] = -1e6
    assert len(next(lecture_names(endless, VOCABULARY, 1))) == 10_000
    assert {len(name) for name in sample(endless, VOCABULARY, 3, 1)} == {100}


@pytest.mark.slow
def test_a_large_alphabet(tmp_path: Path) -> None:
    """Thousands of letters are no reason to need gigabytes."""
    p, _ = initialise(Sizes(3000, 2, 3, 16), 1)
    large = Model(p.sizes, p.arrays(), np.zeros((1, 16), np.float32), np.ones((1, 16), np.float32))
    vocabulary = Vocabulary("".join(map(chr, range(0x4E00, 0x4E00 + 2999))))
    drawn = sample(large, vocabulary, FEW + 100, 1, Options(max_length=5))
    assert max(len(name) for name in drawn) == 5
    assert len(set("".join(drawn))) > 1000


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
    with pytest.raises(MakemoreError, match=r"'axb': the model does not know 'x'; its characters are abc"):
        sample(model(), VOCABULARY, 1, 1, Options(prefix="axb"))


@pytest.mark.slow
def test_new_names_are_new_and_different(trained: Path) -> None:
    checkpoint = load_checkpoint(trained)
    sampled = sample_run(checkpoint, 300, None, Options(), only_new=True)
    drawn = sampled.names()
    assert len(set(drawn)) == 300
    assert sampled.kinds == {"train": 0, "held_out": 0, "new": 300}
    known = (Path(__file__).parents[2] / "data" / "names.txt").read_text().split()
    assert not set(drawn) & set(known)

    short = sample_run(checkpoint, 50, None, Options(max_length=4), only_new=True)
    assert {len(name) for name in short.names()} <= {1, 2, 3}  # not what was cut off, and not nothing at all

    plain = sample_run(checkpoint, 2000, None, Options(temperature=0.7))
    drawn = plain.names()
    assert plain.kinds is not None
    assert sum(plain.kinds.values()) == 2000
    assert plain.kinds["new"] == sum(name not in known for name in drawn) < 2000


def test_the_seed_is_the_runs_own_plus_ten(trained: Path) -> None:
    """The notebook trains with the seed 2147483647 and samples with 2147483647 + 10."""
    assert default_seed(Config()) == 2147483657
    checkpoint = load_checkpoint(trained)
    assert checkpoint.config.train.seed == 2147483647
    for lecture in (False, True):
        drawn = sample_run(checkpoint, 20, None, Options(), lecture=lecture).names()
        assert drawn == sample_run(checkpoint, 20, 2147483657, Options(), lecture=lecture).names()


@pytest.mark.parametrize(("known", "found"), [(49, 4), (50, 0)])
def test_the_wait_for_a_new_name_begins_anew_with_each(
    known: int, found: int, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a patience of 50 draws, new names that are each 50th draw are all found, and none that is each 51st."""
    data = sampling.load(load_checkpoint(trained).config.data, 3)
    old = data.train.names()[0]

    def drawn(*_: object) -> Iterator[tuple[int, str]]:
        for new in ("qzq", "zqz", "qqz", "zzq", "qzz"):
            yield known, f"{old}\n" * known
            yield 1, f"{new}\n"

    monkeypatch.setattr(sampling, "PATIENCE_DRAWS", 50)
    monkeypatch.setattr(sampling, "texts", drawn)
    assert sample_new(model(), data, 4, 1) == ["qzq", "zqz", "qqz", "zzq"][:found]


@pytest.mark.parametrize("top", [0, 3])
def test_scores_beyond_what_exp_can_take(top: int) -> None:
    """e^88.7 leaves float32 and e^709.8 leaves float64; only differences between the scores matter."""
    logits = np.array([[0.0, -1.0, 0.5, 0.0]])
    for shift in (89.0, 1000.0, -1000.0, 1e6):
        np.testing.assert_allclose(
            next_probabilities(logits + shift, Options()), next_probabilities(logits, Options()), rtol=1e-9
        )
    logits[0, top] = 2000
    assert next_probabilities(logits, Options()).tolist() == [[float(token == top) for token in range(4)]]


@pytest.mark.parametrize("jobs", [2, pytest.param(5, marks=pytest.mark.slow)])
@pytest.mark.parametrize("T", [2, pytest.param(9, marks=pytest.mark.slow)])
def test_several_processes_give_the_same_names_in_the_same_order(jobs: int, T: int) -> None:
    options = Options(max_length=6)
    n = FEW + 3 * 65_536 + 7
    expected = list(islice(names(model(T=T), VOCABULARY, 5, options), n))
    with closing(texts(Batches(model(T=T), VOCABULARY, 5, options), jobs)) as drawn:
        assert list(islice((name for _, text in drawn for name in text.split("\n")[:-1]), n)) == expected


def test_any_batch_can_be_drawn_alone() -> None:
    batches, others = (Batches(model(), VOCABULARY, 3, Options()) for _ in range(2))
    in_order = [batches.draw(number) for number in range(4)]
    assert [others.draw(number) for number in (3, 0, 2, 1)] == [in_order[number] for number in (3, 0, 2, 1)]
    assert len({text for _, text in in_order}) == 4


@given(letters=st.integers(1, 20_000), length=st.integers(1, 10_000))
def test_batches_double(letters: int, length: int) -> None:
    vocabulary = Vocabulary("".join(map(chr, range(0x20000, 0x20000 + letters))))
    batches = Batches(model(), vocabulary, 3, Options(max_length=length))
    sizes = [batches.size(number) for number in range(40)]
    assert sizes[0] * (letters + 1) <= 1 << 18 or sizes[0] == 16
    assert sizes[0] == FEW or letters > 255
    assert all(later == min(2 * size, sizes[-1]) for size, later in pairwise(sizes))
    assert sizes[-1] <= 1 << 16
    assert sizes[-1] * max(letters + 1, length) <= 1 << 24 or sizes[-1] == FEW


def test_the_first_batch_has_the_random_numbers_of_its_seed() -> None:
    """So that the first names of a seed stay what they were when all had one stream of random numbers."""
    first = np.random.PCG64(7).jumped(0)
    assert first.random_raw(9).tolist() == np.random.PCG64(7).random_raw(9).tolist()


@pytest.mark.skipif(sys.platform != "linux", reason="children are counted on Linux only")
def test_processes_end_with_the_names(trained: Path) -> None:
    before = children()
    few = sample_run(load_checkpoint(trained), FEW + 10, None, Options(), jobs=2).texts()
    assert next(few)
    assert next(few)
    assert children() == before  # one batch needs no process
    drawn = sample_run(load_checkpoint(trained), FEW + 65_536 + 10, None, Options(), jobs=5).texts()
    assert next(drawn).count("\n") == FEW
    first = next(drawn).count("\n")
    assert len(children() - before) == 2
    assert first + sum(text.count("\n") for text in drawn) == 65_536 + 10
    assert children() == before


@pytest.mark.skipif(sys.platform != "linux", reason="children are counted on Linux only")
def test_a_killed_process_is_told(trained: Path) -> None:
    before = children()
    drawn = sample_run(load_checkpoint(trained), 10**9, None, Options(), jobs=2).texts()
    next(drawn)
    next(drawn)
    for process in children() - before:
        os.kill(process, signal.SIGKILL)
    with pytest.raises(MakemoreError, match="a process that samples was killed, perhaps because memory ran out"):
        for _ in drawn:
            pass


def test_mistakes_of_a_process_are_told() -> None:
    """Here, logits that are not finite."""
    bad = model()
    bad.parameters["b2"][0] = np.inf
    with (
        pytest.raises(MakemoreError, match="logits are not finite"),
        closing(draw_side_by_side(Batches(bad, VOCABULARY, 1, Options()), 1, 2)) as drawn,
    ):
        next(drawn)


def children() -> set[int]:
    """Process ids."""
    lists = Path("/proc/self/task").glob("*/children")
    return {int(number) for found in lists for number in found.read_text().split()}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured on Linux only")
@pytest.mark.parametrize("arguments", [[], ["--json"], ["--jobs", "2"]])
def test_memory_does_not_grow_with_the_number_of_names(trained: Path, arguments: list[str]) -> None:
    """Nor with what is scored."""
    peaks = []
    for n in (200_000, 1_500_000):
        command = [sys.executable, "-m", "makemore_cli", "sample", str(trained), "-n", str(n), *arguments]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            peaks.append(peak_memory(process))
    assert peaks[1] < peaks[0] + 40, peaks


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured on Linux only")
def test_scores_of_many_names_need_little_memory(trained: Path, tmp_path: Path) -> None:
    peaks = []
    for n in (50_000, 250_000):
        (tmp_path / "names.txt").write_text("emma\nolivia\nava\nsophia\n" * (n // 4))
        command = [sys.executable, "-m", "makemore_cli", "score", str(trained)]
        with (
            (tmp_path / "names.txt").open() as names,
            subprocess.Popen(command, stdin=names, stdout=subprocess.DEVNULL) as process,
        ):
            peaks.append(peak_memory(process))
    assert peaks[1] < peaks[0] + 40, peaks


def peak_memory(process: subprocess.Popen[bytes]) -> int:
    """The most memory of its own that a process had, in MiB, when it has ended."""
    peak = 0
    while process.poll() is None:
        with suppress(OSError, ValueError):
            found = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
            peak = max(peak, int(found[1]) // 1024 if found else 0)
        time.sleep(0.01)
    assert process.returncode == 0
    return peak
