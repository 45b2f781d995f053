"""A run on one page: whole, without a network, and without an error in a real browser."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from makemore_cli.inference.next_letters import Options
from makemore_cli.inference.sample import sample_run
from makemore_cli.inference.score import score, shade
from makemore_cli.runs.checkpoint import load_checkpoint
from makemore_cli.views.plots.gallery import KINDS
from tests.conftest import Cli
from tests.views.browser import needs_browser, opened

if TYPE_CHECKING:
    from playwright.sync_api import Browser

VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """A page taken apart; every element must be closed where it should."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.alts: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        self.ids += [value for value in [given.get("id")] if value]
        self.sources += [value for value in (given.get("src"), given.get("href")) if value]
        self.alts += [value for value in [given.get("alt")] if value]
        assert tag != "script" or "data-file" in given or given["type"] == "application/json"

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.text += data


@pytest.fixture(scope="module")
def page(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from makemore_cli.views.report import write_report

    path, left_out = write_report(trained, tmp_path_factory.mktemp("report") / "deep" / "tiny.html")
    assert left_out == []
    return path


def test_it_holds_everything_and_needs_nothing(page: Path, trained: Path) -> None:
    found = Page(page.read_text())
    assert all(source.startswith(("data:", "#")) for source in found.sources)
    outside = re.sub(r"base64,[\w+/=]+", "", page.read_text()).replace("http://www.w3.org/2000/svg", "")
    assert "http://" not in outside
    assert "https://" not in outside
    assert set(KINDS) <= set(found.ids)
    assert {link[1:] for link in found.sources if link.startswith("#")} <= set(found.ids)
    assert len(found.alts) == len(KINDS)
    text = " ".join(found.text.split())
    summary = json.loads((trained / "summary.json").read_text())
    for value in summary["loss"].values():
        assert f"{value:.4f}" in text
    for figure in ("2.0705", "2.1099", "1.9930"):  # the lectures'
        assert figure in text
    assert "context_length: 3" in text
    assert summary["environment"]["torch"] in text
    assert "All gradients, and each of 30 backward lines by itself, agree" in text
    assert "0 of 32 neurons are dead" in text


def test_its_names_are_the_samples_with_their_kinds_and_colours(page: Path, trained: Path) -> None:
    checkpoint = load_checkpoint(trained)
    sampled = sample_run(checkpoint, 50, None, Options())
    scores = list(score(checkpoint.model, checkpoint.vocabulary, sampled.each()))
    shown = re.findall(
        r'<li><span class="word">(.*?)</span>\s*<span class="quiet">(.*?)</span> <span class="quiet">(.*?)<',
        page.read_text(),
        re.DOTALL,
    )
    assert len(shown) == 50
    kinds = {"in the training split": "train", "in the held-out data": "held_out", "new": "new"}
    for (word, loss, kind), expected in zip(shown, scores, strict=True):
        letters = re.findall(r'background:(#\w+)" title="([\d.]+)%">(.)<', word)
        assert "".join(letter for *_, letter in letters) == expected.letters
        assert [colour for colour, *_ in letters] == [shade(p) for p in expected.probabilities]
        for (_, shown_p, _), p in zip(letters, expected.probabilities, strict=True):
            assert float(shown_p) == pytest.approx(100 * p, abs=0.051)
        assert loss == f"{expected.loss:.2f}"
        assert [kinds[kind]] == sampled.kinds_of([expected.name])


@pytest.mark.slow
def test_without_its_data(cli: Cli, tmp_path: Path) -> None:
    """Names with signs that HTML has a use for; then without the file."""
    names = ["<b>", "a&b", '"x"', "<i>a", "b<&>", "'a'", "ab", "<script>", "ba", "&amp;"]
    (tmp_path / "names.txt").write_text("\n".join(names))
    run = tmp_path / "run <b>"
    assert cli("train", "-c", "tiny", "--steps", 200, "--data", tmp_path / "names.txt", "--out", run).code == 0
    whole = cli("report", run)
    assert (whole.code, whole.err) == (0, "")
    assert Path(whole.out.strip()) == run / "report.html"
    Page((run / "report.html").read_text())
    (tmp_path / "names.txt").unlink()
    result = cli("report", run)
    assert result.code == 0
    assert (
        "left out: saturation, activations, gradients, weight-gradients, dlogits, diagnostics, gradcheck" in result.err
    )
    found = Page((run / "report.html").read_text())
    assert {"loss", "embedding", "next-letter"} <= set(found.ids)
    assert {link[1:] for link in found.sources if link.startswith("#")} <= set(found.ids)
    assert "unknown" in found.text


@pytest.mark.slow
def test_a_chain_too_large_for_a_page_is_left_out(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from makemore_cli.views.page import chain_data
    from makemore_cli.views.report import write_report

    monkeypatch.setattr(chain_data, "LARGEST_CHAIN", 1000)
    path, (left_out,) = write_report(trained, tmp_path / "report.html")
    assert left_out.startswith("left out: chain: the network: has ")
    found = Page(path.read_text())
    assert "chain" not in found.ids
    assert "play" in found.ids
    assert "each of 30 backward lines by itself, agree" in " ".join(found.text.split())


def test_nothing_of_others_is_replaced(cli: Cli, trained: Path, tmp_path: Path) -> None:
    for other in ("<p>makemore", "# makemore\n", (trained / "summary.json").read_text(), "<!DOCTYPE html>makemore"):
        (tmp_path / "mine.html").write_text(other)
        result = cli("report", trained, "--out", tmp_path / "mine.html")
        assert (result.code, result.out) == (2, "")
        assert "was not made by makemore" in result.err
        assert (tmp_path / "mine.html").read_text() == other
    assert cli("report", tmp_path).code == 2


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize(("width", "dark"), [(360, False), (800, True), (1600, False)])
def test_it_opens_in_a_browser(width: int, dark: bool, page: Path, browser: Browser) -> None:
    """From the disk, on a phone's width too: all pictures are there, the live parts start, nothing sticks out."""
    with opened(browser, page, width=width, dark=dark) as shown:
        loaded = "[...document.images].filter((image) => image.complete && image.naturalWidth > 0).length"
        assert shown.evaluate(loaded) == len(KINDS)
        for view in ("chain", "play", "train"):
            shown.locator(f'[data-view="{view}"]').scroll_into_view_if_needed()
            shown.locator(f'[data-view="{view}"] h2').first.wait_for()
        assert "agree with those that PyTorch" in shown.locator(".proof").inner_text()
        assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.slow
@needs_browser
def test_links_lead_to_sections_and_keep_the_state(page: Path, browser: Browser) -> None:
    with opened(browser, page) as shown:
        shown.get_by_role("link", name="The chain").click()
        shown.locator("#tensor-h").click()
        shown.get_by_role("link", name="Losses").click()
        assert shown.evaluate("scrollY") < 900
        hash = shown.evaluate("location.hash")
        assert "tensor=h" in hash
        assert "view=losses" in hash
        shown.go_back()
        assert shown.locator("#tensor-h").get_attribute("aria-current") == "true"
        url = shown.url
        shown.goto("about:blank")
        shown.goto(url)
        shown.locator("#tensor-h").wait_for()
        assert shown.evaluate("scrollY") > 2000


@pytest.mark.slow
@needs_browser
def test_without_javascript(page: Path, browser: Browser) -> None:
    """What needs no script is all there, and the rest says that it does."""
    context = browser.new_context(java_script_enabled=False)
    shown = context.new_page()
    shown.goto(page.as_uri())
    assert shown.locator("#losses td").first.inner_text() == "this run"
    assert shown.locator("body").inner_text().count("needs JavaScript") == 3
    context.close()


@pytest.mark.slow
def test_the_report_of_an_earlier_checkpoint_has_its_own_losses(cli: Cli, tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = ["train.eval_every=50", "optim.schedule.milestones=[200]", "optim.schedule.gamma=50"]  # it gets worse
    every = [part for setting in settings for part in ("--set", setting)]
    assert cli("train", "-c", "tiny", "--steps", 400, "--out", run, "--quiet", *every).code == 0
    best, last = (load_checkpoint(run / name) for name in ("best.safetensors", "checkpoint.safetensors"))
    assert best.step < last.step
    assert cli("report", run / "best.safetensors", "--out", tmp_path / "best.html").code == 0
    text = Page((tmp_path / "best.html").read_text()).text
    assert f"{best.loss:.4f}" in text.split("the lecture's notebook")[0]
    assert f"step {best.step:,} of 400" in " ".join(text.split())
