"""Reading, splitting and windowing, against the lecture's own loops."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from makemore_cli.config.schema import DataConfig
from makemore_cli.errors import MakemoreError
from makemore_cli.names import dataset, names_file, splits, stream
from makemore_cli.names.dataset import Dataset
from makemore_cli.names.shuffle import shuffled
from makemore_cli.names.splits import Split, distinct_rows
from makemore_cli.names.vocabulary import Vocabulary
from tests.conftest import NAMES


def load(path: Path, T: int = 3, *, seed: int = 42, vocabulary: Vocabulary | None = None) -> Dataset:
    return dataset.load(DataConfig(path=str(path), split_seed=seed), T, vocabulary)


def lecture(names: list[str], T: int, seed: int) -> tuple[dict[str, int], list[tuple[list[list[int]], list[int]]]]:
    """The lecture's construction, one letter at a time."""
    shuffled = list(names)
    random.Random(seed).shuffle(shuffled)
    stoi = {".": 0} | {letter: i + 1 for i, letter in enumerate(sorted(set("".join(names))))}
    n1, n2 = int(0.8 * len(names)), int(0.9 * len(names))
    splits = []
    for part in (shuffled[:n1], shuffled[n1:n2], shuffled[n2:]):
        X, Y = [], []
        for name in part:
            context = [0] * T
            for letter in name + ".":
                X.append(context)
                Y.append(stoi[letter])
                context = [*context[1:], stoi[letter]]
        splits.append((X, Y))
    return stoi, splits


def examples(split: Split) -> tuple[list[list[int]], list[int]]:
    X, Y = split.examples(np.arange(len(split)))
    return X.tolist(), Y.tolist()


# Any letters but the sign, line ends and control characters; no space at the ends, which would be stripped.
letters = st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters=".")
name_lists = st.lists(
    st.text(letters, min_size=1, max_size=8).map(str.strip).filter(lambda name: name and name[0] != "\ufeff"),
    min_size=6,
    max_size=40,
).filter(lambda names: len(set(names)) > 1)


@given(names=name_lists, T=st.integers(1, 9), seed=st.integers(0, 100), ending=st.sampled_from(["\n", "\r\n", "\r"]))
@settings(max_examples=200)
def test_examples_are_the_lectures(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], T: int, seed: int, ending: str
) -> None:
    path = tmp_path_factory.mktemp("data") / "names.txt"
    path.write_bytes(ending.join(names).encode())
    data = load(path, T, seed=seed)
    stoi, splits = lecture(names, T, seed)
    assert [examples(split) for split in data.splits.values()] == splits
    assert data.vocabulary.letters == "".join(stoi)[1:]
    assert sorted(name for split in data.splits.values() for name in split.names()) == sorted(names)
    for name in names:
        assert data.vocabulary.decode(data.vocabulary.encode(name)) == name


@given(names=name_lists, T=st.integers(1, 9))
@settings(max_examples=100)
def test_distinct_contexts_stand_for_all_examples(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], T: int
) -> None:
    path = tmp_path_factory.mktemp("data") / "names.txt"
    path.write_text("\n".join(names), encoding="utf-8")
    split = load(path, T).train
    X, Y = examples(split)
    distinct = split.distinct
    pairs = [
        (*distinct.X[c].tolist(), y)
        for c, y, k in zip(distinct.context, distinct.Y.tolist(), distinct.count, strict=True)
        for _ in range(k)
    ]
    assert sorted(pairs) == sorted((*x, y) for x, y in zip(X, Y, strict=True))
    assert len({tuple(x) for x in distinct.X.tolist()}) == len(distinct.X)
    assert distinct.weight.tolist() == [X.count(x) for x in distinct.X.tolist()]
    assert (np.diff(distinct.context) >= 0).all()


@pytest.mark.parametrize(
    "content",
    [
        "\ufeff" + "\n".join(NAMES),  # a BOM
        "\r\n".join(NAMES) + "\r\n",
        "\n\n  \n\t\n" + "\n \u3000\n".join(f"  {name}\t " for name in NAMES) + "\n\n",
    ],
    ids=["BOM", "CRLF", "space"],
)
def test_what_is_no_name_is_left_out(tmp_path: Path, names_file: Path, content: str) -> None:
    path = tmp_path / "other.txt"
    path.write_bytes(content.encode())
    assert [examples(s) for s in load(path).splits.values()] == [examples(s) for s in load(names_file).splits.values()]


def test_tokens_are_kept_in_the_smallest_type(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    for count, dtype in ((255, np.uint8), (256, np.uint16), (8192, np.uint16)):
        letters = [chr(c) for c in range(0x3400, 0x3400 + 2 * count) if chr(c).isalpha()][:count]
        path.write_text("\n".join(letters), encoding="utf-8")
        data = load(path)
        assert len(data.vocabulary) == count + 1
        assert data.train.tokens.dtype == dtype
        X, Y = examples(data.train)
        assert max(Y) <= count
        assert max(map(max, X)) == max(Y)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no name; at least 6 are needed"),
        (b"\n \n\r\n", "holds no name; at least 6 are needed"),
        (b"emma\n", "holds only 1 name; at least 6 are needed"),
        (b"emma\nava\nmia", "holds only 3 names"),
        (b"emma\nava\nmia\nnoah\nz\xe9ro\nliam\n", "line 5: not UTF-8"),
        (b"emma\nava\nmia\nnoah\nliam\n\nst. john\n", "line 7: a name can't contain '.'"),
        (b"emma\nava\nmia\nno\x00ah\nliam\nj\x00acob\n", "line 4: a name can't contain the control character U+0000"),
        (b"emma,1\nava\t2\nmia\nnoah\nliam\njacob\n", "line 2: a name can't contain the control character U+0009"),
        ("emma\nava\n".encode("utf-16"), "line 1: not UTF-8"),
    ],
)
def test_what_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes(content)
    with pytest.raises(MakemoreError) as error:
        load(path)
    assert message in str(error.value)
    assert str(error.value).startswith(str(path))


def test_a_models_vocabulary_admits_no_other_letter(names_file: Path, tmp_path: Path) -> None:
    vocabulary = Vocabulary("abcdefghijklmnop")
    with pytest.raises(MakemoreError, match=r"line 2: the model does not know 'v'; its characters are abcdefg"):
        load(names_file, vocabulary=vocabulary)
    path = tmp_path / "few.txt"
    path.write_text("ab\nba\nabba\nbab\naab\nbaa")
    data = load(path, vocabulary=vocabulary)
    assert data.vocabulary is vocabulary
    assert {token for split in data.splits.values() for token in split.tokens.tolist()} == {0, 1, 2}


def test_kinds_of_names(names_file: Path) -> None:
    data = load(names_file)
    assert set(data.kinds(data.train.names())) == {"train"}
    assert set(data.kinds(data.val.names() + data.test.names())) == {"held_out"}
    assert data.kinds(["zaphod", data.train.names()[0]]) == ["new", "train"]


def test_the_bundled_names() -> None:
    data = dataset.load(DataConfig(), 3)
    names = [name for split in data.splits.values() for name in split.names()]
    assert len(names) == len(set(names)) == 19_797
    assert data.vocabulary.letters == "abcdefghijklmnopqrstuvwxyz"
    assert {len(name) for name in names} == set(range(2, 16))


@given(n=st.integers(2, 3000), seed=st.integers(0, 2**64))
def test_the_compiled_shuffle_is_pythons(n: int, seed: int) -> None:
    order = list(range(n))
    random.Random(seed).shuffle(order)
    assert shuffled(n, seed).tolist() == order


def test_a_long_shuffle_is_pythons() -> None:
    n = 1_500_000  # more random numbers than are drawn at a time
    order = list(range(n))
    random.Random(42).shuffle(order)
    assert shuffled(n, 42).tolist() == order


def test_many_names_are_split_as_few_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the compiled shuffle, piece by piece."""
    path = tmp_path / "names.txt"
    path.write_text("\n".join(f"{word}  " if len(word) == 3 else word for word in map(spell, range(3000))) + "\n\n")
    few = dataset.load(DataConfig(path=str(path)), 3)
    monkeypatch.setattr(stream, "MANY_NAMES", 100)
    for module in (stream, names_file, splits):
        monkeypatch.setattr(module, "PIECE_LETTERS", 160)
    many = dataset.load(DataConfig(path=str(path)), 3)
    assert sorted(name for split in many.splits.values() for name in split.names()) == sorted(map(spell, range(3000)))
    for ours, theirs in zip(few.splits.values(), many.splits.values(), strict=True):
        assert ours.names() == theirs.names()
        index = np.arange(len(ours))
        for a, b in zip(ours.examples(index), theirs.examples(index), strict=True):
            np.testing.assert_array_equal(a, b)
        for field in ("X", "weight", "context", "Y", "count"):
            np.testing.assert_array_equal(getattr(ours.distinct, field), getattr(theirs.distinct, field))


def spell(number: int) -> str:
    """A name for each number from 0 to 25³."""
    return "".join(chr(97 + number // 25**place % 25) for place in range(1 + number % 7)) + str(number)


@pytest.mark.parametrize(
    ("base", "width"), [(27, 1), (27, 13), (27, 14), (27, 40), (2, 62), (2, 63), (2, 64), (300, 8)]
)
def test_distinct_rows_are_those_of_a_set_of_tuples(base: int, width: int) -> None:
    """Also where a row read as a number does not fit 64 bits: 27¹⁴ and 2⁶³ do not."""
    rng = np.random.default_rng(width)
    rows = rng.integers(0, base, (40, width))
    rows[0], rows[1] = base - 1, 0  # the largest and the smallest
    rows = rows[rng.integers(0, len(rows), 100)]
    rows[:2] = [[base - 1] * width, [0] * width]
    distinct, which, count = distinct_rows(rows, base)
    counted = Counter(map(tuple, rows.tolist()))
    assert list(map(tuple, distinct.tolist())) == sorted(counted)
    assert [counted[row] for row in sorted(counted)] == count.tolist()
    np.testing.assert_array_equal(distinct[which], rows)
