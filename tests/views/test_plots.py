"""Pictures: the arrays that are drawn, and that what is drawn can be read."""

from __future__ import annotations

import json
import random
import shutil
import xml.etree.ElementTree as ElementTree
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from torch.nn import functional as F

from makemore_cli.checks import sources
from makemore_cli.checks.network import NetworkProblem
from makemore_cli.config import load as configuration
from makemore_cli.errors import MakemoreError
from makemore_cli.names.dataset import load
from makemore_cli.runs.checkpoint import load_checkpoint
from makemore_cli.runs.metrics import load_metrics
from makemore_cli.training.trainer import train
from makemore_cli.views.plots.gallery import KINDS, Subject, together
from makemore_cli.views.plots.letters import embedding_picture, is_vowel, nearness, principal_axes, spread
from makemore_cli.views.plots.network import HistogramsPicture, dlogits_picture, saturation_picture
from makemore_cli.views.plots.style import Picture, drawing
from makemore_cli.views.plots.training import LossPicture
from tests.conftest import SLOW, Cli, logits_in_float64

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="session")
def subject(trained: Path) -> Subject:
    return Subject(trained)


def make(subject: Subject, name: str) -> Picture:
    return KINDS[name].make(subject)


def drawn(picture: Picture) -> Figure:
    """The figure, with everything in its place."""
    with drawing():
        figure = picture.figure()
        FigureCanvasAgg(figure).draw()
    return figure


# The arrays


def test_loss(subject: Subject) -> None:
    """Means of 20 of the 2,000 steps' losses; the marks are the summary's losses; the line is what is drawn."""
    picture = make(subject, "loss")
    assert isinstance(picture, LossPicture)
    (curve,) = picture.curves
    records = [json.loads(line) for line in (subject.run / "metrics.jsonl").read_text().splitlines()]
    losses = np.array([record["loss"] for record in records if "loss" in record])
    np.testing.assert_allclose(curve.loss, losses.reshape(100, 20).mean(1))
    summary = json.loads((subject.run / "summary.json").read_text())["loss"]
    assert (curve.train.tolist(), curve.val.tolist()) == ([summary["train"]], [summary["val"]])
    assert curve.rates == [(1501, 0.2, pytest.approx(0.02))]
    assert f"{summary['val']:.4f}" in picture.title

    (axes,) = drawn(picture).axes
    assert axes.get_yscale() == "log"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "training, mean of 20 batches", "whole training split", "whole validation split"
    ]  # fmt: skip
    line, train_marks, val_marks, rate = axes.lines
    np.testing.assert_array_equal(line.get_xdata(), 20 * np.arange(100) + 10.5)
    np.testing.assert_array_equal(line.get_ydata(), curve.loss)
    assert list(train_marks.get_ydata()) == [summary["train"]]
    assert list(val_marks.get_ydata()) == [summary["val"]]
    assert list(rate.get_xdata()) == [1501, 1501]


def test_losses_of_several_runs(trained: Path, tmp_path: Path) -> None:
    other = configuration.load(configuration.find("tiny"), ["train.steps=150", "train.eval_every=50"])
    train(other, tmp_path / "tiny")
    picture = together([Subject(trained), Subject(tmp_path / "tiny")])
    assert isinstance(picture, LossPicture)
    assert [curve.name for curve in picture.curves] == [str(trained), str(tmp_path / "tiny")]  # both are called tiny
    assert picture.curves[1].evaluated.tolist() == [50, 100, 150]
    assert picture.curves[1].batches == 1
    # The one that has the lower loss; a long path is shortened in its middle.
    assert "/".join(trained.parts[-2:]) in picture.title
    (axes,) = drawn(picture).axes
    assert len({line.get_color() for line in axes.lines[:6]}) == 2


def test_ratios(subject: Subject) -> None:
    picture = make(subject, "ratios")
    records = [json.loads(line) for line in (subject.run / "metrics.jsonl").read_text().splitlines()]
    found = [record for record in records if "diagnose" in record]
    assert picture.left_out == ["b1 (rounding error only)"]
    assert picture.steps.tolist() == list(range(100, 2001, 100))
    for kind in ("grad_data", "update_data"):
        series = getattr(picture, kind)
        assert list(series) == ["C", "W1", "W2", "b2", "bngain", "bnbias"]
        for name, values in series.items():
            np.testing.assert_allclose(values, [np.log10(record["diagnose"][kind][name]) for record in found])
    # Plain gradient descent: an update is the learning rate times the gradient.
    lr = np.where(picture.steps <= 1500, 0.2, 0.02)
    for name in picture.grad_data:
        np.testing.assert_allclose(picture.update_data[name], picture.grad_data[name] + np.log10(lr), atol=0.01)
    above, below = drawn(picture).axes
    assert [len(axes.lines) for axes in (above, below)] == [6, 7]
    assert set(below.lines[6].get_ydata()) == {-3}


def test_saturation(subject: Subject) -> None:
    picture = saturation_picture(subject.seen, "of")
    seen = subject.seen
    model = seen.model
    p = {name: torch.from_numpy(array) for name, array in model.parameters.items()}
    hprebn = F.linear(F.embedding(seen.X, p["C"]).flatten(1), p["W1"].T, p["b1"])
    hpreact = p["bngain"] * (hprebn - hprebn.mean(0)) / (hprebn.var(0) + 1e-5).sqrt() + p["bnbias"]
    assert ((torch.tanh(hpreact).abs() > 0.97).numpy() != picture.saturated).mean() < 1e-4
    above, below = drawn(picture).axes
    np.testing.assert_allclose([bar.get_height() for bar in above.patches], picture.saturated.mean(0))
    np.testing.assert_array_equal(below.images[0].get_array(), picture.saturated[:100])


def test_a_dead_neuron_is_orange(subject: Subject) -> None:
    saturated = subject.seen.saturated.clone()
    saturated[:, 5] = True
    picture = type(saturation_picture(subject.seen, "of"))("of", saturated.numpy())
    assert "1 of 32 neurons is dead" in picture.title
    above, below = drawn(picture).axes
    shown = np.asarray(below.images[0].get_array())
    assert set(shown[:, 5]) == {2}
    assert set(np.delete(shown, 5, 1).flat) <= {0, 1}
    assert above.patches[5].get_facecolor() != above.patches[4].get_facecolor()


@pytest.mark.parametrize("name", ["activations", "gradients", "weight-gradients"])
def test_histograms(name: str, subject: Subject) -> None:
    """Against autograd's gradients, and the forward pass's values."""
    picture = make(subject, name)
    assert isinstance(picture, HistogramsPicture)
    seen = subject.seen
    truth = dict(sources.autograd(NetworkProblem(seen.parameters, seen.X, seen.Y, seen.model.epsilon, 0.0)))
    assert len(picture.histograms) == (7 if name == "weight-gradients" else 5)
    for h in picture.histograms:
        tensor = seen.values[h.name] if name == "activations" else truth[h.name[1:]]
        numbers = tensor.detach().double().flatten().numpy()
        if h.name != "db1":  # rounding
            counts, _ = np.histogram(np.clip(numbers, h.edges[0], h.edges[-1]), h.edges)
            assert np.abs(counts / len(numbers) - h.share).sum() < 0.01
            assert h.std == pytest.approx(numbers.std(), rel=1e-4)
        assert h.share.sum() == pytest.approx(1)
        assert h.edges[0] <= numbers.min() + 1e-6


def test_dlogits(subject: Subject) -> None:
    """The rows are softmax less one at the right letter, sum to zero, and say what they are."""
    seen = subject.seen
    picture = dlogits_picture(seen, "of")
    probabilities = torch.softmax(seen.values["logits"][:32].double(), 1)
    expected = (probabilities - F.one_hot(seen.Y[:32], 27)).numpy()
    np.testing.assert_allclose(picture.dlogits, expected, atol=1e-5)
    np.testing.assert_allclose(picture.dlogits.sum(1), 0, atol=1e-5)
    signs = f".{LETTERS}"
    for row, x, y in zip(picture.rows, seen.X.tolist(), seen.Y.tolist(), strict=False):
        assert row == f"{signs[x[0]]}{signs[x[1]]}{signs[x[2]]} → {signs[y]}"
    axes = drawn(picture).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == picture.rows
    assert [label.get_text() for label in axes.get_xticklabels()] == list(signs)
    np.testing.assert_array_equal(axes.images[0].get_array(), picture.dlogits)


def test_next_letter(subject: Subject) -> None:
    picture = make(subject, "next-letter")
    X = torch.tensor([[0, 0, token] for token in range(27)])
    expected = torch.softmax(logits_in_float64(load_checkpoint(subject.run).model, X), 1).numpy()
    np.testing.assert_allclose(picture.probabilities, expected, rtol=1e-4)
    (axes,) = drawn(picture).axes
    cells = {tuple(map(round, text.get_position())): text.get_text() for text in axes.texts}
    for row in range(27):
        for column in range(27):
            shown = round(100 * float(picture.probabilities[row, column]))
            assert cells.get((column, row), "0") == str(shown)


def test_embedding_of_two_dimensions_is_drawn_as_it_is(tmp_path: Path) -> None:
    config = configuration.load(configuration.find("tiny"), ["model.embedding_size=2", "train.steps=20"])
    train(config, tmp_path / "run")
    checkpoint = load_checkpoint(tmp_path / "run")
    picture = embedding_picture(checkpoint, "of")
    np.testing.assert_array_equal(picture.points, checkpoint.model.parameters["C"].astype(np.float64))
    assert picture.axes[0] == "first dimension of the embedding"


@given(arrays(np.float64, (9, 5), elements=st.floats(-10, 10)))
def test_principal_axes(C: np.ndarray) -> None:
    """No two other directions hold more of the variance; the shares are those of the covariance's eigenvalues."""
    points, shares = principal_axes(C)
    eigenvalues = np.sort(np.linalg.eigvalsh(np.cov(C.T, bias=True)))[::-1]
    np.testing.assert_allclose(points.var(0), eigenvalues[:2], atol=1e-8)
    if eigenvalues.sum() > 1e-6:
        np.testing.assert_allclose(list(shares.values()), eigenvalues[:2] / eigenvalues.sum(), atol=1e-6)


def test_vowels() -> None:
    assert [letter for letter in "aábçeîøyžαβжя." if is_vowel(letter)] == list("aáeîøyαя")
    points = np.array([[0, 0], [0, 1], [5, 5], [9, 9], [0, 0.5]], dtype=np.float64)
    within, between = 1, (50**0.5 + 162**0.5 + 41**0.5 + 145**0.5) / 4
    assert nearness(points, ["a", "e", "b", "c", "."]) == pytest.approx(within / between)
    assert np.isnan(nearness(points, ["a", "b", "c", "d", "."]))
    assert np.isnan(nearness(points, ["a", "e", "i", "o", "."]))
    assert np.isnan(nearness(points * 0, ["a", "e", "b", "c", "."]))


@pytest.mark.slow
@settings(max_examples=30)
@given(arrays(np.float64, (20, 2), elements=st.floats(0, 60)))
def test_letters_are_moved_apart(points: np.ndarray) -> None:
    places = spread(points, 10.0, rounds=3000)
    distance = np.linalg.norm(places[:, None] - places, axis=2) + 100 * np.eye(20)
    assert distance.min() > 9


def test_letters_that_are_apart_stay() -> None:
    points = 30 * np.stack(np.meshgrid(np.arange(4.0), np.arange(4.0)), -1).reshape(-1, 2)
    np.testing.assert_allclose(spread(points, 10.0), points, atol=0.01)


# What can be read


def overlaps(boxes: list[Bbox]) -> int:
    shrunk = [Bbox.from_extents(b.x0 + 0.5, b.y0 + 0.5, b.x1 - 0.5, b.y1 - 0.5) for b in boxes]
    return sum(a.overlaps(b) for a, b in combinations(shrunk, 2))


def readable(picture: Picture) -> Figure:
    """The title is within the picture; no two labels of an axis lie over each other; every axis says what it shows."""
    figure = drawn(picture)
    title = figure.get_suptitle()
    assert title.replace("\n", " ") == picture.title
    page = figure.bbox
    heading = next(text for text in figure.texts if text.get_text() == title).get_window_extent()
    assert heading.x0 >= page.x0
    assert heading.x1 <= page.x1
    for axes in figure.axes:
        if not axes.get_visible():
            continue
        for axis in (axes.xaxis, axes.yaxis):
            labels = [label for label in axis.get_ticklabels() if label.get_visible() and label.get_text()]
            low, high = sorted(axis.get_view_interval())
            inside = [
                label.get_window_extent()
                for label, place in zip(axis.get_ticklabels(), axis.get_ticklocs(), strict=False)
                if label in labels and low <= place <= high
            ]
            assert not overlaps(inside), (picture.title, [label.get_text() for label in labels])
        box = axes.get_tightbbox()
        assert box is not None
        assert box.x0 >= page.x0 - 1
        assert box.x1 <= page.x1 + 1
        assert box.y0 >= page.y0 - 1
    return figure


@pytest.mark.every(8)
@pytest.mark.parametrize("name", list(KINDS))
def test_every_picture_can_be_read(name: str, subject: Subject) -> None:
    readable(make(subject, name))


def test_letters_of_the_embedding_do_not_cover_each_other(subject: Subject) -> None:
    (axes,) = drawn(make(subject, "embedding")).axes
    assert [text.get_text() for text in axes.texts] == list(f".{LETTERS}")
    assert not overlaps([text.get_window_extent() for text in axes.texts])


def odd(tmp_path: Path, letters: str, *settings: str) -> Subject:
    """A run on names of these letters."""
    rng = random.Random(1)
    names = {"".join(rng.choices(letters, k=rng.randint(1, 6))) for _ in range(400)} | set(letters)
    (tmp_path / "names.txt").write_text("\n".join(sorted(names)))
    every = ["train.steps=12", "train.diagnose_every=3", f"data.path={tmp_path / 'names.txt'}", *settings]
    train(configuration.load(configuration.find("tiny"), every), tmp_path / "run")
    return Subject(tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("letters", "settings"),
    [
        ("ab", ["model.context_length=1", "model.embedding_size=1", "model.hidden_size=1", "train.batch_size=2"]),
        ("a$b_^\\{}", ["model.embedding_size=2", "model.first_bias=false"]),
        pytest.param("".join(map(chr, range(0x4E00, 0x4E00 + 150))), ["model.context_length=12"], marks=SLOW),
        pytest.param("אבגדהو", ["train.dtype=float64", "model.hidden_size=300", "train.engine=tensor"], marks=SLOW),
    ],
)
def test_odd_networks_can_be_drawn(letters: str, settings: list[str], tmp_path: Path) -> None:
    subject = odd(tmp_path, letters, *settings)
    for name in KINDS:
        readable(make(subject, name))


# The command


@pytest.mark.slow
def test_the_command_draws_all(cli: Cli, trained: Path, tmp_path: Path) -> None:
    result = cli("plot", trained, "--out", tmp_path / "pictures")
    assert (result.code, result.err) == (0, "")
    paths = [Path(line) for line in result.out.splitlines()]
    assert [path.stem for path in paths] == list(KINDS)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    again = paths[0].read_bytes()
    assert cli("plot", trained, "--what", "loss", "--out", tmp_path / "pictures").code == 0
    assert paths[0].read_bytes() == again


@pytest.mark.slow
def test_svg_is_well_formed_and_the_same_each_time(cli: Cli, trained: Path, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        assert cli("plot", trained, "--what", "dlogits,loss", "--format", "svg", "--out", tmp_path / folder).code == 0
    for name in ("dlogits.svg", "loss.svg"):
        assert ElementTree.parse(tmp_path / "one" / name).getroot().tag.endswith("svg")
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--what", "losss"], "--what must be one or more of loss, ratios"),
        (["--format", "gif"], "--format must be png or svg, got gif"),
        (["--what", "loss;ratios"], "got loss;ratios"),
    ],
)
def test_mistakes(arguments: list[str], message: str, cli: Cli, trained: Path, tmp_path: Path) -> None:
    result = cli("plot", trained, "--out", tmp_path / "out", *arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert not (tmp_path / "out").exists()


def test_nothing_of_others_is_replaced(cli: Cli, trained: Path, tmp_path: Path) -> None:
    for other in (b"\x89PNG\r\n of somebody's makemore", (trained / "checkpoint.safetensors").read_bytes(), b""):
        (tmp_path / "loss.png").write_bytes(other)
        result = cli("plot", trained, "--out", tmp_path)
        assert result.code == 2
        assert "loss.png: exists, but was not made by makemore; choose another path (--out)" in result.err
        assert (tmp_path / "loss.png").read_bytes() == other
    (tmp_path / "file").touch()
    result = cli("plot", trained, "--out", tmp_path / "file")
    assert result.code == 2
    assert "file: is not a folder; choose another one (--out)" in result.err


def test_what_cannot_be_drawn_is_said(cli: Cli, tmp_path: Path, names_file: Path) -> None:
    out = ["--out", tmp_path / "run"]
    never = ["--set", "train.diagnose_every=0"]
    assert cli("train", "-c", "tiny", "--steps", 20, "--data", names_file, *out, *never).code == 0
    names_file.unlink()
    result = cli("plot", tmp_path / "run")
    assert result.code == 0
    assert [Path(line).stem for line in result.out.splitlines()] == ["loss", "embedding", "next-letter"]
    first, second = result.err.splitlines()
    assert first.startswith("left out: ratios: ")
    assert "set train.diagnose_every, for example to 100" in first
    assert second.startswith("left out: saturation, activations, gradients, weight-gradients, dlogits: ")
    asked = cli("plot", tmp_path / "run", "--what", "ratios")
    assert (asked.code, asked.out) == (2, "")
    several = cli("plot", tmp_path / "run", tmp_path / "run", "--what", "ratios")
    assert (several.code, several.out) == (2, "")
    nothing = cli("plot", tmp_path / "nothing")
    assert (nothing.code, nothing.out) == (2, "")


def test_pictures_of_a_run_that_goes_on(tmp_path: Path, cli: Cli) -> None:
    """Its log is drawn before there is a checkpoint."""
    config = configuration.load(configuration.find("tiny"), ["train.steps=50", "train.diagnose_every=10"])
    train(config, tmp_path / "run")
    (tmp_path / "run" / "checkpoint.safetensors").unlink()
    result = cli("plot", tmp_path / "run")
    assert result.code == 0
    assert [Path(line).stem for line in result.out.splitlines()] == ["loss", "ratios"]
    assert load_metrics(tmp_path / "run").steps == 50
    (tmp_path / "run" / "metrics.jsonl").write_text("")
    with pytest.raises(MakemoreError, match="has no steps yet"):
        make(Subject(tmp_path / "run"), "loss")


def test_the_data_of_a_split_stays_what_it_is(subject: Subject) -> None:
    """Looking at a network draws from the training split only."""
    dataset = load(subject.checkpoint.config.data, 3)
    X, Y = dataset.train.examples(np.arange(len(dataset.train)))
    known = set(map(tuple, np.column_stack([X, Y]).tolist()))
    assert all((*x, y) in known for x, y in zip(subject.seen.X.tolist(), subject.seen.Y.tolist(), strict=True))


@pytest.mark.slow
def test_a_network_that_has_gone_astray_is_drawn(cli: Cli, tmp_path: Path) -> None:
    """Its probabilities are rounded to zero, so that the atomic chain's logarithm has nothing finite to say."""
    run, astray = tmp_path / "run", ["--set", "optim.lr=20", "--set", "train.diagnose_every=50"]
    assert cli("train", "-c", "tiny", "--steps", 300, *astray, "--out", run, "--quiet").code == 0
    result = cli("plot", run)
    assert (result.code, result.err) == (0, "")
    assert len(result.out.splitlines()) == len(KINDS)
    readable(make(Subject(run), "loss"))
    told = json.loads(cli("inspect", run, "--json").out, parse_constant=lambda name: pytest.fail(name))
    assert 20 < told["loss"] < 1000
    bad = {verdict["what"] for verdict in told["verdicts"] if not verdict["fine"]}
    assert {"loss", "generalisation", "dead", "saturated"} <= bad
    assert cli("report", run).code == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["_a[b]$x$ 😀", "bad\udcff\nline"])
def test_odd_names_of_runs(name: str, trained: Path, tmp_path: Path, cli: Cli) -> None:
    try:
        shutil.copytree(trained, tmp_path / name)
    except (OSError, UnicodeEncodeError):
        pytest.skip("no such name can be given here")
    picture = together([Subject(trained), Subject(tmp_path / name)])
    (axes,) = drawn(picture).axes
    entries = [text.get_text() for text in axes.get_legend().get_texts()]
    assert len(entries) == 4
    assert entries[1].endswith(", mean of 20 batches")
    for format in ("png", "svg"):
        assert cli("plot", tmp_path / name, "--what", "embedding,loss", "--format", format).code == 0
    ElementTree.parse(tmp_path / name / "plots" / "loss.svg")
    assert cli("report", tmp_path / name).code == 0
    shown = cli("runs", "--dir", tmp_path)
    assert shown.code == 0
    if name.isprintable():
        assert name in shown.out
    assert cli("runs", "diff", tmp_path / name, trained).code == 0


def test_a_run_is_drawn_once(trained: Path, tmp_path: Path, cli: Cli) -> None:
    assert cli("plot", trained, trained, "--what", "embedding", "--out", tmp_path).code == 0


def test_one_step_is_seen(tmp_path: Path) -> None:
    train(configuration.load(configuration.find("tiny"), ["train.steps=1"]), tmp_path / "run")
    picture = make(Subject(tmp_path / "run"), "loss")
    (axes,) = drawn(picture).axes
    assert axes.lines[0].get_marker() == "."
    assert "after 1 step:" in picture.title
    labels = [label.get_text() for label in axes.get_xticklabels() if label.get_text()]
    assert all(label.lstrip("−").isdigit() for label in labels)


@pytest.mark.slow
def test_a_large_alphabet(tmp_path: Path) -> None:
    subject = odd(tmp_path, "".join(map(chr, range(0x4E00, 0x4E00 + 1000))), "train.steps=3", "train.diagnose_every=0")
    make(subject, "embedding").render("png")
    with pytest.raises(MakemoreError, match="1,001 characters are too many for a table"):
        make(subject, "next-letter")


@pytest.mark.slow
def test_what_was_drawn_of_an_overwritten_run_goes(cli: Cli, tmp_path: Path) -> None:
    """And nothing else does."""
    run, steps = tmp_path / "run", ["-c", "tiny", "--steps", 20, "--quiet"]
    assert cli("train", *steps, "--out", run).code == 0
    assert cli("plot", run, "--what", "loss,embedding").code == 0
    assert cli("report", run).code == 0
    (run / "plots" / "mine.png").write_bytes(b"\x89PNG\r\nmine")
    (run / "plots" / "notes.txt").write_text("makemore")
    assert cli("train", *steps, "--out", run, "--overwrite").code == 0
    assert sorted(path.name for path in (run / "plots").iterdir()) == ["mine.png", "notes.txt"]
    assert not (run / "report.html").exists()
    assert cli("plot", run, "--what", "loss").code == 0
    assert cli("train", "--resume", run, "--steps", 40, "--quiet").code == 0
    assert (run / "plots" / "loss.png").exists()
