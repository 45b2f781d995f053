"""The page of a chain: its numbers are PyTorch's, its verdicts gradcheck's, and the keyboard reaches all of it."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from makemore_cli.backprop.atomic import network_chain
from makemore_cli.backprop.chain import Chain, Stage, chain
from makemore_cli.backprop.line_text import line_text
from makemore_cli.backprop.shipped import SHIPPED
from makemore_cli.backprop.step import step
from makemore_cli.checks.broken_chain import broken
from makemore_cli.checks.check import gradcheck
from makemore_cli.checks.expression_trees import compiled, parsed, value_of
from makemore_cli.checks.mutations import Mutation, scope
from makemore_cli.checks.problem import Problem
from makemore_cli.names.vocabulary import Vocabulary
from makemore_cli.views.explain import network, own
from makemore_cli.views.page.chain_data import chain_data, fingerprint
from makemore_cli.views.page.explain_page import network_data, write_explain_page
from makemore_cli.views.page.expression_code import UnsupportedError, code_of
from makemore_cli.views.page.page import CHAIN, write_page
from tests.conftest import Cli, problem
from tests.views.browser import needs_browser, opened

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

slow = pytest.mark.slow
NUMBERS = """() => {
  const values = chainForward(data.chain, inputsOf(data.chain));
  const pass = chainBackward(data.chain, values);
  const plain = (named) => Object.fromEntries(Object.entries(named).filter(([, x]) => isTensor(x)).map(
    ([name, x]) => [name, {shape: x.shape, numbers: [...x.data].map((number) => String(number))}]));
  return {values: plain(values), gradients: plain(pass.gradients)};
}"""
MISTAKES = """(wanted) => {
  const values = chainForward(data.chain, inputsOf(data.chain));
  const right = chainBackward(data.chain, values);
  return wanted.map((mistake) => {
    const {named, wrong} = verdictOn(mistake, right, chainBackward(data.chain, values, {mistake}));
    return {named, wrong: [...wrong].sort()};
  });
}"""
CHAINS = {
    "network": network_chain(),
    "without b1": network_chain(first_bias=False),
    "smoothed": network_chain(smoothed=True),
    **{name: lesson.chain for name, lesson in SHIPPED.items()},
}
# The page does not know erfc. The sum has two uses of x.
UNKNOWN = chain(
    "unknown",
    {"x": "n m"},
    step("y", lambda x: torch.special.erfc(x), dx=lambda x, dy: -2 / math.sqrt(math.pi) * (-(x**2)).exp() * dy),
    step("z", lambda x, y: x * y, dx=lambda y, dz: y * dz, dy=lambda x, dz: x * dz),
    step("loss", lambda z: z.sum(), dz=lambda z, dloss: torch.ones_like(z) * dloss),
)


def write(path: Path, data: dict[str, Any]) -> Path:
    write_page(path, "A chain", "", (CHAIN,), {"chain": data})
    return path


def page_of(one: Chain, folder: Path, seed: int = 0) -> Path:
    return write(folder / "chain.html", chain_data(one, one.draw(seed)[0]))


def as_tensor(found: dict[str, Any]) -> torch.Tensor:
    numbers = [float(number.replace("Infinity", "inf")) for number in found["numbers"]]
    return torch.tensor(numbers, dtype=torch.float64).reshape(found["shape"])


def apart(found: dict[str, Any], expected: torch.Tensor) -> float:
    """The largest difference, relative to the largest number."""
    assert tuple(found["shape"]) == tuple(expected.shape)
    ours, theirs = as_tensor(found), expected.double()
    return float((ours - theirs).abs().max()) / max(float(theirs.abs().max()), 1e-300) if ours.numel() else 0.0


@pytest.fixture(scope="module")
def lecture_page(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page that `makemore explain --html` writes."""
    path = tmp_path_factory.mktemp("page") / "chain.html"
    write_explain_page(path)
    with opened(browser, path) as page:
        yield page


def click_state(page: Page, state: str) -> None:
    page.evaluate("state => { location.hash = state; }", state)
    page.wait_for_function("state => location.hash.slice(1) === state", arg=state)


# --- The numbers ---


@needs_browser
@slow
@pytest.mark.parametrize("name", CHAINS)
def test_every_number_is_pytorchs(name: str, browser: Browser, tmp_path: Path) -> None:
    for seed in (0, 3):
        one = CHAINS[name]
        values = one.forward(one.draw(seed)[0])
        gradients = one.backward(values)
        with opened(browser, page_of(one, tmp_path, seed)) as page:
            found = page.evaluate(NUMBERS)
            assert "agree with those that PyTorch" in page.locator(".proof").inner_text()
        assert set(found["values"]) == {key for key, value in values.items() if isinstance(value, torch.Tensor)}
        largest = max(float(gradient.abs().max()) for gradient in gradients.values())
        for key, value in found["values"].items():
            assert apart(value, values[key]) < 1e-12, key
        for key, gradient in gradients.items():
            if float(gradient.abs().max()) > 1e-12 * largest:  # the others are zero but for rounding
                assert apart(found["gradients"][key], gradient) < 1e-8, key


A, B = torch.linspace(-2, 3, 12, dtype=torch.float64).reshape(3, 4), torch.linspace(1, 2, 4, dtype=torch.float64)
NAMES: dict[str, Any] = {
    "a": A,
    "b": B,
    "c": torch.linspace(0.1, 0.9, 24, dtype=torch.float64).reshape(2, 3, 4),
    "i": torch.tensor([2, 0, 2]),
    "ij": torch.tensor([[1, 0], [2, 2]]),
    "s": torch.tensor(1.5, dtype=torch.float64),
    "n": 3,
}
EXPRESSIONS = """
a + b | b - a | a * s | a / b | a ** 2 | b ** -0.5 | 2 ** a | -a | (a > 0) * a | a @ b | b @ a.T | a @ a.T
c @ a.T | a.T @ c.transpose(1, 2)[0].T | c.sum() | c.sum(0) | c.sum(-1, keepdim=True) | c.sum((0, 2)) | c.mean(1)
a.mean() | c.sum(dim=1) | a.max(1, keepdim=True).values | a.max(0).indices | a.max() | a.amax(1) | a.exp()
torch.tanh(a) | b.log() | torch.sigmoid(a) | a.relu() | b.sqrt() | a.sin() + a.cos() | a.abs() | a.softmax(1)
F.softmax(a, dim=0) | a.log_softmax(1) | torch.addcmul(a, a, b, value=-1) | a.view(-1) | a.view(4, 3)
a.reshape(2, -1) | c.flatten(1) | c.flatten(0, 1) | a.T | c.mT | c.transpose(0, 1) | c.permute(2, 0, 1)
b.expand(3, 4) | b[None].expand(2, -1, 4) | s.expand(3) | b.expand_as(a) | a.unsqueeze(1) | a[None] | a[:, None]
a[1] | a[-1] | a[1, 2] | a[:, 1] | a[1:, :2] | a[:, -1:] | a[i] | a[ij] | a[torch.arange(n), i] | b[i[0]]
torch.zeros_like(a).index_add_(0, i, a) | torch.zeros_like(a).index_copy_(0, i, a) | torch.bincount(i, minlength=5)
torch.zeros_like(a).scatter(1, i[:, None], 1.0) | torch.zeros_like(a).scatter(1, i[:, None], b[:3, None])
a.cumsum(1) | F.one_hot(i, a.shape[1]) | a.clamp(min=0) | torch.ones_like(a) / a.numel() | a.select(1, 2)
torch.zeros(2, 3) + a[:2, :3] | a.amax(dim=1) | a.max(dim=1).values | torch.max(a, 1, True).indices
a.sum(1, True) | c.sum(dim=(0, 1), keepdim=True) | a.clamp(0, 1) | a.clamp(max=0.5) | a.cumsum(dim=0)
a.unsqueeze(dim=-1) | c.flatten(start_dim=1) | F.one_hot(i, num_classes=5) | c.transpose(dim0=0, dim1=2)
a.scatter(dim=1, index=i[:, None], src=b[:3, None]) | torch.log_softmax(a, dim=0) | a.view([4, 3])
a.reshape(b.shape[0], 3) | torch.zeros([2, 2]) | torch.zeros_like(a).index_add(0, i, a) | torch.arange(n)
(a > 0) / 1 ** s | a.square() | a[:, :1].squeeze(1) | torch.where(a > 0, a, s) | torch.tensor([1.0, 2.0])
a.T.sum(1) / n | F.one_hot(i, 4).to(a) * a
"""


@needs_browser
@slow
def test_every_function_is_pytorchs(lecture_page: Page) -> None:
    expressions = [one.strip() for line in EXPRESSIONS.split("\n")[1:-1] for one in line.split("|")]
    tensors = {name: {"shape": list(x.shape), "data": x.flatten().tolist()} for name, x in NAMES.items() if name != "n"}
    script = """([names, codes]) => codes.map((code) => {
      const values = Object.fromEntries(
        Object.entries(names).map(([name, x]) => [name, tensor(x.shape, Float64Array.from(x.data))]));
      const x = asTensor(evaluate(code, {...values, n: 3}));
      return {shape: x.shape, numbers: [...x.data].map((number) => String(number))};
    })"""
    found = lecture_page.evaluate(script, [tensors, [code_of(parsed(one)) for one in expressions]])
    for text, ours in zip(expressions, found, strict=True):
        theirs = value_of(compiled(parsed(text)), NAMES)
        assert theirs is not None, text
        assert apart(ours, theirs) < 1e-14, text


@pytest.mark.parametrize(
    "text",
    [
        *("torch.fft.fft(a)", "a[::2]", "a.sum(**b)", "f(a)", "a if s else b", "a.to(torch.float16)", "a.data", "'x'"),
        *("a.clamp(0, 1, 2)", "torch.arange(1, 4)", "a.index_add(0, i, a, alpha=2)", "a[a > 0]", "a[[0, 2]]", "1e999"),
        *("torch.tensor([1.5], dtype=torch.int64)", "a.amax()", "F.one_hot(i)", "a.reshape(shape=(2, 6))", "a.sum"),
    ],
)
def test_what_the_page_does_not_know_is_told(text: str) -> None:
    with pytest.raises(UnsupportedError):
        code_of(parsed(text))


@needs_browser
def test_the_heat_maps_numbers(lecture_page: Page) -> None:
    """What the pointer, or an arrow key, reads is the tensor's own number, with the example and the character."""
    found = lecture_page.evaluate(NUMBERS)
    click_state(lecture_page, "tensor=logits")
    heat = lecture_page.locator(".heat").first
    readout = lecture_page.locator(".heat-readout").first
    heat.focus()
    for _ in range(3):
        lecture_page.keyboard.press("ArrowDown")
    for _ in range(7):
        lecture_page.keyboard.press("ArrowRight")
    expected = as_tensor(found["values"]["logits"])[3, 7]
    text = readout.inner_text()
    assert text.startswith("logits[3, 7] = ")
    assert float(text.split(" = ")[1].split()[0].replace("−", "-")) == pytest.approx(float(expected), rel=1e-3)
    assert "V = 7 (g)" in text
    box = heat.bounding_box()
    assert box is not None
    lecture_page.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] - 2)
    assert readout.inner_text().startswith("logits[31, 26] = ")


@needs_browser
@slow
def test_parts_add_up_and_fill_in_step_by_step(lecture_page: Page) -> None:
    script = """() => {
      const chain = data.chain, values = chainForward(chain, inputsOf(chain)), pass = chainBackward(chain, values);
      const steps = backwardSteps(chain).length;
      return Object.keys(pass.parts).map((name) => [
        name, pass.parts[name].length, distance(gradientSoFar(pass, name, steps), pass.gradients[name]),
        pass.parts[name].map((part) => part.order)]);
    }"""
    found = lecture_page.evaluate(script)
    assert {name: count for name, count, *_ in found if count > 1} == {
        "hprebn": 2,
        "bndiff": 2,
        "logits": 2,
        "counts": 2,
    }
    assert all(rounding < 1e-15 for _, _, rounding, _ in found)
    click_state(lecture_page, "tensor=logits&step=7")  # through norm_logits, but not yet through logit_maxes
    assert lecture_page.locator(".heat-figure figcaption").nth(1).inner_text().startswith("gradient so far")
    click_state(lecture_page, "tensor=logits&step=8")
    assert "the sum of 2 parts" in lecture_page.locator(".heat-figure figcaption").nth(1).inner_text()
    click_state(lecture_page, "tensor=C&step=8")
    assert "has not reached dC yet" in lecture_page.locator(".chain-detail").inner_text()


# --- Mistakes ---


def mistakes_in(data: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"step": one["name"], "target": line["target"], "number": number}
        for one in data["steps"]
        for line in one["backward"]
        for number in [*map(str, range(len(line["mistakes"]))), "none"]
    ]


def broken_by(one: Chain, data: dict[str, Any], mistake: dict[str, Any]) -> Chain:
    """The chain with a mistake, from the text that the page shows."""
    place = (mistake["step"], mistake["target"])
    if mistake["number"] == "none":
        return broken(one, {place: None})
    line = one.by_name[place[0]].backward[place[1]]
    lines = next(s for s in data["steps"] if s["name"] == place[0])["backward"]
    shown = next(one for one in lines if one["target"] == place[1])["mistakes"][int(mistake["number"])]
    return broken(one, {place: Mutation(shown["words"], parsed(shown["text"]), scope(line))})


@needs_browser
@slow
@pytest.mark.parametrize("part", range(3))
def test_the_verdict_is_gradchecks(part: int, browser: Browser, tmp_path: Path) -> None:
    """For each mistake that the page offers in any line: the same line is named, the same gradients are wrong."""
    p, X, Y = problem(8, 3, 4, 6, 5, dtype=torch.float64)
    data = network_data(p, X, Y, Vocabulary("abcd"))
    inputs = network_chain().forward({**p.views, "X": X, "Y": Y, "n": 8, "eps": 1e-5})
    checked = Problem(network_chain(), {k: inputs[k] for k in [*network_chain().inputs, "n"]}, {"n": 8}, unit=True)
    wanted = mistakes_in(data)[part::18]  # of 270
    with opened(browser, write(tmp_path / "chain.html", data)) as page:
        verdicts = page.evaluate(MISTAKES, wanted)
    for mistake, verdict in zip(wanted, verdicts, strict=True):
        report = gradcheck(checked, chain=broken_by(network_chain(), data, mistake))
        assert {line.comparison.tensor for line in report.wrong_lines} == {verdict["named"]}, mistake
        if report.sections[0].findings:  # no line after the wrong one has stopped
            wrong = {f.comparison.tensor for f in report.sections[0].findings if not f.comparison.close}
            assert set(verdict["wrong"]) == wrong, mistake


@needs_browser
@slow
def test_a_chain_that_the_page_cannot_run(browser: Browser, tmp_path: Path) -> None:
    """All is PyTorch's then, and so is the effect of a mistake."""
    data = chain_data(UNKNOWN, UNKNOWN.draw(0)[0])
    assert not data["live"]
    values = UNKNOWN.forward(UNKNOWN.draw(0)[0])
    right = UNKNOWN.backward(values)
    with opened(browser, write(tmp_path / "chain.html", data)) as page:
        found = page.evaluate(NUMBERS)
        wanted = mistakes_in(data)
        verdicts = page.evaluate(MISTAKES, wanted)
        assert "agree with those that PyTorch" in page.locator(".proof").inner_text()
        assert page.locator(".editor input").count() == 0
    assert all(apart(found["gradients"][name], gradient) < 1e-12 for name, gradient in right.items())
    for mistake, verdict in zip(wanted, verdicts, strict=True):
        ours = broken_by(UNKNOWN, data, mistake).backward(values)
        differ = {n for n in right if n not in ours or ours[n].shape != right[n].shape or not ours[n].equal(right[n])}
        assert set(verdict["wrong"]) == differ, mistake


@needs_browser
def test_a_broken_line_is_marked_named_and_undone(lecture_page: Page) -> None:
    click_state(lecture_page, "tensor=h")
    select = lecture_page.get_by_label("Break the line for dhpreact in the step h")
    select.select_option(label="the sign is wrong")
    verdict = lecture_page.locator(".chain-verdict").inner_text()
    assert "names only dhpreact" in verdict
    assert "dbngain" in verdict
    assert "dW2" not in verdict
    assert lecture_page.locator("#tensor-hpreact").inner_text().count("wrong") == 1
    assert "inherited" in lecture_page.locator("#tensor-C").inner_text()
    assert lecture_page.locator(".line.broken").first.inner_text().startswith("dhpreact = -(")
    lecture_page.get_by_role("button", name="Undo").click()
    assert lecture_page.locator(".chain-verdict").inner_text() == ""
    assert lecture_page.locator(".wrong").count() == 0


@needs_browser
def test_a_mistake_that_does_not_show_here(lecture_page: Page) -> None:
    """The gradient of the row maximum is zero, so no loss shows a wrong sign; gradcheck's random gradient does."""
    click_state(lecture_page, "tensor=logit_maxes&mistake=logit_maxes~dlogits~0")
    text = lecture_page.locator(".chain-verdict").inner_text()
    assert "names dlogits" in text
    assert "invisible at these numbers" in text


@needs_browser
def test_a_changed_weight_moves_what_depends_on_it(lecture_page: Page) -> None:
    click_state(lecture_page, "tensor=b2&change=b2~3~1.25")
    text = lecture_page.locator(".chain-verdict").inner_text()
    assert text.startswith("b2[3] is 1.250 instead of ")
    assert "9 of 20 tensors" in text  # from the logits on
    script = """() => {
      const inputs = inputsOf(data.chain); inputs.b2.data[3] = 1.25;
      return chainForward(data.chain, inputs).loss.data[0];
    }"""
    assert f"loss = {lecture_page.evaluate(script):.3f}" in lecture_page.locator(".chain-bar").inner_text()
    # Nonsense in the address is ignored.


@needs_browser
@pytest.mark.parametrize(
    "state",
    [
        *(f"tensor=b2&change={change}" for change in ("b2~99~1", "h~0~1", "b2~0~x", "b2~1.5~3", "b2~-1~3", "b2~~3")),
        *("change=nothing", "change=b2~3~Infinity", "tensor=eps", "tensor=n", "tensor=constructor", "step=-3&pass=x"),
        *(f"mistake={mistake}" for mistake in ("h~dhpreact~length", "h~dhpreact~map", "toString~x~0", "h~dhpreact~99")),
        *("lines=fused&mistake=h~dhpreact", "folded=99,x", "step=1e9", "view=nothing", "%", "=&&="),
    ],
)
def test_nonsense_in_the_address_is_ignored(state: str, lecture_page: Page) -> None:
    click_state(lecture_page, state)
    assert lecture_page.locator(".chain-verdict").inner_text() == ""
    assert lecture_page.locator(".chain-detail .heat").count() >= 1


# --- Chains of others ---

SWISH = chain(
    "swish",
    {"x": "n"},
    step("s", lambda x: x.sigmoid(), dx=lambda s, ds: s * (1 - s) * ds),
    step("y", lambda x, s: x * s, dx=lambda s, dy: s * dy, ds=lambda x, dy: x * dy),
    stages=[Stage("In one line.", "dx", lambda s, y, dy: (s + y * (1 - s)) * dy)],
    layers={"swish": "s y"},
)
TWO = chain(
    "two outputs",
    {"x": "n", "limit": float("inf"), "flag": True, "offset": 5_000_000_000},
    step("a", lambda x, limit: 3 * x.clamp(max=limit).sum(), dx=lambda x, da: 3 * da * torch.ones_like(x)),
    step("b", lambda x, offset, flag: x * x + offset * 0 * flag, dx=lambda x, db: 2 * x * db),
)
WRONG = chain("wrong", {"x": "n"}, step("y", lambda x: x**2, dx=lambda x, dy: x * dy))
PROTOTYPES = chain(
    "names",
    {"constructor": "n", "toString": "n"},
    step(
        "__proto__",
        lambda constructor, toString: constructor * toString,
        dconstructor=lambda toString, d__proto__: toString * d__proto__,
        dtoString=lambda constructor, d__proto__: constructor * d__proto__,
    ),
    step(
        "hasOwnProperty",
        lambda __proto__: __proto__.sum(),
        d__proto__=lambda __proto__, dhasOwnProperty: torch.ones_like(__proto__) * dhasOwnProperty,
    ),
)


@needs_browser
@slow
def test_a_fused_line_replaces_all_lines_of_its_layer(browser: Browser, tmp_path: Path) -> None:
    """The last step of the layer passes a part of the gradient back as well."""
    right = SWISH.backward(SWISH.forward(SWISH.draw(0)[0]))
    with opened(browser, page_of(SWISH, tmp_path)) as page:
        script = """() => {
          const pass = chainBackward(data.chain, chainForward(data.chain, inputsOf(data.chain)), {fused: true});
          return {shape: pass.gradients.x.shape, numbers: [...pass.gradients.x.data].map(String)};
        }"""
        assert apart(page.evaluate(script), right["x"]) < 1e-14
        click_state(page, "tensor=x&lines=fused&mistake=y~dx~0")
        assert "Broken: dx in the step y" in page.locator(".chain-verdict").inner_text()
        click_state(page, "tensor=x&lines=fused&mistake=s~dx~0")  # a line that does not run
        assert page.locator(".chain-verdict").inner_text() == ""


@needs_browser
@slow
def test_several_outputs_and_other_inputs(browser: Browser, tmp_path: Path) -> None:
    """An infinite number, a truth value, and a whole number beyond 32 bits are read by lines too."""
    with opened(browser, page_of(TWO, tmp_path)) as page:
        assert "agree with those that PyTorch" in page.locator(".proof").inner_text()
        before = page.evaluate("data.chain.live && inputsOf(data.chain).x.data[0]")
        click_state(page, f"tensor=x&change=x~0~{before + 1e-4}")
        text = page.locator(".chain-verdict").inner_text()
        found = re.search(r"by (\S+); the change is (\S+)\.$", text)
        assert found
        predicted, actual = (float(number.replace("−", "-")) for number in found.groups())
        assert predicted == pytest.approx(actual, rel=2e-3)
        assert "all outputs together" in text


@needs_browser
@slow
def test_names_of_javascript(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, page_of(PROTOTYPES, tmp_path)) as page:
        assert "agree with those that PyTorch" in page.locator(".proof").inner_text()
        for name in ("constructor", "toString", "__proto__", "hasOwnProperty"):
            click_state(page, f"tensor={name}")
            assert page.locator(".chain-detail h3 code").first.inner_text() == name


@needs_browser
@slow
def test_a_wrong_chain_is_told(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, page_of(WRONG, tmp_path)) as page:
        proof = page.locator(".proof").inner_text()
        assert "agree with those that PyTorch" in proof
        assert "disagree with autograd in dx." in proof


@needs_browser
@slow
def test_numbers_that_the_page_does_not_compute_are_missed(browser: Browser, tmp_path: Path) -> None:
    """Neither a line that fails in the page nor a gradient that is missing counts as agreement."""
    data = chain_data(SWISH, SWISH.draw(0)[0])
    x = ["name", "x"]
    data["steps"][0]["backward"][0]["code"] = ["call", "index_add", x, ["number", 1], x, x]
    with opened(browser, write(tmp_path / "chain.html", data)) as page:
        proof = page.locator(".proof").inner_text()
        assert "can't run the line for dx" in proof
        assert "differ from those that PyTorch computed when this page was written: dx." in proof
    data["steps"][0]["forward"]["code"] = ["call", "nothing", ["name", "x"]]
    with opened(browser, write(tmp_path / "chain.html", data)) as page:
        assert "This chain can't be shown" in page.locator("main").inner_text()


@needs_browser
@slow
def test_effects_without_room_are_not_offered(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from makemore_cli.views.page import chain_data as module

    monkeypatch.setattr(module, "LARGEST_EFFECTS", 60)
    with opened(browser, page_of(UNKNOWN, tmp_path)) as page:
        click_state(page, "tensor=y")
        offered = page.locator("select option").count()
        click_state(page, "tensor=y&mistake=loss~dz~0")
        assert page.locator(".chain-verdict").inner_text() == ""
    monkeypatch.undo()
    with opened(browser, page_of(UNKNOWN, tmp_path)) as page:
        click_state(page, "tensor=y")
        assert page.locator("select option").count() > offered


def test_what_a_page_can_not_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from makemore_cli.backprop.inputs import ChainError
    from makemore_cli.views.page import chain_data as module

    monkeypatch.setattr(module, "LARGEST_CHAIN", 5)
    with pytest.raises(ChainError, match="a page shows at most 5"):
        chain_data(SWISH, SWISH.draw(0)[0])
    monkeypatch.undo()
    stuck = chain("stuck", {"x": "n"}, step("y", lambda x: x.exp(), dx=lambda x, dy: dy @ x[:1]))
    with pytest.raises(ChainError, match="a backward line can't be run"):
        chain_data(stuck, stuck.draw(0)[0])


# --- The page itself ---


@needs_browser
@slow
def test_the_focus_stays_where_it_is(lecture_page: Page) -> None:
    """Though the panel is drawn anew."""
    page = lecture_page
    click_state(page, "tensor=C")
    page.locator('[data-control="slider"]').focus()
    before = page.locator('[data-control="slider"]').input_value()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.control") == "slider"
    moved = float(page.locator('[data-control="slider"]').input_value()) - float(before)
    step_of_slider = float(page.locator('[data-control="slider"]').get_attribute("step") or 0)
    assert moved == pytest.approx(3 * step_of_slider, rel=0.01)
    page.get_by_role("button", name="Undo").press("Enter")
    assert page.evaluate("document.activeElement !== document.body")
    click_state(page, "tensor=h&step=1")
    page.get_by_role("button", name="A step back").press("Enter")  # to the start, where this button is disabled
    assert page.evaluate("document.activeElement !== document.body")
    click_state(page, "tensor=h")
    select = page.get_by_label("Break the line for dh in the step logits")
    select.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert "~dh~1" in page.evaluate("decodeURIComponent(location.hash)")
    page.go_back()
    assert "~dh~0" in page.evaluate("decodeURIComponent(location.hash)")


@needs_browser
@slow
def test_all_maps_of_a_tensor_point_at_the_same_entry(lecture_page: Page) -> None:
    click_state(lecture_page, "tensor=W2")
    lecture_page.locator(".heat").first.focus()
    lecture_page.keyboard.press("ArrowRight")
    lecture_page.keyboard.press("ArrowDown")
    texts = lecture_page.locator(".heat-readout").all_inner_texts()
    assert [text.split(" = ")[0] for text in texts] == ["W2[1, 1]", "dW2[1, 1]"]
    assert "Change W2[1, 1]" in lecture_page.locator(".editor").inner_text()
    click_state(lecture_page, "tensor=b1")  # whose gradient is zero, since batchnorm subtracts it again
    assert "zero but for rounding" in lecture_page.locator(".maps").inner_text()


@needs_browser
def test_every_tensor_by_keyboard(lecture_page: Page) -> None:
    click_state(lecture_page, "tensor=C")
    lecture_page.locator("#tensor-C").focus()
    lecture_page.keyboard.press("End")
    lecture_page.keyboard.press("Home")
    seen = []
    for _ in range(40):
        chosen = lecture_page.evaluate("document.activeElement.id")
        assert lecture_page.locator('[aria-current="true"]').get_attribute("id") == chosen
        if seen and seen[-1] == chosen:
            break
        seen.append(chosen)
        lecture_page.keyboard.press("ArrowDown")
    names = {name for name in [*network_chain().inputs, *network_chain().by_name] if name != "eps"}
    assert {one.removeprefix("tensor-") for one in seen} == names
    lecture_page.keyboard.press("ArrowLeft")  # a step back
    assert "step 19 of 20" in lecture_page.locator(".chain-bar").inner_text()


@needs_browser
@slow
def test_nothing_sticks_out_and_nothing_is_inaccessible(browser: Browser, tmp_path: Path) -> None:
    from axe_playwright_python.sync_playwright import Axe

    path = tmp_path / "chain.html"
    write_explain_page(path)
    states = [
        "tensor=loss",
        "tensor=hprebn&lines=fused",
        "tensor=C&pass=forward&step=3",
        "tensor=b1&mistake=h~dhpreact~0",
    ]
    for width, dark in ((360, False), (800, True), (1600, False), (1600, True)):
        with opened(browser, path, width=width, dark=dark) as page:
            for state in states:
                click_state(page, state)
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (width, state)
            found = Axe().run(page).response["violations"]
            serious = [
                (one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")
            ]
            assert not serious, serious


@needs_browser
@slow
def test_the_address_restores_the_state(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "chain.html"
    write_explain_page(path, "dbnvar")
    with opened(browser, path) as page:
        assert page.locator("#tensor-bnvar").get_attribute("aria-current") == "true"
        page.get_by_role("button", name="Fused").click()
        page.get_by_role("button", name="A step back").click()
        page.get_by_role("button", name="tanh").click()
        url = page.url
        shown = page.locator(".chain-list").inner_text()
        page.goto("about:blank")
        page.goto(url)
        assert page.locator(".chain-list").inner_text() == shown
        assert "step 6 of 7" in page.locator(".chain-bar").inner_text()


@needs_browser
@slow
@pytest.mark.parametrize(("letters", "H", "n"), [("</script>\"'&<b>\u200f\u202e😀", 3, 4), ("a", 1, 2), ("ab", 1, 2)])
def test_strange_characters_and_small_networks(letters: str, H: int, n: int, browser: Browser, tmp_path: Path) -> None:
    letters = "".join(sorted(set(letters)))
    p, X, Y = problem(n, 2, 3, H, len(letters) + 1)
    data = network_data(p, X, Y, Vocabulary(letters), about="<script>alert(1)</script>")
    with opened(browser, write(tmp_path / "chain.html", data)) as page:
        for name in ("C", "logits", "loss"):
            click_state(page, f"tensor={name}")
            assert page.locator(".heat").count() >= 1
        assert page.evaluate("data.chain.labels.V") == list("." + letters)
        assert "agree with those that PyTorch" in page.locator(".proof").inner_text()
        assert page.locator("script:not([data-file]):not([type])").count() == 0


def test_fingerprints_tell_tensors_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    others = [x.T, -x, x.flip(0), x + 1e-6, x[[1, 0, 2]], x.abs()]
    assert all(fingerprint(x)[1] != pytest.approx(fingerprint(other)[1], rel=1e-9) for other in others)
    assert fingerprint(x) != fingerprint(x.flatten())
    assert fingerprint(torch.tensor([float("inf")])) == [[1], None, None]


# --- The command ---


def test_the_command(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "chain.html"
    result = cli("explain", "cross_entropy", "--html", path)
    assert (result.code, result.out, result.err) == (0, f"{path}\n", "")
    page = path.read_text(encoding="utf-8")
    assert '"start":{"tensor":"logits","lines":"fused"}' in page
    assert "http://www.w3.org/2000/svg" in page
    assert page.count("http") == 1 + page.count("http-equiv")
    for arguments, told in (
        (("logit", "--html", path), "did you mean logits?"),
        (("--html", tmp_path), "was not made by makemore"),
        (("--html", path, "--numbers"), "omit --numbers"),
        (("--chain", "linear", "batchnorm", "--html", path), "not a tensor of linear"),
        (("shared_batchnorm", "--html", path), "there is no page on it"),
    ):
        result = cli("explain", *arguments)
        assert (result.code, result.out) == (2, "")
        assert told in result.err


def test_a_chain_from_a_file(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from makemore_cli import chain, step\n"
        "CHAIN = chain('my </script> chain', {'x': 'n'}, step('y', lambda x: x**3, dx=lambda x, dy: 3 * x**2 * dy))\n"
    )
    result = cli("explain", "--chain", tmp_path / "mine.py", "--html", tmp_path / "mine.html")
    assert (result.code, result.err) == (0, "")
    page = (tmp_path / "mine.html").read_text(encoding="utf-8")
    assert page.count("</script>") == page.count("<script")
    assert own(UNKNOWN).chain is UNKNOWN
    assert network().chain is network_chain()


def test_layers_are_checked() -> None:
    from makemore_cli.backprop.inputs import ChainError

    def declared(**layers: str) -> Chain:
        steps = [step("u", lambda x: x, dx=lambda du: du), step("v", lambda u: u, du=lambda dv: dv)]
        return chain("c", {"x": "n"}, *steps, step("w", lambda v: v, dv=lambda dw: dw), layers=layers)

    assert declared(first="u v", last="w").up_to("u").layers == {"first": ("u",)}
    for layers, told in (
        ({"a": "u x"}, "x, which is not a step"),
        ({"a": "u", "b": "u"}, "in layer a and in layer b"),
        ({"a": "u w"}, "must follow one another"),
        ({"a": ""}, "at least one"),
    ):
        with pytest.raises(ChainError, match=told):
            declared(**layers)


def test_the_lines_shown_are_the_lines_that_run() -> None:
    data = chain_data(network_chain(), network_chain().draw(0)[0])
    for shown, own_step in zip(data["steps"], network_chain().steps, strict=True):
        assert shown["forward"]["text"] == line_text(own_step.forward)
        for line in shown["backward"]:
            assert line["text"] == line_text(own_step.backward[line["target"]])
            assert len({mistake["words"] for mistake in line["mistakes"]}) == len(line["mistakes"]) >= 4
    codes = [array for array in data["inputs"] if isinstance(array["value"], dict)]
    for array in codes:
        kind = next(key for key in ("f64", "f32", "i32") if key in array["value"])
        numbers = np.frombuffer(
            base64.b64decode(array["value"][kind]), {"f64": "<f8", "f32": "<f4", "i32": "<i4"}[kind]
        )
        assert len(numbers) == math.prod(array["value"]["shape"])
