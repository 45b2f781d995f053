"""Files of any size: in the cache, mapped into memory, packed or in columns, read by several processes at once."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from makemore_cli.config.schema import DataConfig, ModelConfig
from makemore_cli.errors import MakemoreError, WriteError
from makemore_cli.inference import evaluate
from makemore_cli.names import dataset, file_formats, large_file, name_loops, splits, stream
from makemore_cli.names.dataset import Dataset
from makemore_cli.names.vocabulary import Vocabulary
from makemore_cli.system.files import lock, open_log
from makemore_cli.system.progress import Report, shown_by
from tests.conftest import NAMES, Cli
from tests.names.test_dataset import examples, name_lists
from tests.terminal import in_terminal

packed = partial(gzip.compress, mtime=0)
WORDS = [f"{a}{b}{c}" for a in "bdfklmnprst" for b in ("a", "e", "io", "ou") for c in ("", "n", "ra", "lia", "zoë")]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MAKEMORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "streams"


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Let a few names be a large file, read a few at a time."""
    limits = SimpleNamespace(in_memory=50, shuffled=1 << 31, block=64)

    def apply() -> None:
        monkeypatch.setattr(dataset, "LARGEST_TEXT_IN_MEMORY", limits.in_memory)
        monkeypatch.setattr(large_file, "LARGEST_SHUFFLED_BYTES", limits.shuffled)
        monkeypatch.setattr(file_formats, "BLOCK_BYTES", limits.block)

    limits.apply = apply
    apply()
    return limits


def load(path: Path | str, T: int = 3, *, seed: int = 42, vocabulary: Vocabulary | None = None) -> Dataset:
    return dataset.load(DataConfig(path=str(path), split_seed=seed), T, vocabulary)


def words_file(folder: Path) -> Path:
    path = folder / "names.txt"
    path.write_text("\n".join(WORDS), encoding="utf-8")
    return path


def contents(data: Dataset) -> list[object]:
    return [data.vocabulary.letters, *(examples(split) for split in data.splits.values())]


def streams(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if path.suffix != ".lock"]


# --- The same names as in memory ---


@given(
    names=name_lists,
    T=st.integers(1, 9),
    seed=st.integers(0, 9),
    block=st.integers(1, 40),
    ending=st.sampled_from(["\n", "\r\n", "\r"]),
)
@settings(max_examples=25)
def test_a_large_file_is_shuffled_and_split_as_a_small_one(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], T: int, seed: int, block: int, ending: str
) -> None:
    folder = tmp_path_factory.mktemp("data")
    path = folder / "names.txt"
    path.write_bytes(ending.join([*names, "", "  "]).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAKEMORE_CACHE", str(folder / "cache"))
        small = load(path, T, seed=seed)
        patch.setattr(dataset, "LARGEST_TEXT_IN_MEMORY", 0)
        patch.setattr(file_formats, "BLOCK_BYTES", block)
        made, found = load(path, T, seed=seed), load(path, T, seed=seed)
    assert made.stream.is_mapped
    assert made.sha256 == found.sha256 == small.sha256
    assert contents(made) == contents(found) == contents(small)
    assert made.train.windows.dtype == small.train.windows.dtype


def test_letters_of_all_widths_come_one_after_another(tmp_path: Path, small_limits: SimpleNamespace) -> None:
    """The temporary file is written anew for letters beyond the first 256 and the first 65,536."""
    path = tmp_path / "names.txt"
    path.write_text("\n".join([*WORDS, "иван", *WORDS[::-1], "𝒜𝒷", "anna"]), encoding="utf-8")
    large = load(path)
    small_limits.in_memory = 1 << 20
    small_limits.apply()
    assert large.stream.is_mapped
    assert contents(large) == contents(load(path))


# --- Split by hash ---


def by_hash(names: list[str], seed: int) -> dict[str, list[str]]:
    """The splits of names as the documentation describes them."""
    start = name_loops.start_value(seed)
    numbered = sorted((name_loops.name_hash(name, start) >> 52, place) for place, name in enumerate(names))
    parts = {"train": range(3277), "val": range(3277, 3686), "test": range(3686, 4096)}
    return {split: [names[place] for part, place in numbered if part in numbers] for split, numbers in parts.items()}


@given(names=name_lists, seed=st.integers(0, 10**20), block=st.integers(1, 100))
@settings(max_examples=25)
def test_very_large_files_are_split_by_hash(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], seed: int, block: int
) -> None:
    folder = tmp_path_factory.mktemp("data")
    path = folder / "names.txt"
    names = names + WORDS  # so that no split is empty
    random.Random(0).shuffle(names)
    path.write_text("\n\n".join(names), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAKEMORE_CACHE", str(folder / "cache"))
        patch.setattr(dataset, "LARGEST_TEXT_IN_MEMORY", 0)
        patch.setattr(large_file, "LARGEST_SHUFFLED_BYTES", 0)
        patch.setattr(file_formats, "BLOCK_BYTES", block)
        data = load(path, seed=seed)
    assert {split: part.names() for split, part in data.splits.items()} == by_hash(names, seed)
    kinds = {
        name: "train" if split == "train" else "held_out"
        for split, part in by_hash(names, seed).items()
        for name in part
    }
    asked = [*names, "zaphod", "", "q", "a.b"]
    assert data.kinds(asked) == [kinds.get(name, "new") for name in asked]


def test_hashes_split_in_the_promised_proportions() -> None:
    start = name_loops.start_value(42)
    rng = np.random.default_rng(0)
    names = {"".join(map(chr, rng.integers(97, 123, length))) for length in (2, 3, 4, 5, 9) for _ in range(8000)}
    of = np.array([name_loops.partition(name_loops.name_hash(name, start)) for name in names])
    n, expected = len(names), len(names) / name_loops.PARTITIONS
    for first, last, fraction in ((0, 3277, 0.8), (3277, 3686, 0.1), (3686, 4096, 0.1)):
        count = ((of >= first) & (of < last)).sum()
        assert abs(count - fraction * n) < 5 * np.sqrt(n * fraction)
    chi_square = ((np.bincount(of, minlength=name_loops.PARTITIONS) - expected) ** 2).sum() / expected
    assert abs(chi_square - name_loops.PARTITIONS) < 5 * np.sqrt(2 * name_loops.PARTITIONS)


def test_too_few_different_names_for_a_split_by_hash(
    tmp_path: Path, small_limits: SimpleNamespace, cache: Path
) -> None:
    small_limits.shuffled = 0
    small_limits.apply()
    path = tmp_path / "names.txt"
    path.write_text("emma\nolivia\n" * 50)
    with pytest.raises(MakemoreError, match=r"holds so few different names that the \w+ split is empty"):
        load(path)
    assert streams(cache) == []


# --- What is read from it ---


def large_and_small(tmp_path: Path, limits: SimpleNamespace, words: list[str]) -> tuple[Dataset, Dataset]:
    path = tmp_path / "names.txt"
    path.write_text("\n".join(words), encoding="utf-8")
    large = load(path, 4)
    limits.in_memory = 1 << 30
    limits.apply()
    return large, load(path, 4)


def test_kinds_of_names_are_those_in_memory(tmp_path: Path, small_limits: SimpleNamespace) -> None:
    words = WORDS * 2 + NAMES
    random.Random(1).shuffle(words)
    large, small = large_and_small(tmp_path, small_limits, words)
    asked = [*words, "emm", "mma", "emmaemma", "zaphod", "x", ""]
    assert large.kinds(asked) == small.kinds(asked)
    assert Counter(large.kinds(asked)).keys() == {"train", "held_out", "new"}
    assert large.kinds([]) == []


def test_compiled_code_reads_the_same_examples(
    tmp_path: Path, small_limits: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    large, small = large_and_small(tmp_path, small_limits, WORDS)
    monkeypatch.setattr(splits, "MANY_LETTERS", 1)
    for ours, theirs in zip(large.splits.values(), small.splits.values(), strict=True):
        index = np.random.default_rng(0).integers(0, len(ours), (50, 7))
        monkeypatch.setattr(splits, "MANY_LETTERS", 1)
        read, distinct = ours.examples(index), ours.distinct
        monkeypatch.setattr(splits, "MANY_LETTERS", 1 << 40)
        for a, b in zip(read, theirs.examples(index), strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype
        for field in ("X", "weight", "context", "Y", "count"):
            np.testing.assert_array_equal(getattr(distinct, field), getattr(theirs.distinct, field))


def test_some_examples_stand_for_very_many(tmp_path: Path, small_limits: SimpleNamespace) -> None:
    """Evenly spaced ones, if the contexts are too many for a table."""
    large, _ = large_and_small(tmp_path, small_limits, WORDS)
    all_counted = replace(load(tmp_path / "names.txt", 1).train, most_counted=100)
    assert all_counted.counted == len(all_counted) == all_counted.distinct.count.sum()
    few = replace(large.train, most_counted=100)
    X, Y = few.examples(np.arange(100) * len(few) // 100)
    assert few.counted == 100 == few.distinct.count.sum() == few.distinct.weight.sum()
    counted = Counter((*x, y) for x, y in zip(X.tolist(), Y.tolist(), strict=True))
    distinct = few.distinct
    assert counted == {
        (*distinct.X[context].tolist(), y): count
        for context, y, count in zip(distinct.context, distinct.Y.tolist(), distinct.count.tolist(), strict=True)
    }


def test_the_context_is_never_longer_than_the_padding() -> None:
    longest = ModelConfig.model_json_schema()["properties"]["context_length"]["maximum"]
    assert longest == stream.PADDING


# --- Formats ---


def parquet(names: list[str | None], **columns: list[object]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"name": names, **columns}), file, row_group_size=7)
    return file.getvalue()


@pytest.mark.parametrize("in_memory", [True, False])
def test_all_formats_give_the_same_names(tmp_path: Path, small_limits: SimpleNamespace, in_memory: bool) -> None:
    if in_memory:
        small_limits.in_memory = 1 << 24
        small_limits.apply()
    text = "\n".join(WORDS).encode()
    half = len(text) // 2
    files = {
        "names.txt": text,
        "names.gz": packed(text),
        "two.gz": packed(text[:half]) + packed(text[half:]),
        "names.zst": zstd.compress(text),
        "two.zst": zstd.compress(text[:half]) + zstd.compress(text[half:]),
        "one.parquet": parquet([*WORDS[:9], None, *WORDS[9:]], number=[*range(len(WORDS) + 1)]),
        "several.parquet:name": parquet(list(WORDS), other=list(reversed(WORDS))),
    }
    for name, content in files.items():
        (tmp_path / name.partition(":")[0]).write_bytes(content)
    expected = contents(load(tmp_path / "names.txt"))
    for name in files:
        assert contents(load(tmp_path / name)) == expected, name
    other = load(tmp_path / "several.parquet:other")
    assert contents(other) != expected
    assert Counter(other.train.names() + other.val.names() + other.test.names()) == Counter(WORDS)


def test_kinds_of_text_columns(tmp_path: Path) -> None:
    path = tmp_path / "names.parquet"
    column = pa.array([*WORDS, None])
    kinds = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
    pq.write_table(pa.table({str(kind): column.cast(kind) for kind in kinds}), path)
    assert len({json.dumps(contents(load(f"{path}:{kind}"))) for kind in kinds}) == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("n.gz", packed(b"emma\n" * 99)[:-9], "its gzip data is damaged or incomplete"),
        ("n.gz", b"\x1f\x8bnonsense", "its gzip data is damaged or incomplete"),
        ("n.zst", zstd.compress(bytes(range(99)) * 9)[:-9], "its zstandard data is damaged or incomplete"),
        ("n.zst", b"\x28\xb5\x2f\xfdnonsense", "its zstandard data is damaged or incomplete"),
        ("n.parquet", b"PAR1 and so on, but no PAR1", "its Parquet data is damaged or incomplete"),
        (
            "n.parquet",
            parquet(["a", "b"], other=["c", "d"]),
            "its columns of text are name, other; give one of them, as in",
        ),
        ("n.parquet:x", parquet(["a", "b"], n=[1, 2]), "x is not among its columns; its columns of text are name"),
        ("n.parquet:n", parquet(["a", "b"], n=[1, 2]), "n is not a column of text; its columns of text are name"),
        ("n.parquet", parquet([None, None], n=[1, 2]), "it has no column of text; give a file that has one"),
        ("n.parquet", parquet([*WORDS, "two\nlines"]), f"row {len(WORDS) + 1}: a name can't contain a line break"),
        (
            "n.txt:name",
            "\n".join(WORDS).encode(),
            "is not a Parquet file, so it has no column name; give its path alone",
        ),
        (
            "n.gz",
            packed("\n".join([*WORDS, "st. john"]).encode()),
            f"line {len(WORDS) + 1}: a name can't contain '.'",
        ),
        ("n.gz", packed(b""), "holds no name"),
    ],
    ids=range(13),
)
@pytest.mark.parametrize("in_memory", [True, False])
def test_what_is_told_of_files_that_cannot_be_used(
    tmp_path: Path, small_limits: SimpleNamespace, cache: Path, name: str, content: bytes, message: str, in_memory: bool
) -> None:
    if in_memory:
        small_limits.in_memory = 1 << 24
        small_limits.apply()
    (tmp_path / name.partition(":")[0]).write_bytes(content)
    with pytest.raises(MakemoreError) as error:
        load(tmp_path / name)
    assert message in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "n."))
    assert "\n" not in str(error.value)
    assert not cache.exists() or streams(cache) == []


@pytest.mark.parametrize(
    ("hidden", "name", "content", "package"),
    [
        ("pyarrow", "n.parquet", parquet(list(WORDS)), "pip install pyarrow"),
        ("backports", "n.zst", zstd.compress(b"emma\n" * 9), "pip install backports.zstd"),
    ],
    ids=["parquet", "zstandard"],
)
def test_a_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hidden: str, name: str, content: bytes, package: str
) -> None:
    (tmp_path / name).write_bytes(content)
    monkeypatch.setitem(sys.modules, hidden, None)
    monkeypatch.setitem(sys.modules, "compression", None)
    with pytest.raises(MakemoreError, match=f"a package is missing; run: {package}"):
        load(tmp_path / name)


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "names.gz"
    path.write_bytes(packed(b"emma\nava\n" + b"a" * (1 << 26)))
    with pytest.raises(MakemoreError, match=r"line 3: more than 1 MiB; write one name per line"):
        load(path)


@pytest.mark.parametrize("place", [0, 1000, 5000])
def test_faults_deep_in_a_file_are_found_with_their_line(
    tmp_path: Path, small_limits: SimpleNamespace, place: int
) -> None:
    lines = [b"emma\r\n" if at % 3 else b"ava\r" if at % 2 else b"mia\n" for at in range(6000)]
    for wrong, message in (
        (b"j\xe9r\n", "not UTF-8"),
        (b"a.b\n", "can't contain '.'"),
        (b"x" * 1001 + b"\n", "1,001 characters"),
    ):
        path = tmp_path / "names.txt"
        path.write_bytes(b"".join([*lines[:place], wrong, *lines[place:]]))
        with pytest.raises(MakemoreError, match=rf"line {place + 1:d}: .*{message}"):
            load(path)


# --- The cache ---


def test_a_stream_is_made_once_for_all_runs(tmp_path: Path, small_limits: SimpleNamespace, cache: Path) -> None:
    path = words_file(tmp_path)
    first = load(path)
    (kept,) = streams(cache)
    made = (kept / "tokens.npy").stat().st_mtime_ns
    path.rename(tmp_path / "moved.txt")
    for T, vocabulary in ((1, None), (8, None), (3, first.vocabulary)):
        assert load(tmp_path / "moved.txt", T, vocabulary=vocabulary).stream.bounds == first.stream.bounds
    assert streams(cache) == [kept]
    assert (kept / "tokens.npy").stat().st_mtime_ns == made
    load(tmp_path / "moved.txt", seed=7)
    assert len(streams(cache)) == 2
    wider = Vocabulary("".join(sorted({*first.vocabulary.letters, "x", "q"})))
    names = [part.names() for part in load(tmp_path / "moved.txt", vocabulary=wider).splits.values()]
    assert names == [part.names() for part in first.splits.values()]
    assert len(streams(cache)) == 3
    with pytest.raises(MakemoreError, match="the model does not know"):
        load(tmp_path / "moved.txt", vocabulary=Vocabulary("ab"))


def test_a_damaged_stream_is_refused(tmp_path: Path, small_limits: SimpleNamespace, cache: Path) -> None:
    path = words_file(tmp_path)
    load(path)
    (kept,) = streams(cache)
    whole = (kept / "tokens.npy").read_bytes()
    for content in (whole[:-5], b"", b"nonsense"):
        (kept / "tokens.npy").write_bytes(content)
        with pytest.raises(MakemoreError, match=f"{kept}: is damaged; remove this folder"):
            load(path)
    (kept / "tokens.npy").write_bytes(whole)
    about = json.loads((kept / "about.json").read_text())
    wrong = [
        {"bounds": []},
        {"bounds": about["bounds"][::-1]},
        {"letters": 7},
        {"partitions": 3},
        {"partitions": [4096]},
    ]
    for content in ("", "{}", "[]", *(json.dumps(about | part) for part in wrong)):
        (kept / "about.json").write_text(content)
        with pytest.raises(MakemoreError, match="is damaged; remove this folder"):
            load(path)


@pytest.mark.parametrize("name", ["about.json", "tokens.npy"])
def test_a_stream_of_which_a_part_was_removed_is_made_again(
    tmp_path: Path, small_limits: SimpleNamespace, cache: Path, name: str
) -> None:
    path = words_file(tmp_path)
    expected = contents(load(path))
    (kept,) = streams(cache)
    (kept / name).unlink()
    assert contents(load(path)) == expected
    assert len(list(kept.iterdir())) == 2


def test_a_source_that_cannot_be_read_is_blamed_itself(
    tmp_path: Path, small_limits: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = words_file(tmp_path)
    opening = Path.open

    class Failing(io.FileIO):
        def read(self, size: int = -1) -> bytes:
            if self.tell() > 600:
                raise OSError(errno.EIO, "Input/output error")
            return super().read(size)

    def opened(file: Path, mode: str = "r", *arguments: object, **options: object) -> object:
        return Failing(file) if file == path else opening(file, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(MakemoreError, match=f"{path}: can't be read: Input/output error"):
        load(path)


def test_a_second_process_says_that_it_waits(
    tmp_path: Path, small_limits: SimpleNamespace, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = words_file(tmp_path)
    load(path)
    (kept,) = streams(cache)
    (held,) = cache.glob("*.lock")
    (kept / "about.json").unlink()
    told = []

    @contextmanager
    def display(text: str) -> Iterator[Report]:
        def report(fraction: float | None) -> None:
            told.append((text, fraction))
            if text.startswith("waiting"):
                other.close()

        yield report

    with open_log(held) as other, shown_by(display):
        assert lock(other)
        load(path)
    assert ("waiting for another process that reads the same file", None) in told


def test_a_changed_file_is_refused_before_its_stream_is_made(
    tmp_path: Path, small_limits: SimpleNamespace, cache: Path
) -> None:
    path = words_file(tmp_path)
    with pytest.raises(MakemoreError, match="has changed since the model was trained on it"):
        dataset.load(DataConfig(path=str(path)), 3, sha256="0" * 64)
    assert not cache.exists()


def test_paths_with_colons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a:b").write_text("\n".join(WORDS), encoding="utf-8")
    assert load(tmp_path / "a:b").train
    (tmp_path / "n.parquet").write_bytes(parquet(list(WORDS), **{"a:b": list(WORDS)}))
    assert load(f"{tmp_path}/n.parquet:a:b").train
    with pytest.raises(MakemoreError, match="can't be read: File name too long"):
        load(f"{tmp_path}/{'a' * 300}:b")
    with pytest.raises(MakemoreError, match="no such file"):
        load(f"{tmp_path}/none.parquet:b")


def test_a_file_that_changes_meanwhile_is_not_kept(
    tmp_path: Path, small_limits: SimpleNamespace, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = words_file(tmp_path)
    append = large_file.Spill.append

    def changed(spill: large_file.Spill, points: np.ndarray) -> None:
        if not spill.lengths:
            with path.open("a") as file:
                file.write("\nanna")
        append(spill, points)

    monkeypatch.setattr(large_file.Spill, "append", changed)
    with pytest.raises(MakemoreError, match="has changed while it was being read; try again"):
        load(path)
    assert streams(cache) == []


def test_without_a_cache_a_large_file_is_kept_in_memory(
    tmp_path: Path, small_limits: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = words_file(tmp_path)
    expected = contents(load(path))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MAKEMORE_CACHE", str(tmp_path / "file"))
    data = load(path)
    assert not data.stream.is_mapped
    assert contents(data) == expected
    monkeypatch.setattr(dataset, "LARGEST_TEXT_WITHOUT_CACHE", 100)
    with pytest.raises(
        MakemoreError, match=r"too large for the memory; .* set MAKEMORE_CACHE to a folder that can be written"
    ):
        load(path)
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    with pytest.raises(MakemoreError, match=r"too large for the memory; .* unset NUMBA_DISABLE_JIT"):
        load(path)


def test_a_disk_that_is_too_full_is_told_before(
    tmp_path: Path, small_limits: SimpleNamespace, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = words_file(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(WriteError, match=r"has 0\.0 GB free, but 0\.0 are needed; set MAKEMORE_CACHE"):
        load(path)
    assert streams(cache) == []


# --- Real processes ---

LOAD = """
import sys
from makemore_cli.config.schema import DataConfig
from makemore_cli.names import dataset, file_formats, large_file
if sys.argv[2] == "hash":
    large_file.LARGEST_SHUFFLED_BYTES = 0
dataset.LARGEST_TEXT_IN_MEMORY = 1 << 20
file_formats.BLOCK_BYTES = 1 << 18
try:
    data = dataset.load(DataConfig(path=sys.argv[1]), 3)
    print(len(data.train), len(data.val), len(data.test))
except dataset.MakemoreError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def big_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A million names."""
    path = tmp_path_factory.mktemp("big") / "names.txt"
    words = [f"{a}{b}" for a in WORDS for b in WORDS if "ë" not in a + b]
    path.write_text("\n".join(words * (1_000_000 // len(words))))
    return path


def loading(path: Path, how: str, limit: int | None = None) -> subprocess.Popen[str]:
    def limited() -> None:
        if limit is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-c", LOAD, str(path), how]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=limited)


@pytest.mark.parametrize("how", [pytest.param("shuffle", marks=pytest.mark.slow), "hash"])
def test_two_processes_read_the_same_file_at_once(big_file: Path, cache: Path, how: str) -> None:
    processes = [loading(big_file, how) for _ in range(2)]
    try:
        told = [process.communicate(timeout=100) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert told[0] == told[1]
    assert told[0][0].count(" ") == 2, told
    assert told[0][1] == ""
    assert len(streams(cache)) == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
@pytest.mark.parametrize("how", ["shuffle", pytest.param("hash", marks=pytest.mark.slow)])
def test_a_killed_process_leaves_nothing_half_made(big_file: Path, cache: Path, how: str, number: int) -> None:
    process = loading(big_file, how)
    try:
        while not list(cache.glob("*.partial/tokens.npy")):
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(number)
        process.communicate(timeout=60)
        assert process.returncode != 0
        assert not [path for path in streams(cache) if path.suffix != ".partial"]
        if number == signal.SIGINT:
            assert streams(cache) == []
        process = loading(big_file, how)
        assert process.communicate(timeout=100)[0].count(" ") == 2
    finally:
        process.kill()
    (kept,) = streams(cache)
    assert sorted(path.name for path in kept.iterdir()) == ["about.json", "tokens.npy"]


@pytest.mark.parametrize("how", ["shuffle", pytest.param("hash", marks=pytest.mark.slow)])
def test_a_full_disk_is_told_and_leaves_nothing(big_file: Path, cache: Path, how: str) -> None:
    process = loading(big_file, how, limit=1 << 22)
    try:
        told, error = process.communicate(timeout=100)
    finally:
        process.kill()
    assert told == f"{cache}: can't write: File too large; set MAKEMORE_CACHE to a folder on another disk\n", error
    assert streams(cache) == []


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured on Linux only")
def test_memory_is_bounded(tmp_path: Path, big_file: Path) -> None:
    """Eight times as many names need no more memory of their own."""
    peaks = []
    for copies in (1, 8):
        path = tmp_path / f"{copies}.txt"
        path.write_bytes((big_file.read_bytes() + b"\n") * copies)
        process = loading(path, "hash")
        peak = 0
        try:
            while process.poll() is None:
                for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
                    if line.startswith("RssAnon"):
                        peak = max(peak, int(line.split()[1]))
                time.sleep(0.005)
        finally:
            process.kill()
            process.communicate()
        peaks.append(peak)
    assert peaks[1] < peaks[0] + 32 * 1024, peaks  # in KiB


def test_a_run_on_a_large_packed_column(
    tmp_path: Path, small_limits: SimpleNamespace, cli: Cli, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained, resumed, evaluated and sampled from, as on the same names in a text."""
    small_limits.shuffled = 0
    small_limits.apply()
    words = WORDS * 3
    (tmp_path / "names.txt").write_text("\n".join(words), encoding="utf-8")
    (tmp_path / "names.parquet").write_bytes(parquet(list(words), n=[1] * len(words)))
    monkeypatch.chdir(tmp_path)
    summaries = []
    for data in ("names.txt", "names.parquet:name"):
        run = ["train", "--config", "tiny", "--steps", 60, "--json", "--data", data, "--out", f"run-{data[6:9]}"]
        result = cli(*run)
        assert result.code == 0, result.err
        summaries.append(json.loads(result.out))
    assert summaries[0]["loss"] == summaries[1]["loss"]
    assert len(streams(cache)) == 2
    result = cli("train", "--resume", "run-par", "--steps", 80, "--quiet")
    assert result.code == 0, result.err
    assert cli("eval", "run-par").code == 0
    result = cli("sample", "run-par", "--new", "-n", 5)
    assert result.code == 0
    assert not set(result.out.split()) & set(words)
    kept = evaluate.evaluate_checkpoint(dataset_checkpoint(tmp_path / "run-txt"))
    assert kept.loss == pytest.approx(summaries[0]["loss"], abs=1e-12)
    (tmp_path / "names.parquet").write_bytes(parquet([*words, "new"], n=[1] * len(words) + [2]))
    result = cli("train", "--resume", "run-par", "--steps", 90)
    assert result.code == 2
    assert "is not the file that" in result.err


def dataset_checkpoint(folder: Path):
    from makemore_cli.runs.checkpoint import load_checkpoint

    return load_checkpoint(folder)


@pytest.mark.slow
def test_progress_is_shown_in_a_terminal(tmp_path: Path, big_file: Path) -> None:
    path = tmp_path / "big.txt"
    path.write_bytes((big_file.read_bytes() + b"\n") * 12)
    environment = {"MAKEMORE_CACHE": os.environ["MAKEMORE_CACHE"]}
    run = (
        "train",
        "--config",
        "tiny",
        "--steps",
        "10",
        "--data",
        str(path),
        "--out",
        str(tmp_path / "run"),
        "--overwrite",
    )
    shown = in_terminal(*run, **environment)
    assert "reading big.txt" in shown
    assert "shuffling big.txt" in shown
    again = in_terminal(*run, **environment)
    assert "reading big.txt" not in again
    assert "shuffling" not in in_terminal(*run, "--quiet", MAKEMORE_CACHE=str(tmp_path / "other"))
