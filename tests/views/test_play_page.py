"""Play with a run in a page: its numbers are NumPy's and the command line's, and everything works by keyboard."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from makemore_cli.cli.main import main
from makemore_cli.config.schema import Config
from makemore_cli.inference.next_letters import Options, next_probabilities
from makemore_cli.inference.score import SHADES, score, shade
from makemore_cli.names.dataset import Dataset, load
from makemore_cli.network.model import Model, Sizes
from makemore_cli.network.parameters import initialise
from makemore_cli.runs.checkpoint import Checkpoint, load_checkpoint, to_bytes
from makemore_cli.views.page import run_data
from makemore_cli.views.page.play_page import write_play_page
from tests.conftest import NAMES, logits_in_float64
from tests.views.browser import needs_browser, opened

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HOSTILE = [
    'o"q',
    "</script>",
    "<b>x",
    "a\u202eb\u200f",
    "\u05d0\u05d1\u05d2",
    "n\u0303o",
    "\U0001f600\u200d\U0001f525",
    "x y",
    "'&amp;",
    "\\u003c",
    "#%?",
]


@dataclass
class Played:
    """A run, and its page in a browser."""

    folder: Path
    page: Page

    @cached_property
    def checkpoint(self) -> Checkpoint:
        return load_checkpoint(self.folder)

    @cached_property
    def dataset(self) -> Dataset:
        return load(self.checkpoint.config.data, self.checkpoint.model.sizes.context)

    @property
    def letters(self) -> str:
        return self.checkpoint.vocabulary.letters

    def fresh(self, state: str = "") -> Page:
        """The page as it opens at an address."""
        self.page.goto("about:blank")
        self.page.emulate_media(reduced_motion="reduce")
        self.page.goto((self.folder / "play.html").as_uri() + state)
        self.page.wait_for_selector(".play")
        return self.page

    def run(self, script: str, *given: Any) -> Any:
        """The value of a JavaScript function of arguments, which sees `play`, what the parts of the view share."""
        code = f"(given) => {{ const play = (globalThis.tested ??= {PLAY}); return ({script})(...given); }}"
        return self.page.evaluate(code, list(given))

    def probabilities(self, beginning: str) -> np.ndarray:
        """Those of the next character, computed by PyTorch in float64."""
        tokens, T = self.checkpoint.vocabulary.encode(beginning), self.checkpoint.model.sizes.context
        return self.after(([0] * T + tokens)[-T:])

    def after(self, context: list[int]) -> np.ndarray:
        """Those after a context of T tokens."""
        logits = logits_in_float64(self.checkpoint.model, torch.tensor([context]))
        probabilities: np.ndarray = torch.softmax(logits, 1).numpy()[0]
        return probabilities


PLAY = "new Play(data.run, data.shades)"
SETTINGS = {
    "one character of context": ["--set", "model.context_length=1", "--set", "model.embedding_size=2"],
    "one hidden unit": ["--set", "model.hidden_size=1", "--set", "model.embedding_size=1"],
    "no b1": ["--set", "model.first_bias=false", "--set", "train.dtype=float64"],
    "label smoothing": ["--set", "train.label_smoothing=0.2", "--set", "model.context_length=20"],
    "two characters": ["--set", "model.embedding_size=3"],
    "hostile names": [],
    "no names": [],
    "8,192 characters": [],
}


def train(kind: str, folder: Path) -> Path:
    """A run of a kind, and its page."""
    names = {
        "two characters": ["a" * (1 + n % 7) for n in range(40)],
        "hostile names": HOSTILE * 12,
        "8,192 characters": ["".join(chr(0x4E00 + 3 * n + i) for i in range(3)) for n in range(2731)],
    }
    names["8,192 characters"][-1] = names["8,192 characters"][-1][:1]  # 8,191 letters
    file, run = folder / "names.txt", folder / "run"
    file.write_text("\n".join(names.get(kind, NAMES * 10)), encoding="utf-8")
    if kind == "8,192 characters":  # its training would take longer than all other tests
        untrained(file, run)
    else:
        arguments = ["--data", file, "--out", run, "--quiet", "--steps", 200, "--engine", "tensor", *SETTINGS[kind]]
        assert main(["train", "--config", "tiny", *map(str, arguments)]) == 0
    if kind == "no names":
        file.unlink()
    _, remarks = write_play_page(run)
    assert len(remarks) == (kind == "no names")
    return run


def untrained(file: Path, run: Path, hidden: int = 8) -> None:
    """A run's folder with the initial parameters of a small network."""
    config = Config.model_validate(
        {"data": {"path": str(file)}, "model": {"hidden_size": hidden, "embedding_size": 2}, "train": {"seed": 7}}
    )
    dataset = load(config.data, 3)
    sizes = Sizes(len(dataset.vocabulary), 3, 2, hidden)
    parameters, _ = initialise(sizes, 7)
    model = Model(sizes, parameters.arrays(), np.zeros((1, hidden), np.float32), np.ones((1, hidden), np.float32))
    run.mkdir()
    checkpoint = Checkpoint(model, dataset.vocabulary, config, 0, dataset.sha256)
    (run / "checkpoint.safetensors").write_bytes(to_bytes(checkpoint))


@pytest.fixture(scope="module")
def played(
    browser: Browser, trained: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Played]]:
    """A function that opens the page of a kind of run, each once."""
    known: dict[str, Played] = {}
    with ExitStack() as stack:

        def of(kind: str) -> Played:
            if kind not in known:
                if kind == "tiny":
                    folder = tmp_path_factory.mktemp("tiny")
                    for file in trained.iterdir():
                        (folder / file.name).write_bytes(file.read_bytes())
                    write_play_page(folder)
                else:
                    folder = train(kind, tmp_path_factory.mktemp("run"))
                page = stack.enter_context(opened(browser, folder / "play.html"))
                known[kind] = Played(folder, page)
                known[kind].fresh()
            return known[kind]

        yield of


def test_the_colours_of_probabilities_are_those_of_score() -> None:
    told = json.loads(json.dumps(run_data.shades(), allow_nan=False))
    for p in [0.0, 1.0, *np.random.default_rng(11).random(200), *(below for below, _ in SHADES if below < 1)]:
        assert next(one["colour"] for one in told if one["below"] is None or p < one["below"]) == shade(p)


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tiny", *SETTINGS])
@settings(max_examples=6)
@given(drawn=st.data())
def test_names_are_scored_as_by_score(kind: str, played: Callable[[str], Played], drawn: st.DataObject) -> None:
    one = played(kind)
    names = drawn.draw(st.lists(st.text(one.letters, max_size=30), min_size=1, max_size=5))
    found = one.run(
        "(names) => names.map((name) => [...tokenProbabilities(play.network, play.letters.encode(name).tokens)])", names
    )
    for name, probabilities in zip(names, found, strict=True):
        [expected] = score(one.checkpoint.model, one.checkpoint.vocabulary, [name])
        assert probabilities == pytest.approx(expected.probabilities, abs=1e-5)
        assert one.run("meanLoss", probabilities) == pytest.approx(expected.loss, abs=1e-4)


@needs_browser
@pytest.mark.slow
@settings(max_examples=60)
@given(drawn=st.data(), temperature=st.one_of(st.just(0.0), st.floats(1e-7, 3)), V=st.integers(2, 60))
def test_temperature_and_top_k_are_those_of_sample(
    played: Callable[[str], Played], drawn: st.DataObject, temperature: float, V: int
) -> None:
    values = st.one_of(st.floats(-50, 50), st.sampled_from([0.0, 1.0, -1e6, 1e6]))  # with equal ones
    logits = drawn.draw(st.lists(values, min_size=V, max_size=V))
    k = drawn.draw(st.one_of(st.none(), st.integers(1, V + 3)))
    found = played("tiny").run(
        "(logits, temperature, topK) => [...probabilitiesOf(Float64Array.from(logits), {temperature, topK})]",
        logits,
        temperature,
        k,
    )
    expected = next_probabilities(np.array([logits]), Options(temperature, k))[0]
    np.testing.assert_allclose(found, expected, atol=1e-9)


@needs_browser
@pytest.mark.slow
def test_logits_that_are_not_finite_are_refused(played: Callable[[str], Played]) -> None:
    one = played("tiny")
    refused = """(bad) => {
      try { return probabilitiesOf(Float64Array.of(0, Number(bad))); } catch (error) { return error.name; }
    }"""
    assert [one.run(refused, bad) for bad in ("NaN", "Infinity", "-Infinity")] == ["RangeError"] * 3
    finite = """(name, value) => {
      const parameters = {...play.network.parameters};
      if (name !== null) parameters[name] = parameters[name].map(() => Number(value));
      return isAlwaysFinite({...play.network, parameters});
    }"""
    assert one.run(finite, None, None)
    assert one.run(finite, "b2", "1e300")
    assert not any(one.run(finite, name, "1.7e308") for name in ("C", "W1", "W2"))
    assert not any(one.run(finite, name, "NaN") for name in one.checkpoint.model.parameters)


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "temperature", "top_k"), [("tiny", 1.0, None), ("tiny", 1.7, 9), ("one character of context", 0.6, None)]
)
def test_names_are_sampled_with_their_probabilities(
    kind: str, temperature: float, top_k: int | None, played: Callable[[str], Played]
) -> None:
    """A chi-square test of the second characters of names that begin with "a"."""
    one = played(kind)
    n = 20_000
    drawn = one.run(
        """(n, temperature, topK) => {
          const options = {prefix: play.letters.encode("a").tokens, longest: 2, temperature, topK};
          const random = randomNumbers(20240607);
          const counts = new Array(play.letters.all.length).fill(0);
          for (let i = 0; i < n; i++) counts[sampledName(play.network, random, options)[1] ?? 0]++;
          return counts;
        }""",
        n,
        temperature,
        top_k,
    )
    logits = np.log(one.probabilities("a"))[None]
    expected = n * next_probabilities(logits, Options(temperature, top_k))[0]
    counts = np.array(drawn)
    assert counts.sum() == n
    assert (counts[expected < 1e-9] == 0).all()
    often = expected >= 5
    statistic = ((counts - expected)[often] ** 2 / expected[often]).sum()
    freedom = often.sum() - 1
    assert statistic < freedom + 4 * math.sqrt(2 * freedom) + 1


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("n", "E"), [(27, 10), (5, 3), (6, 30), (40, 40), (2, 3), (1, 5)])
def test_principal_components_are_those_of_numpy(n: int, E: int, seed: int, played: Callable[[str], Played]) -> None:
    points = np.random.default_rng([n, E, seed]).standard_normal((n, E)) * np.linspace(3, 0.1, E) + 7
    found = played("tiny").run(
        "(x, n, E) => principalComponents(Float64Array.from(x), n, E)", points.ravel().tolist(), n, E
    )
    coordinates = np.array(found["coordinates"])
    U, s, _ = np.linalg.svd(points - points.mean(0), full_matrices=False)
    for which in range(min(2, len(s))):
        expected = U[:, which] * s[which]
        if s[which] < 1e-9:
            assert np.abs(coordinates[:, which]).max() < 1e-6
            continue
        sign = np.sign(expected @ coordinates[:, which])
        np.testing.assert_allclose(coordinates[:, which], sign * expected, atol=1e-7)
        assert coordinates[np.abs(coordinates[:, which]).argmax(), which] > 0
    assert found["share"] == pytest.approx((s[:2] ** 2).sum() / (s**2).sum() if s.any() else 1)


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tiny", "one hidden unit", "two characters", "hostile names", "8,192 characters"])
def test_nearest_characters_are_those_of_numpy(kind: str, played: Callable[[str], Played]) -> None:
    one = played(kind)
    C = one.checkpoint.model.parameters["C"].astype(np.float64)
    for token in np.random.default_rng(len(C)).integers(0, len(C), 5).tolist():
        found = one.run(
            "(row) => nearestRows(play.network.parameters.C, play.letters.all.length, play.network.sizes.E, row, 5)",
            token,
        )
        distances = np.sqrt(((C - C[token]) ** 2).sum(1))
        order = [other for other in np.argsort(distances, kind="stable").tolist() if other != token][:5]
        assert [near["token"] for near in found] == order
        assert [near["distance"] for near in found] == pytest.approx(distances[order].tolist())


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tiny", "hostile names"])
def test_kinds_are_those_of_the_data(kind: str, played: Callable[[str], Played]) -> None:
    one = played(kind)
    rng = random.Random(kind)
    pools = [split.names() for split in one.dataset.splits.values()]
    names = [rng.choice(pool) for pool in pools for _ in range(30)]
    names += ["".join(rng.choices(one.letters, k=rng.randint(1, 4))) for _ in range(60)] + [""]
    assert one.run("(names) => names.map((name) => play.kinds.kind(name))", names) == one.dataset.kinds(names)


@needs_browser
@pytest.mark.slow
def test_a_page_with_a_part_of_the_names_does_not_guess(
    played: Callable[[str], Played], browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = played("tiny")
    monkeypatch.setattr(run_data, "LARGEST_NAMES_LETTERS", 5000)
    path, _ = write_play_page(one.folder, tmp_path / "part.html")
    with opened(browser, path) as page:
        page.wait_for_selector(".play")
        train = one.dataset.train.names()
        kinds = page.evaluate(f"(names) => names.map((name) => {PLAY}.kinds.kind(name))", [train[0], train[-1], "qqqq"])
        assert kinds == ["train", "unknown", "unknown"]
        assert "still be in the data" in page.inner_text("[aria-label='Sampled names']:not([role])")


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tiny", "one character of context", "label smoothing"])
def test_effects_of_positions_are_occlusions(kind: str, played: Callable[[str], Played]) -> None:
    one = played(kind)
    rng = random.Random(kind)
    T = one.checkpoint.model.sizes.context
    for _ in range(3):
        context = [rng.randrange(len(one.letters) + 1) for _ in range(T)]
        leading = one.after(context).argsort()[::-1][:5].tolist()
        found = one.run("(context, tokens) => contextEffects(play.network, context, tokens)", context, leading)
        for t in range(T):
            without = [0 if t == place else token for place, token in enumerate(context)]
            expected = (one.after(context) - one.after(without))[leading]
            np.testing.assert_allclose(found[t]["changes"], expected, atol=1e-9)
            assert (found[t]["hidden"] == 0) == (context[t] == 0)


def shown_losses(page: Page) -> dict[str, str]:
    return {
        player: page.inner_text(f"[data-player={player}] dd:nth-of-type(1)") for player in ("you", "network", "rule")
    }


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tiny", "two characters", "hostile names", "no names"])
def test_a_game_is_scored_as_by_numpy(kind: str, played: Callable[[str], Played]) -> None:
    """Whole games by keyboard, with random picks."""
    one = played(kind)
    rng = random.Random(kind)
    seed = rng.randrange(2**32)
    page = one.fresh(f"#play.game={seed}")
    game = one.run(
        "(seed) => { const game = new GuessingGame(play, seed); return [game.names, game.isSampled]; }", seed
    )
    if kind == "no names":
        assert game == [[], True]
        assert "The network generates the names" in page.inner_text("main")
        names = [
            "".join(one.letters[token - 1] for token in one.run("(seed) => new GuessingGame(play, seed).tokens", seed))
        ]
    else:
        held_out = set(one.dataset.val.names() + one.dataset.test.names()) - set(one.dataset.train.names())
        assert sorted(game[0]) == sorted(held_out)
        names = game[0][:2]
        if not held_out:
            assert game[1]
            return
    V = len(one.letters) + 1
    most = min(3, V - 1)
    sums = np.zeros(3)
    page.focus(".picks")
    rounds = [(name[:place], letter) for name in names for place, letter in enumerate(name + ".")]
    for number, (before, letter) in enumerate(rounds, start=1):
        picks = rng.sample(list(one.letters + "."), k=rng.randint(0, most))
        page.keyboard.insert_text("".join(picks))
        page.keyboard.press("Enter")
        p = one.probabilities(before)
        order = [".", *one.letters]
        best = [order[token] for token in np.argsort(-p, kind="stable")[:most]]
        sums += [rule_loss(picks, letter, V), -math.log(p[order.index(letter)]), rule_loss(best, letter, V)]
        told = [float(text) for text in shown_losses(page).values()]
        assert told == pytest.approx((sums / number).tolist(), abs=0.00501)
    assert "Now the next name" in page.inner_text(".outcome")
    assert parse_qs(page.evaluate("location.hash.slice(1)"))["play.game"] == [str(seed)]
    page.click("text=Start again")
    assert set(shown_losses(page).values()) == {"–"}


def rule_loss(picks: list[str], letter: str, V: int) -> float:
    """60, 25 and 10 percent for up to three picks, and the rest for the others."""
    shares = [0.6, 0.25, 0.1][: len(picks)]
    if letter in picks:
        return -math.log(shares[picks.index(letter)])
    return -math.log((1 - sum(shares)) / (V - len(picks)))


@needs_browser
@pytest.mark.slow
def test_typing_shows_probabilities_and_the_loss(played: Callable[[str], Played]) -> None:
    one = played("tiny")
    page = one.fresh()
    page.fill(".prefix", "emma")
    [expected] = score(one.checkpoint.model, one.checkpoint.vocabulary, ["emma"])
    text = page.inner_text("[aria-label='Next character']")
    assert f"{expected.loss:.3f} nats per character" in text
    assert f"perplexity {math.exp(expected.loss):.4g}"[:15] in text
    shown = page.locator(".letters li")
    for item, letter, p in zip(shown.all(), expected.letters, expected.probabilities, strict=True):
        seen, percent = item.inner_text().split()
        assert seen == letter
        assert float(percent.rstrip("%")) / 100 == pytest.approx(p, abs=6e-4)
        rgb = tuple(int(shade(p)[i : i + 2], 16) for i in (1, 3, 5))
        assert item.locator(".shade").evaluate("(e) => getComputedStyle(e).backgroundColor") == f"rgb{rgb}"
    before = bars(page), page.inner_text(".effects")
    page.fill(".prefix", "emmé5")
    text = page.inner_text("[aria-label='Next character']")
    assert "does not know “é”, “5”" in text
    assert (bars(page), page.inner_text(".effects")) == before  # the last that was right, dimmed
    assert page.locator(".stale").count() == 3
    page.fill(".prefix", "a.b")
    assert "ends a name" in page.inner_text("[aria-label='Next character']")
    page.fill(".prefix", "a" * 101)
    assert "at most 100 characters" in page.inner_text("[aria-label='Next character']")
    page.fill(".prefix", "")
    assert page.locator(".stale").count() == 0
    assert not page.is_visible(".letters")
    assert not page.is_visible(".effects")


@needs_browser
@pytest.mark.slow
def test_capitals_are_read_as_small_letters(played: Callable[[str], Played]) -> None:
    one = played("tiny")
    page = one.fresh()
    page.fill(".prefix", "EmMa")
    [expected] = score(one.checkpoint.model, one.checkpoint.vocabulary, ["emma"])
    text = page.inner_text("[aria-label='Next character']")
    assert "“E”, “M” are read as “e”, “m”." in text
    assert f"“emma” as a whole name: {expected.loss:.3f} nats" in text
    page.focus(".bar")
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    assert page.input_value(".prefix") == "emmak"
    page.fill(".prefix", "ÉMİ7")
    assert "does not know “É”, “İ”, “7”." in page.inner_text("[aria-label='Next character']")
    hostile = played("hostile names")
    assert hostile.run("(text) => play.letters.encode(text)", "<B>X")["lowered"] == ["B", "X"]


@needs_browser
@pytest.mark.slow
def test_back_leads_to_the_choice_before(played: Callable[[str], Played]) -> None:
    page = played("tiny").fresh("#play.prefix=a")
    for letter in "nz":
        page.focus(".bar")
        page.keyboard.press(letter)
        page.keyboard.press("Enter")
    assert page.input_value(".prefix") == "anz"
    for expected in ("an", "a"):
        page.go_back()
        page.wait_for_function("(text) => document.querySelector('.prefix').value === text", arg=expected)


def bars(page: Page) -> list[list[str]]:
    return [text.replace("\n", " ").split() for text in page.locator(".bar").all_inner_texts()]


@needs_browser
@pytest.mark.slow
def test_bars_follow_the_controls_and_append_characters(played: Callable[[str], Played]) -> None:
    one = played("tiny")
    page = one.fresh("#play.prefix=ab&play.temperature=0.5&play.top_k=4")
    p = next_probabilities(np.log(one.probabilities("ab"))[None], Options(0.5, 4))[0]
    order = np.argsort(-p, kind="stable")
    letters = "." + one.letters
    assert [bar[0] for bar in bars(page)] == [letters[token] for token in order]
    assert [bar[-1] for bar in bars(page)[4:]] == ["–"] * 23
    assert [float(bar[-1][:-1]) / 100 for bar in bars(page)[:4]] == pytest.approx(p[order[:4]].tolist(), abs=6e-4)
    parts = page.locator(".bar").evaluate_all("(all) => all.map((one) => Number(one.style.getPropertyValue('--part')))")
    assert parts == pytest.approx(p[order].tolist(), abs=1e-6)
    page.check("text=Alphabetical order")
    assert [bar[0] for bar in bars(page)] == list(letters)
    page.focus(".bar")
    page.keyboard.press("c")  # to the character's bar
    page.keyboard.press("Enter")
    assert page.input_value(".prefix") == "abc"
    assert page.evaluate("document.activeElement.dataset.letter") == "c"
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    assert page.input_value(".prefix") == "abc"
    assert "The name ends here." in page.inner_text("[aria-label='Next character']")


@needs_browser
@pytest.mark.slow
def test_the_address_restores_what_one_sees(played: Callable[[str], Played], browser: Browser) -> None:
    one = played("tiny")
    page = one.fresh()
    page.fill(".prefix", "mar")
    page.fill("input[type=range]", "1.65")
    page.fill(".short", "7")
    page.check("text=Alphabetical order")
    page.check("text=Begin with what is typed")
    page.fill(".seed", "4711")
    page.keyboard.press("Enter")
    page.click(".point[data-letter=k]")
    link = page.evaluate("location.hash")
    state = {key: value[0] for key, value in parse_qs(link[1:]).items()}
    assert state == {
        "play.prefix": "mar",
        "play.temperature": "1.65",
        "play.top_k": "7",
        "play.order": "alphabet",
        "play.from_prefix": "yes",
        "play.seed": "4711",
        "play.letter": "k",
    }
    names = page.locator(".sample .shaded").all_inner_texts()
    seen = [bars(page), page.inner_text(".about"), page.inner_text(".effects")]
    page = one.fresh(link)
    assert [bars(page), page.inner_text(".about"), page.inner_text(".effects")] == seen
    assert page.locator(".sample .shaded").all_inner_texts() == names
    assert all(name.replace("\n", "").startswith("mar") for name in names)
    page.evaluate("location.hash = '#play.prefix=zo&play.temperature=99&play.top_k=-3&play.order=?'")
    page.wait_for_function("document.querySelector('.prefix').value === 'zo'")
    assert page.input_value("input[type=range]") == "3"
    assert page.input_value(".short") == "1"


@needs_browser
@pytest.mark.slow
def test_everything_is_reached_by_keyboard(played: Callable[[str], Played]) -> None:
    page = played("tiny").fresh("#play.prefix=emma")
    reached = []
    page.focus(".tabs a")
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("(e => e.className || e.type || e.tagName)(document.activeElement)"))
        if page.evaluate("document.activeElement.matches('.map *')"):
            break
    stops = page.evaluate("""() => [...document.querySelectorAll(".play :is(button, input, [tabindex])")]
      .filter((e) => e.tabIndex === 0 && e.offsetParent !== null).map((e) => e.className || e.type || e.tagName)""")
    assert [stop for stop in reached if stop in stops][-len(stops) :] == stops
    assert {"prefix", "bar", "range", "short", "picks", "key", "sample", "point"} <= {
        word for stop in stops for word in stop.split()
    }
    letters = []
    page.keyboard.press("Home")
    for _ in range(27):
        letters.append(page.evaluate("document.activeElement.dataset.letter"))
        assert letters[-1] in page.inner_text(".about h3")
        page.keyboard.press("ArrowRight")
    assert "".join(letters) == ".abcdefghijklmnopqrstuvwxyz"


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("kind", ["tiny", "hostile names"])
def test_axe_finds_nothing_serious(kind: str, dark: bool, played: Callable[[str], Played]) -> None:
    from axe_playwright_python.sync_playwright import Axe

    one = played(kind)
    one.page.emulate_media(color_scheme="dark" if dark else "light")
    page = one.fresh(f"#play.prefix={quote(one.letters[-1] * 2)}&play.letter={quote(one.letters[0])}")
    page.focus(".picks")
    page.keyboard.press("Enter")
    page.hover(".point >> nth=1")
    found = Axe().run(page).response["violations"]
    serious = [violation for violation in found if violation["impact"] in ("serious", "critical")]
    assert [(violation["id"], violation["nodes"][0]["html"]) for violation in serious] == []


@needs_browser
@pytest.mark.slow
def test_names_of_strangers_stay_text(played: Callable[[str], Played]) -> None:
    one = played("hostile names")
    for name in HOSTILE:
        page = one.fresh(f"#play.prefix={quote(name)}")
        assert page.input_value(".prefix") == name
        assert page.locator(".letters li").count() == len(name) + 1
        assert page.locator("main b, main script").count() == 0
        assert "nats per character" in page.inner_text("[aria-label='Next character']")
    page.focus(".bar")
    page.keyboard.press("<")
    page.keyboard.press("Enter")
    assert page.input_value(".prefix") == HOSTILE[-1] + "<"


@needs_browser
@pytest.mark.slow
def test_a_page_without_names_says_so(played: Callable[[str], Played]) -> None:
    page = played("no names").fresh("#play.seed=1")
    assert "The page has no names" in page.inner_text("main")
    assert set(page.locator(".kind").all_inner_texts()) == {"perhaps new"}


@needs_browser
@pytest.mark.slow
def test_thousands_of_characters(played: Callable[[str], Played]) -> None:
    one = played("8,192 characters")
    page = one.fresh(f"#play.prefix={quote(one.letters[7:9])}")
    assert page.locator(".bar").count() == 60
    assert page.locator(".point").count() == 200
    text = page.inner_text("main")
    assert "60 likeliest of 8,192 characters" in text
    assert "199 most frequent of 8,191 characters" in text
    page.fill(".prefix", one.letters[100:106])
    assert "nats per character" in page.inner_text("[aria-label='Next character']")


@needs_browser
@pytest.mark.slow
def test_the_stream_stands_still_while_it_is_read(played: Callable[[str], Played], browser: Browser) -> None:
    path = played("tiny").folder / "play.html"
    with opened(browser, path) as page:
        page.clock.install()
        page.goto("about:blank")
        page.goto(f"{path.as_uri()}#play.seed=5")
        page.wait_for_selector(".sample")

        def later() -> str:
            page.clock.run_for(2500)
            return page.inner_text(".samples")

        first = page.inner_text(".samples")
        assert later() == first
        press(page, "Keep sampling")
        assert later() != first
        page.focus(".sample")
        held = page.inner_text(".samples")
        assert later() == held
        page.keyboard.press("Enter")
        assert page.input_value(".prefix") != ""
        running = page.inner_text(".samples")
        assert later() != running
        press(page, "Pause sampling")
        held = page.inner_text(".samples")
        assert later() == held


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("settings", ["", "&play.temperature=1.7&play.top_k=9&play.prefix=ma&play.from_prefix=yes"])
def test_sampled_names_have_their_losses(settings: str, played: Callable[[str], Played]) -> None:
    one = played("tiny")
    page = one.fresh(f"#play.seed=31{settings}")
    rows = [text.split("\n") for text in page.locator(".sample").all_inner_texts()]
    assert len(rows) == 10
    names = ["".join(parts[:-2]) for parts in rows]
    assert all(name.endswith(".") for name in names)
    scores = score(one.checkpoint.model, one.checkpoint.vocabulary, [name[:-1] for name in names])
    assert [float(parts[-2].split()[0]) for parts in rows] == pytest.approx([one.loss for one in scores], abs=6e-4)


@needs_browser
@pytest.mark.slow
def test_a_large_network_samples_only_while_somebody_looks(browser: Browser, tmp_path: Path) -> None:
    file, run = tmp_path / "names.txt", tmp_path / "run"
    file.write_text("\n".join("".join(chr(0x4E00 + 3 * n + i) for i in range(3)) for n in range(1500)))
    untrained(file, run, hidden=300)
    path, _ = write_play_page(run)
    with opened(browser, path) as page:
        page.wait_for_function("() => document.querySelectorAll('.sample').length === 10")
        page.evaluate("""() => {
          globalThis.asked = 0;
          const before = logitsOf;
          logitsOf = (...given) => { asked++; return before(...given); };
        }""")
        section = page.locator("[data-view=train]")
        section.evaluate("(e) => e.toggleAttribute('data-training', true)")
        press(page, "Sample 10 names")
        page.wait_for_function("() => document.body.textContent.includes('Sampling waits until training pauses.')")
        assert page.evaluate("asked") == 0
        section.evaluate("(e) => e.toggleAttribute('data-training', false)")
        page.wait_for_function(
            "() => document.querySelector('.samples + .quiet').textContent.startsWith('Of 20 names')"
        )
        page.get_by_role("link", name="Train").click()
        page.evaluate("asked = 0; location.hash += '&play.seed=9'")
        later = "() => new Promise((done) => setTimeout(() => done(document.querySelectorAll('.sample').length), 500))"
        assert page.evaluate(later) == 0
        page.go_back()
        page.go_back()
        page.wait_for_function("() => document.querySelectorAll('.sample').length === 10")


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


@needs_browser
@pytest.mark.slow
def test_a_seed_gives_the_same_names_each_time(played: Callable[[str], Played]) -> None:
    page = played("tiny").fresh()
    rows = page.locator(".sample")
    before = rows.all_inner_texts()
    press(page, "Sample 10 names")
    assert rows.all_inner_texts()[-6:] == before[:6]  # without a seed, new ones come first
    seen = []
    for seed in ("42", "7", "42"):
        page.fill(".seed", f" {seed} ")
        for _ in range(2):
            press(page, "Sample 10 names")
            seen.append(rows.all_inner_texts())
    assert seen[0] == seen[1] == seen[4] == seen[5] != seen[2] == seen[3]
    assert len(seen[0]) == 10
    for wrong in ("-1", "1.5", "1e20", "4294967296", "one"):
        page.fill(".seed", wrong)
        press(page, "Sample 10 names")
        assert "whole number from 0 to 4,294,967,295" in page.inner_text("#seed-problem")
        assert page.input_value(".seed") == wrong
        assert rows.all_inner_texts() == seen[0]
    page.fill(".seed", "4294967295")
    press(page, "Sample 10 names")
    assert page.inner_text("#seed-problem") == ""
    assert rows.count() == 10
    page = played("tiny").fresh("#play.seed=-5&play.prefix=5&play.from_prefix=yes&play.top_k=900")
    assert "whole number" in page.inner_text("#seed-problem")
    assert "These names begin with any character." in page.inner_text("main")
    assert "top_k" not in page.url  # clamped to all characters


@needs_browser
@pytest.mark.slow
def test_the_game_refuses_unknown_picks(played: Callable[[str], Played]) -> None:
    page = played("tiny").fresh("#play.game=0")
    page.fill(".picks", "a5")
    page.keyboard.press("Enter")
    assert "Nothing is revealed yet. The network does not know “5”." in page.inner_text("main")
    assert page.input_value(".picks") == "a5"
    assert set(shown_losses(page).values()) == {"–"}
    page.fill(".picks", "A")
    page.keyboard.press("Enter")
    assert "–" not in shown_losses(page).values()


@needs_browser
@pytest.mark.slow
@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 40), spread=st.floats(0, 0.5))
@example(seed=0, n=4, spread=0.0)
@example(seed=0, n=40, spread=0.0)
def test_labels_are_moved_apart_but_not_far(played: Callable[[str], Played], seed: int, n: int, spread: float) -> None:
    places = np.clip(0.5 + spread * np.random.default_rng(seed).standard_normal((n, 2)), 0.06, 0.94)
    size, farthest = played("tiny").run("() => [LABEL, FARTHEST]")
    labels = np.array(played("tiny").run("apart", places.tolist())) / size
    edges = np.stack([np.full(2, 0.5), 1 / np.array(size) - 0.5])
    assert ((edges[0] - 1e-9 <= labels) & (labels <= edges[1] + 1e-9)).all()
    moved, from_edge = np.abs(labels - places / size), np.abs(edges[:, None] - places / size).min(0)
    assert (moved <= np.maximum(farthest, 2 * farthest - from_edge) + 1e-9).all()
    crowded = (np.abs(places[:, None] / size - places / size).max(2) < 1).sum()
    still = (np.abs(labels[:, None] - labels).max(2) < 0.9).sum()
    assert still <= crowded
    if n <= 4:
        assert still == n  # each with itself
    steps = np.linspace(-farthest, farthest, 23)
    for k in range(min(n, 12)):
        tried = places[k] / size + np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)
        inside = ((edges[0] <= tried) & (tried <= edges[1])).all(1)
        free = tried[inside & (np.abs(tried[:, None] - labels[:k]).max(2) >= 1).all(1)]
        if len(free) > 0:  # then the label has a free place that is as near
            assert (np.abs(labels[k] - labels[:k]).max(1) > 0.95).all()
            nearest = np.linalg.norm(free - places[k] / size, axis=1).min()
            assert np.linalg.norm(labels[k] - places[k] / size) <= nearest + 1e-9


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 800, 1600])
def test_nothing_is_wider_than_the_window(width: int, played: Callable[[str], Played], browser: Browser) -> None:
    for kind in ("tiny", "hostile names", "8,192 characters", "label smoothing", "two characters"):
        one = played(kind)
        prefix = "".join(random.Random(width).choices(one.letters, k=60))
        with opened(browser, one.folder / "play.html", f"play.prefix={quote(prefix)}", width=width) as page:
            page.wait_for_selector(".play")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
