"""Training in the page: its pass against autograd and the tensor engine, its mistakes, and what a reader does."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from makemore_cli.config.schema import CosineSchedule, Schedule, SgdConfig, StepsSchedule
from makemore_cli.network import reference
from makemore_cli.network.model import Sizes
from makemore_cli.network.parameters import Parameters, initialise
from makemore_cli.runs.checkpoint import load_checkpoint
from makemore_cli.training.engines import TensorEngine
from makemore_cli.training.schedules import learning_rates
from makemore_cli.views.page import run_data
from makemore_cli.views.page.page import TRAIN, encoded, write_page
from makemore_cli.views.page.play_page import write_play_page
from tests.conftest import NAMES, problem
from tests.views.browser import needs_browser, opened

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

EPS = 1e-5
slow = pytest.mark.slow
FLOATS = (
    """(given) => Object.fromEntries(Object.entries(given).map(([name, list]) => [name, Float64Array.from(list)]))"""
)

# Parameters and tensors of a pass over n examples: in float64, or as a worker has them, in float32 with SIMD kernels.
ROOM = """({ sizes, parameters, n, simd }) => {
  const given = (FLOATS)(parameters);
  if (!simd) return { parameters: given, tensors: passTensors(sizes, n) };
  globalThis.plain ??= { ...kernels };
  if (kernels.tanh === plain.tanh) useSimd();
  const trainer = new Trainer({ sizes, parameters: given, batchSize: n });
  if (trainer.tensors.h.buffer !== trainer.parameters.W1.buffer) throw new Error("no SIMD");
  return trainer;
}""".replace("FLOATS", FLOATS)

# Losses of training on given batches, of n examples each.
TRAINED = """(given) => {
  const { X, Y, epsilon, smoothing, rate } = given;
  const { parameters: p, tensors } = (ROOM)(given);
  return Y.map((targets, k) => {
    const loss = trainingPass(p, X[k], targets, tensors, { epsilon, smoothing });
    for (const name in p) descend(p[name], tensors[`d${name}`], rate);
    return loss;
  });
}""".replace("ROOM", ROOM)

GRADIENTS = """(given) => {
  const { X, Y, epsilon, smoothing } = given;
  const { parameters: p, tensors } = (ROOM)(given);
  Object.values(tensors).filter(ArrayBuffer.isView).forEach((tensor) => tensor.fill(7)); // of a pass before
  const loss = trainingPass(p, X, Y, tensors, { epsilon, smoothing });
  return { loss, ...Object.fromEntries(Object.keys(p).map((name) => [name, [...tensors[`d${name}`]]])) };
}""".replace("ROOM", ROOM)

CHECKED = """({ sizes, parameters, X, Y, n, epsilon, smoothing }) =>
  checkGradients((FLOATS)(parameters), X, Y, passTensors(sizes, n), { epsilon, smoothing }, randomNumbers(n))
    .filter(({ right }) => !right).map(({ name }) => name)""".replace("FLOATS", FLOATS)

# Of each mistake, the gradients that it makes wrong.
WRONG = {
    "tanh": "C W1 bngain bnbias",
    "target": "C W1 W2 b2 bngain bnbias",
    "bessel": "C W1",
    "mean": "C W1 b1",
    "variance": "C W1",
    "b2": "b2",
    "W1": "W1",
    "C": "C",
}


def run_of(
    sizes: Sizes, letters: str, names: Mapping[str, list[str]] | None, *, complete: bool = True, seed: int = 1
) -> dict[str, Any]:
    """The data of a run that was not trained at all."""
    initial = {name: encoded(array) for name, array in initialise(sizes, seed)[0].arrays().items()}
    statistics = np.zeros((1, sizes.hidden), np.float32)
    return {
        "name": "made",
        "step": 0,
        "letters": letters,
        "sizes": {"V": sizes.vocabulary, "T": sizes.context, "E": sizes.embedding, "H": sizes.hidden},
        "epsilon": EPS,
        "smoothing": 0.0,
        "batch_size": 32,
        "learning_rate": 0.1,
        "schedule": {"milestones": [100_000], "gamma": 0.1, "instead_of": None},
        "parameters": initial,
        "initial": initial,
        "bnmean": encoded(statistics),
        "bnvar": encoded(statistics + 1),
        "names": names and {split: {"text": "\n".join(some), "complete": complete} for split, some in names.items()},
    }


def written(path: Path, run: Mapping[str, Any]) -> Path:
    write_page(path, "made", "for a test", [TRAIN], {"run": run})
    return path


def numbers(p: Parameters, X: torch.Tensor, Y: torch.Tensor, smoothing: float = 0.0, **more: Any) -> dict[str, Any]:
    """A problem as the page's functions take it."""
    s = p.sizes
    return {
        "sizes": {"V": s.vocabulary, "T": s.context, "E": s.embedding, "H": s.hidden},
        "parameters": {name: array.flatten().tolist() for name, array in p.arrays().items()},
        "X": X.flatten(X.ndim - 2).tolist(),
        "Y": Y.tolist(),
        "n": Y.shape[-1],
        "epsilon": EPS,
        "smoothing": smoothing,
        **more,
    }


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    letters = "".join(sorted(set("".join(NAMES))))
    names = {"train": NAMES[:8], "val": NAMES[8:10], "test": NAMES[10:]}
    return written(
        tmp_path_factory.mktemp("train") / "train.html", run_of(Sizes(len(letters) + 1, 3, 4, 12), letters, names)
    )


@pytest.fixture(scope="module")
def functions(browser: Browser, path: Path) -> Iterator[Page]:
    """A page whose functions are called. Nothing is clicked in it."""
    with opened(browser, path) as page:
        yield page


@pytest.fixture
def page(browser: Browser, path: Path) -> Iterator[Page]:
    with opened(browser, path) as page:
        page.wait_for_selector(".train-samples li")
        yield page


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def figure(page: Page, label: str) -> str:
    return page.locator(f".train-figures div:has(dt:text-is('{label}')) dd").inner_text()


def step(page: Page) -> str:
    """Train one step. Returns its loss."""
    before = figure(page, "step")
    press(page, "Step")
    page.wait_for_function("before => document.querySelector('.train-figures dd').textContent !== before", arg=before)
    return figure(page, "loss of the latest batches")


def settle(page: Page) -> None:
    """Wait until the worker has answered all that it was sent before."""
    with page.expect_download():
        press(page, "Save the weights as JSON")


def checked(page: Page) -> str:
    press(page, "Check the gradients")
    return page.locator(".train-results [role=status] strong").inner_text()


# The pass.


@needs_browser
@pytest.mark.parametrize(
    ("n", "T", "E", "H", "V", "first_bias", "smoothing"),
    [
        (32, 3, 10, 64, 27, True, 0.0),
        pytest.param(32, 3, 10, 200, 27, False, 0.1, marks=slow),
        pytest.param(2, 1, 1, 1, 2, True, 0.0, marks=slow),
        pytest.param(7, 8, 5, 33, 50, True, 0.3, marks=slow),
    ],
)
@pytest.mark.parametrize("simd", [True, False])
def test_losses_are_those_of_the_tensor_engine(functions, n, T, E, H, V, first_bias, smoothing, simd) -> None:
    p, *_ = problem(n, T, E, H, V, first_bias=first_bias, dtype=torch.float64, seed=n + H)
    generator = torch.Generator().manual_seed(n * H + V)
    X = torch.randint(0, V, (200, n, T), generator=generator)
    Y = torch.randint(0, V, (200, n), generator=generator)
    page_losses = functions.evaluate(TRAINED, numbers(p, X, Y, smoothing, rate=0.1, simd=simd))
    losses = TensorEngine(p, smoothing=smoothing).run(X, Y, [0.1] * 200)
    torch.testing.assert_close(torch.tensor(page_losses, dtype=torch.float64), losses, rtol=0, atol=1e-4)


def problems(n: int, T: int, E: int, H: int, V: int) -> dict[str, st.SearchStrategy[Any]]:
    """Batches and networks of at least these sizes."""
    return {
        "n": st.integers(n, 40),
        "T": st.integers(T, 8),
        "E": st.integers(E, 12),
        "H": st.integers(H, 70),
        "V": st.integers(V, 60),
        "first_bias": st.booleans(),
        "smoothing": st.sampled_from([0.0, 0.2]),
        "seed": st.integers(0, 2**31),
    }


@slow
@needs_browser
@given(**problems(n=2, T=1, E=1, H=1, V=2))
@settings(max_examples=40)
def test_gradients_are_autograds(functions, n, T, E, H, V, first_bias, smoothing, seed) -> None:
    p, X, Y = problem(n, T, E, H, V, first_bias=first_bias, dtype=torch.float64, seed=seed)
    of_page = functions.evaluate(GRADIENTS, numbers(p, X, Y, smoothing))
    loss, gradients = of_autograd(p, X, Y, smoothing)
    assert of_page["loss"] == pytest.approx(loss, abs=1e-12)
    assert largest_error(of_page, gradients, of_b1=1e-6) <= 3e-6


@slow
@needs_browser
@given(**problems(n=8, T=2, E=2, H=8, V=10))
@settings(max_examples=40)
def test_gradients_in_float32_are_autograds(functions, n, T, E, H, V, first_bias, smoothing, seed) -> None:
    """As exact as autograd's own in float32. In smaller networks, numbers may cancel, and chance decides."""
    p, X, Y = problem(n, T, E, H, V, first_bias=first_bias, dtype=torch.float64, seed=seed)
    of_page = functions.evaluate(GRADIENTS, numbers(p, X, Y, smoothing, simd=True))
    loss, gradients = of_autograd(p, X, Y, smoothing)
    _, rounded = of_autograd(p, X, Y, smoothing, torch.float32)
    assert of_page["loss"] == pytest.approx(loss, rel=1e-6)
    of_autograd_in_float32 = {name: gradient.tolist() for name, gradient in rounded.items()}
    allowed = max(3e-6, 10 * largest_error(of_autograd_in_float32, gradients, of_b1=1))
    assert largest_error(of_page, gradients, of_b1=1) <= allowed


def of_autograd(
    p: Parameters, X: torch.Tensor, Y: torch.Tensor, smoothing: float, dtype: torch.dtype = torch.float64
) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss of a batch and its gradients, each flat."""
    leaves = {name: view.detach().to(dtype).requires_grad_() for name, view in p.views.items()}
    loss, *_ = reference.forward(leaves, X, Y, EPS, smoothing)
    loss.backward()
    return loss.item(), {name: leaf.grad.flatten().double() for name, leaf in leaves.items()}


def largest_error(found: Mapping[str, Any], gradients: Mapping[str, torch.Tensor], *, of_b1: float) -> float:
    """The largest error of a gradient, relative to its largest number.

    The gradient of b1 is zero but for rounding. Its error is relative to `of_b1` of the largest number of all.
    """
    scales = {name: float(gradient.abs().max()) for name, gradient in gradients.items()}
    largest = max(scales.values())
    least = max(1e-6 * largest, 1e-8)  # for those that are zero but for rounding, as all are in some tiny networks
    scales = {name: max(scale, least) for name, scale in scales.items()} | {"b1": max(of_b1 * largest, 1e-8)}
    found = {name: torch.tensor(found[name], dtype=torch.float64) for name in gradients}
    errors = [float((found[name] - gradient).abs().max()) / scales[name] for name, gradient in gradients.items()]
    return float(np.max(errors))  # NaN if one is


@slow
@needs_browser
def test_the_pass_makes_no_tensors(functions) -> None:
    """Every tensor is made by passTensors, once for a batch size."""
    text = functions.evaluate("scriptText('pass.js')")
    made, rest = re.split(r"(?=/\*\* Loss in nats)", text)
    assert "new Float64Array" in made
    assert not re.search(r"\bnew\b|\.slice\(|\.map\(|\.from\(", rest)


@slow
@needs_browser
def test_simd_products_are_exact_but_for_rounding(functions) -> None:
    """For each layout, and for sizes that blocks do not divide. The bound is that of any order of the sums."""
    wrong = functions.evaluate("""() => {
      const never = { product() { throw new Error("no SIMD"); } };
      const [fast, withSlow] = [simdKernels(never), simdKernels(kernels)];
      const random = randomNumbers(20240611);
      const size = () => 1 + Math.floor(40 * random());
      return Array.from({ length: 300 }, () => [size(), size(), size()]).filter(([rows, inner, columns]) => {
        const simd = rows < 4 || columns < 8 || inner === 1 ? withSlow : fast;
        const numbers = simd.roomFor([rows * inner, inner * columns, rows * columns], inner * columns);
        const [a, b] = [rows, columns].map((side) => numbers(side * inner));
        for (const matrix of [a, b]) matrix.forEach((_, k) => (matrix[k] = normal(random)));
        const out = numbers(rows * columns);
        const layouts = [[inner, 1, columns, 1], [1, rows, columns, 1], [inner, 1, 1, inner]];
        return layouts.some((layout) => {
          out.fill(NaN);
          simd.product(out, a, b, rows, inner, columns, ...layout);
          const [exact, sizes] = [0, 1].map((k) => {
            const [x, y] = [a, b].map((matrix) => Float64Array.from(matrix, k ? Math.abs : (value) => value));
            const found = new Float64Array(rows * columns);
            kernels.product(found, x, y, rows, inner, columns, ...layout);
            return found;
          });
          return !out.every((value, k) => Math.abs(value - exact[k]) <= (inner + 1) * 2 ** -24 * sizes[k]);
        });
      });
    }""")
    assert wrong == []


@slow
@needs_browser
def test_simd_writes_nowhere_else(functions) -> None:
    """Whatever sizes a reader's pass gives, and for parts of arrays: then the kernels in JavaScript compute."""
    found = functions.evaluate("""() => {
      const { roomFor, product, tanh } = simdKernels(kernels);
      const made = (lengths, transposed) => {
        const numbers = roomFor(lengths, transposed);
        return lengths.map((length) => numbers(length).fill(2));
      };
      const changed = (arrays) => arrays.map((array) => array.some((value) => value !== 2));
      const found = {};
      let [a, b, out, after] = made([16 * 8, 8 * 16, 16 * 16, 64], 8 * 16);
      product(out, a, b, 32, 8, 16, 8, 1, 16, 1);
      product(out, a, b, 16, 8, 32, 8, 1, 32, 1);
      product(out, a, b, 16, 0, 16, 8, 1, 16, 1);
      found.sizes = changed([a, b, after]);
      tanh(out.fill(2).subarray(0, 3));
      found.part = changed([out.subarray(3), after]);
      [a, b, out] = made([16 * 8, 40 * 8, 16 * 40], 8);
      product(out, a, b, 16, 8, 40, 8, 1, 1, 8);
      found.transposed = [...new Set(out)];
      return found;
    }""")
    assert found == {"sizes": [False] * 3, "part": [False] * 2, "transposed": [32]}


@slow
@needs_browser
def test_a_worker_uses_simd(functions) -> None:
    assert functions.evaluate("""() => {
      const before = { ...kernels };
      serveTraining();
      const changed = Object.keys(before).every((name) => kernels[name] !== before[name]);
      Object.assign(kernels, before);
      onmessage = null;
      return changed;
    }""")


@slow
@needs_browser
def test_a_browser_without_webassembly_trains_the_same(functions) -> None:
    losses = functions.evaluate("""() => {
      const state = trainState(data.run);
      const lossesOf = (start) => new Promise((done) => {
        const losses = [];
        const training = new TrainingRun(trainerOptions(state, data.run), start + state.pass, (message) => {
          if (message.kind === "error") done(message.text);
          if (message.kind === "losses") losses.push(...message.losses);
          if (losses.length < 20) return;
          training.end();
          done(losses);
        });
        for (let k = 0; k < 20; k++) training.send("step");
      });
      const without = "if (!delete self.WebAssembly || 'WebAssembly' in self) throw new Error('it is there');";
      return Promise.all([lossesOf(""), lossesOf(without)]);
    }""")
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


@slow
@needs_browser
def test_tanh(functions) -> None:
    """Of kernels in JavaScript and with SIMD, against NumPy's; for lengths that registers do not divide, too."""
    x = np.concatenate([np.linspace(-30, 30, 4001), np.logspace(-8, 2, 998), [-1e30, 1e30, 0, -0.0]]).astype(np.float32)
    for length in (1, 2, 3, 5, 8, 4999, len(x)):
        some = np.random.default_rng(length).permutation(x)[:length]
        slow, fast = functions.evaluate(
            """(given) => {
              const { roomFor, tanh } = simdKernels(kernels);
              const numbers = roomFor([given.length, 4], 0);
              const [slow, fast, after] = [Float64Array.from(given), numbers(given.length), numbers(4).fill(7)];
              fast.set(given);
              kernels.tanh(slow);
              tanh(fast);
              if (!after.every((value) => value === 7)) throw new Error("beyond the end");
              return [[...slow], [...fast]];
            }""",
            some.tolist(),
        )
        expected = np.tanh(some.astype(np.float64))
        np.testing.assert_allclose(slow, expected, rtol=0, atol=4.5e-16)
        np.testing.assert_allclose(fast, expected, rtol=0, atol=2e-7)
        assert np.abs(fast).max() <= 1
    kept = functions.evaluate("""() => {
      const { roomFor, tanh } = simdKernels(kernels);
      const x = roomFor([5], 0)(5);
      x.set([NaN, Infinity, -Infinity, 0, NaN]);
      tanh(x);
      return [...x].map(String);
    }""")
    assert kept == ["NaN", "1", "-1", "0", "NaN"]


@slow
@needs_browser
def test_numbers_of_a_training_keep_their_place(functions) -> None:
    """A batch size that changes often takes no more memory, and no parameter is lost."""
    held = functions.evaluate("""() => {
      const before = { ...kernels };
      useSimd();
      const sizes = { V: 9, T: 3, E: 4, H: 20 };
      const training = Int32Array.from([1, 2, 0, 3, 4, 5, 0]);
      const options = { sizes, training, epsilon: 1e-5, smoothing: 0, seed: 1, learningRate: 0.1 };
      const schedule = { milestones: [], gamma: 1 };
      const trainer = new Trainer({ ...options, schedule, parameters: initialParameters(sizes, 3), batchSize: 4 });
      for (let k = 0; k < 300; k++) {
        trainer.step();
        const kept = Object.values(trainer.parameters).map((parameter) => [...parameter]);
        trainer.batchSize = 2 + ((37 * k) % 60);
        if (trainer.distributions() !== null) throw new Error("of no batch");
        const same = Object.values(trainer.parameters).every((now, i) => now.every((x, j) => x === kept[i][j]));
        if (!same) throw new Error(`lost in change ${k}`);
      }
      Object.assign(kernels, before);
      return trainer.parameters.W1.buffer.byteLength;
    }""")
    assert held < 200_000


# The mistakes, and the check that finds them.


@slow
@needs_browser
@given(
    n=st.integers(2, 32),
    T=st.integers(1, 5),
    H=st.integers(1, 40),
    V=st.integers(2, 40),
    first_bias=st.booleans(),
    smoothing=st.sampled_from([0.0, 0.2]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=30)
def test_the_check_finds_no_fault_in_the_correct_pass(functions, n, T, H, V, first_bias, smoothing, seed) -> None:
    p, X, Y = problem(n, T, 4, H, V, first_bias=first_bias, dtype=torch.float64, seed=seed)
    assert functions.evaluate(CHECKED, numbers(p, X, Y, smoothing)) == []


@needs_browser
@slow
def test_every_mistake_has_its_gradients(functions) -> None:
    assert functions.evaluate("MISTAKES.map(({ name }) => name)") == list(WRONG)
    assert functions.evaluate("MISTAKES.map(({ right }) => scriptText('pass.js').split(right).length)") == [2] * len(
        WRONG
    )


@slow
@needs_browser
@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_makes_its_gradients_wrong_and_no_others(browser, path, mistake) -> None:
    p, X, Y = problem(n=24, H=20, dtype=torch.float64, seed=5)
    given = numbers(p, X, Y, 0.1)
    with opened(browser, path) as page:
        right = page.evaluate(GRADIENTS, given)
        text = page.evaluate("(name) => passWith(name)", mistake)
        page.evaluate(text.replace('"use strict";', "") + "null")  # replaces the functions of the page
        wrong = page.evaluate(GRADIENTS, given)
        found = page.evaluate(CHECKED, given)
    changed = [name for name in p.views if not np.allclose(right[name], wrong[name], rtol=1e-9, atol=1e-12)]
    assert wrong["loss"] == right["loss"]
    assert changed == found == sorted(WRONG[mistake].split(), key=list(p.views).index)


@slow
@needs_browser
def test_the_page_names_the_wrong_gradients(page) -> None:
    assert checked(page) == "All gradients are correct."
    for mistake, wrong in WRONG.items():
        page.get_by_label("Backward pass").select_option(mistake)
        page.wait_for_selector(".train-samples li")
        found = re.findall(r"d(\w+)", checked(page))
        assert sorted(found) == sorted(wrong.split()), mistake
    assert f"train.mistake={mistake}" in page.url
    page.get_by_text("Read and change the pass").click()
    page.wait_for_function("() => document.querySelector('textarea.code').scrollTop > 500")


@slow
@needs_browser
def test_a_reader_changes_the_pass(page) -> None:
    page.get_by_text("Read and change the pass").click()
    text = page.get_by_label("JavaScript of the pass")
    right = text.input_value()
    text.fill(right.replace("sumOfRows(db2, dlogits, n);", "db2.fill(0);"))
    press(page, "Train with this text")
    assert checked(page) == "Wrong: db2."
    text.fill("function trainingPass( {")
    press(page, "Train with this text")
    page.wait_for_selector(
        ".train-message:has-text('After the last line, where a bracket may be missing: SyntaxError')"
    )
    assert page.get_by_role("button", name="Start").is_disabled()
    text.fill(right + "const kernels = null;")
    press(page, "Train with this text")
    page.wait_for_selector(
        ".train-message:text-is(\"The pass does not run. SyntaxError: Identifier 'kernels' has already been declared\")"
    )
    press(page, "Restore the correct pass")
    assert checked(page) == "All gradients are correct."
    assert text.input_value() == right
    assert page.inner_text("#pass-problem") == ""


@slow
@needs_browser
@pytest.mark.parametrize(("wrong", "error"), [("sumOfRows(db2;", "SyntaxError"), ("sumOfRow(db2);", "ReferenceError")])
def test_an_error_of_the_pass_has_its_line(page, wrong, error) -> None:
    page.get_by_text("Read and change the pass").click()
    text = page.get_by_label("JavaScript of the pass")
    right = text.input_value()
    line = right[: right.index("sumOfRows(db2, dlogits, n);")].count("\n") + 1
    text.fill(right.replace("sumOfRows(db2, dlogits, n);", wrong))
    press(page, "Train with this text")
    if error == "ReferenceError":  # when the line is reached
        press(page, "Step")
    page.wait_for_selector(f"#pass-problem:has-text('Line {line}: {error}')")
    assert page.locator(".train-lines .wrong").inner_text() == str(line)
    press(page, f"Go to line {line}")
    chosen = "(e) => e.value.slice(e.selectionStart, e.selectionEnd).trim()"
    assert text.evaluate(chosen) == wrong
    numbers, view = page.locator(".train-lines"), "(e) => e.scrollTop"
    page.wait_for_function("() => document.querySelector('.train-lines').scrollTop > 0")
    assert numbers.evaluate(view) == text.evaluate(view)
    assert numbers.inner_text().split() == [str(n + 1) for n in range(text.input_value().count("\n") + 1)]


@slow
@needs_browser
def test_a_pass_without_functions_writes_nothing_on_the_console(page) -> None:
    page.get_by_text("Read and change the pass").click()
    page.get_by_label("JavaScript of the pass").fill("")
    press(page, "Train with this text")
    page.wait_for_selector("#pass-problem:has-text('is not defined')")


@slow
@needs_browser
def test_a_reader_is_told_of_an_endless_loop(page) -> None:
    page.get_by_text("Read and change the pass").click()
    text = page.get_by_label("JavaScript of the pass")
    text.fill(text.input_value().replace("sumOfRows(db2, dlogits, n);", "while (Date.now() > 0) {}"))
    press(page, "Train with this text")
    page.wait_for_selector(".train-samples li")
    press(page, "Start")
    page.wait_for_selector(".train-message:has-text('has not answered for 3 seconds')")
    press(page, "Rewind")
    page.wait_for_selector(".train-samples li")
    assert page.inner_text(".train-message") == ""
    press(page, "Restore the correct pass")
    assert checked(page) == "All gradients are correct."


# Training.


@needs_browser
@slow
def test_training_lowers_the_loss_pauses_and_rewinds(page) -> None:
    first = [step(page) for _ in range(4)]
    press(page, "Start")
    page.wait_for_function(
        "() => Number(document.querySelector('.train-figures dd').textContent.replace(',', '')) > 1000"
    )
    press(page, "Pause")
    settle(page)
    stopped = figure(page, "step")
    assert float(figure(page, "loss of the latest batches")) < float(first[0]) - 0.5
    assert re.fullmatch(r"[\d,]+", figure(page, "steps per second"))
    assert re.fullmatch(r"[\d.]+ %", figure(page, "saturated tanh units"))
    assert page.locator(".train-histograms figure").count() == 8
    settle(page)
    assert figure(page, "step") == stopped
    press(page, "Rewind")
    page.wait_for_selector(".train-samples li")
    assert [step(page) for _ in range(4)] == first
    assert page.locator(".train-legend li").count() == 2
    press(page, "Clear earlier curves")
    page.wait_for_function("() => document.querySelectorAll('.train-legend li').length === 1")


@slow
@needs_browser
def test_the_worker_trains_as_the_functions_of_the_page(page) -> None:
    expected = page.evaluate("""() => {
      const trainer = new Trainer(trainerOptions(trainState(data.run), data.run));
      return Array.from({ length: 5 }, () => trainer.step().toFixed(4));
    }""")
    assert [step(page) for _ in range(5)] == expected


@slow
@needs_browser
@given(
    names=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=12), min_size=1, max_size=8),
    T=st.integers(1, 20),
    places=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=10),
)
@settings(max_examples=30)
def test_batches_have_the_contexts_of_names(functions, names, T, places) -> None:
    examples = [(([0] * T + name[:place])[-T:], token) for name in names for place, token in enumerate([*name, 0])]
    drawn, all_of_them = functions.evaluate(
        """([names, T, places]) => {
          const tokens = tokenStream(names);
          const [X, Y] = [new Int32Array(places.length * T).fill(7), new Int32Array(places.length)];
          let drawn = 0;
          drawBatch(tokens, X, Y, () => places[drawn++]);
          const all = sampleOf(tokens, T, 1000, 1);
          return [[[...X], [...Y]], [[...all.X], [...all.Y]]];
        }""",
        [names, T, places],
    )

    def columns(wanted: list[tuple[list[int], int]]) -> list[list[int]]:
        return [[token for context, _ in wanted for token in context], [token for _, token in wanted]]

    assert drawn == columns([examples[math.floor(place * len(examples))] for place in places])
    assert all_of_them == columns(examples)


@slow
@needs_browser
def test_a_long_context_takes_little_memory(browser, tmp_path) -> None:
    """The contexts of all examples would take more than 700 MB."""
    letters = "abcdefghij"
    rng = random.Random(300)
    train = ["".join(rng.choices(letters, k=rng.randint(3, 20))) for _ in range(50_000)]
    names = {"train": train, "val": train[:100], "test": []}
    with opened(browser, written(tmp_path / "page.html", run_of(Sizes(11, 300, 2, 8), letters, names))) as page:
        page.wait_for_selector(".train-samples li")
        losses = [float(step(page)) for _ in range(3)]
        assert np.isfinite(losses).all()
        held = """() => {
          const { training, validation } = trainerOptions(trainState(data.run), data.run);
          return training.byteLength + validation.byteLength;
        }"""
        assert page.evaluate(held) == 4 * sum(len(name) + 1 for name in train + train[:100])


@slow
@needs_browser
def test_settings_change_the_run(page) -> None:
    page.get_by_label("Learning rate").focus()
    page.keyboard.press("Home")
    assert page.locator(".train-value").first.inner_text() == "0.0001"
    losses = [step(page) for _ in range(2)]
    page.get_by_label("Batch size").focus()
    page.keyboard.press("Home")
    assert step(page) not in losses
    page.get_by_label("Hidden units").focus()
    page.keyboard.press("Home")
    page.wait_for_function("() => document.querySelector('.train-figures dd').textContent === '0'")
    assert checked(page) == "All gradients are correct."
    assert page.get_by_label("Weights at the start").is_disabled()
    assert page.url.endswith("#train.rate=0.0001&train.batch=2&train.hidden=1")
    page.reload()
    page.wait_for_selector(".train-samples li")
    assert page.locator(".train-value").all_inner_texts()[:3] == ["0.0001", "2", "1"]


def legend(page: Page) -> list[str]:
    page.evaluate("() => new Promise((done) => requestAnimationFrame(done))")
    found: list[str] = page.locator(".train-legend li").all_inner_texts()
    return found


@slow
@needs_browser
def test_curves_are_told_apart(page) -> None:
    step(page)
    rate = page.get_by_label("Learning rate")
    rate.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    step(page)
    assert legend(page) == ["1: the correct pass, rate 0.1, then 0.2 from step 1, batch size 32"]
    assert page.locator(".train-plot line[stroke-dasharray]").count() == 1
    press(page, "Rewind")
    page.wait_for_selector(".train-samples li")
    page.get_by_label("Batch size").focus()
    page.keyboard.press("Home")
    step(page)
    assert legend(page)[1] == "2: the correct pass, rate 0.2, batch size 2"
    press(page, "Clear earlier curves")
    use(page, "ada\nbob\nada")
    assert "Your text repeats 1 name; each one counts." in page.inner_text(".train-details p")
    step(page)
    assert legend(page)[-1] == "3: the correct pass, 3 own names, rate 0.2, batch size 2"


@slow
@needs_browser
def test_the_plot_fits_the_present_run(functions) -> None:
    """What earlier runs have far above it is cut off, and a wide range has a logarithmic scale."""
    found = functions.evaluate("""() => {
      const range = (...runs) => rangeOfLosses(runs.map((losses, k) => {
        const curve = new LossCurve(k + 1, "", { learningRate: 1, batchSize: 2 }, "accent");
        losses.forEach((loss, step) => curve.add(step + 1, [loss]));
        return curve;
      }));
      return [range([3.4, 2.2]), range([120, 50, Infinity], [3.4, 2.2]), range([2.1], [3.4, 90]), range([3, 2], []),
              range([0, 1, NaN])];
    }""")
    linear, cut, wide, begun, zero = found
    assert linear == cut
    assert (linear["logarithmic"], wide["logarithmic"], zero["logarithmic"]) == (False, True, True)
    assert 2 < linear["range"][0] < 2.2
    assert 3.4 < linear["range"][1] < 3.6
    assert wide["range"][0] < 2.1
    assert wide["range"][1] > 90
    assert begun["range"][1] > 3
    assert zero["range"][0] > 0
    ticks = functions.evaluate("logTicks(1.9, 130)")
    assert ticks == [2, 5, 10, 20, 50, 100]


@slow
@needs_browser
@pytest.mark.parametrize("own", [0.1, 0.3, 0.123, 1e-7, 25.0, 0.0])
def test_learning_rates_are_round_numbers_and_the_runs_own(functions, own) -> None:
    rates = functions.evaluate("(own) => learningRates({ learning_rate: own })", own)
    assert own in rates
    assert rates == sorted(set(rates))
    others = [rate for rate in rates if rate != own]
    assert {f"{rate:.1e}"[:3] for rate in others} == {"1.0", "1.5", "2.0", "3.0", "5.0", "7.0"}
    assert (min(others), max(others)) == (1e-4, 10)
    assert functions.evaluate("(rates) => rates.map(rateText)", [0.3, 0.15, 1e-4, 1e-7]) == [
        "0.3",
        "0.15",
        "0.0001",
        "1e−7",
    ]


@slow
@needs_browser
@given(
    milestones=st.lists(st.integers(1, 200), max_size=6, unique=True).map(sorted),
    gamma=st.floats(0.01, 2),
    lr=st.floats(1e-4, 10),
)
@settings(max_examples=20)
def test_the_learning_rate_follows_the_runs_schedule(functions, milestones, gamma, lr) -> None:
    optim = SgdConfig(lr=lr, schedule=StepsSchedule(milestones=milestones, gamma=gamma))
    told = run_data.schedule_of(optim.schedule)
    rates = functions.evaluate(
        """([schedule, learningRate]) => {
          const trainer = new Trainer({ ...trainerOptions(trainState(data.run), data.run), schedule, learningRate });
          return Array.from({ length: 210 }, (_, steps) => Object.assign(trainer, { steps }).rate);
        }""",
        [told, lr],
    )
    assert rates == pytest.approx(learning_rates(optim, 0, 210, 210), rel=1e-12)


@needs_browser
@slow
def test_the_schedule_is_told(functions) -> None:
    def text(schedule: Schedule | None) -> str:
        found: str = functions.evaluate("scheduleText", run_data.schedule_of(schedule))
        return found

    assert text(None) == "The learning rate is constant, as in the run."
    one = StepsSchedule(milestones=[15_000], gamma=0.5)
    assert text(one) == "At step 15,000, the rate is multiplied by 0.5, as in the run."
    many = text(StepsSchedule(milestones=[5, 1000, 2000, 3000, 4000, 5000]))
    assert many.startswith("At each of the steps 5; 1,000; 2,000; 3,000; …, the rate")
    other = text(CosineSchedule())
    assert "At step 100,000, the rate is multiplied by 0.1, as in the lecture." in other
    assert "cosine" in other


@slow
@needs_browser
def test_the_address_has_what_is_shown(page, path) -> None:
    address = "location.href"
    assert page.evaluate(address) == path.as_uri()
    page.get_by_label("Learning rate").focus()
    page.keyboard.press("ArrowRight")
    assert "#train.rate=" in page.evaluate(address)
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(address) == path.as_uri()
    page.evaluate("location.hash = 'train.rate=-1&train.batch=1000'")
    page.wait_for_function("() => location.hash === '#train.rate=0.0001&train.batch=512'")
    assert page.locator(".train-value").all_inner_texts()[:2] == ["0.0001", "512"]


@slow
@needs_browser
def test_a_loss_that_is_no_number_ends_training(page) -> None:
    page.get_by_label("Learning rate").focus()
    page.keyboard.press("End")
    page.evaluate("location.hash = 'train.rate=10&train.mistake=target&train.hidden=300'")
    page.wait_for_function("() => document.querySelector('.train-legend').textContent.includes('H = 300')")
    text = page.evaluate("passWith('')").replace("(1 - h[k] * h[k]) * dh[k]", "1e200 * dh[k]")
    page.get_by_text("Read and change the pass").click()
    page.get_by_label("JavaScript of the pass").fill(text)
    press(page, "Train with this text")
    press(page, "Start")
    page.wait_for_selector(".train-message:has-text('the loss is not a finite number')")
    assert page.get_by_role("button", name="Start").is_visible()


@slow
@needs_browser
def test_training_continues_from_the_trained_weights(browser, trained, tmp_path) -> None:
    path, remarks = write_play_page(trained, tmp_path / "play.html")
    assert remarks == []
    with opened(browser, path, "view=train") as page:
        page.wait_for_selector(".train-samples li")
        untrained = float(figure(page, "validation loss"))
        page.get_by_label("Weights at the start").select_option("trained")
        page.wait_for_selector(".train-samples li")
        assert float(figure(page, "validation loss")) < untrained - 0.5
        with page.expect_download() as download:
            press(page, "Save the weights as JSON")
        weights = json.loads(Path(download.value.path()).read_text())
        assert weights["sizes"] == {"V": 27, "T": 3, "E": 4, "H": 32}
        assert len(weights["parameters"]["W1"]) == 3 * 4 * 32
        for name, start in (("Save the plot as SVG", b"<svg"), ("Save the plot as PNG", b"\x89PNG")):
            with page.expect_download() as download:
                press(page, name)
            assert Path(download.value.path()).read_bytes().startswith(start)


@pytest.mark.parametrize("excess", [0, 1])
def test_a_large_run_has_no_initial_weights(trained, monkeypatch, excess) -> None:
    checkpoint = load_checkpoint(trained)
    sizes = checkpoint.model.sizes
    monkeypatch.setattr(run_data, "LARGEST_INITIAL", sizes.parameters - excess)
    initial = run_data.run_data("some", checkpoint, None)["run"]["initial"]
    parameters, _ = initialise(sizes, checkpoint.config.train.seed)
    expected = {name: encoded(array) for name, array in parameters.arrays().items()}
    assert initial == (None if excess else expected)


@slow
@needs_browser
def test_without_initial_weights_training_begins_with_new_ones(browser, trained, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(run_data, "LARGEST_INITIAL", 0)
    path, _ = write_play_page(trained, tmp_path / "play.html")
    with opened(browser, path) as page:
        page.get_by_role("link", name="Train").click()
        page.wait_for_selector(".train-samples li")
        start = page.get_by_label("Weights at the start")
        titles = start.locator("option:not([hidden])").all_inner_texts()
        assert titles == ["new weights", "the run's trained weights"]
        untrained = float(figure(page, "validation loss"))
        losses = [step(page) for _ in range(3)]
        start.select_option("trained")
        page.wait_for_selector(".train-samples li")
        assert float(figure(page, "validation loss")) < untrained - 0.5
        start.select_option("new weights")
        page.wait_for_selector(".train-samples li")
        assert float(figure(page, "validation loss")) == untrained
        assert [step(page) for _ in range(3)] == losses


@slow
@needs_browser
def test_another_view_does_not_end_a_run(browser, trained, tmp_path) -> None:
    path, _ = write_play_page(trained, tmp_path / "play.html")
    with opened(browser, path) as page:
        page.get_by_role("link", name="Train").click()
        page.wait_for_selector(".train-samples li")
        page.get_by_label("Hidden units").focus()
        page.keyboard.press("Home")
        page.wait_for_selector(".train-samples li")
        loss = step(page)
        page.go_back()
        page.wait_for_selector(".play")
        assert not page.is_visible(".train-figures")
        page.go_forward()
        page.wait_for_selector(".train-figures")
        assert figure(page, "step") == "1"
        assert figure(page, "loss of the latest batches") == loss


# Names.

HOSTILE = [
    "</script><script>boom()",
    'say "hi"',
    "ali\u200f",
    "😀👩‍👩‍👧",
    "<b>bold",
    "a\u0301b",
    "עברית",
    "x y",
    "&amp;",
]


@slow
@needs_browser
@pytest.mark.parametrize(
    "names", [HOSTILE, ["a", "a"], ["ab", "ba", "abc"] * 20], ids=["hostile", "one letter", "many"]
)
def test_a_reader_trains_on_names(page, names) -> None:
    use(page, "\r\n".join(["", *(f" {name}\t" for name in names), " "]))
    assert "of your names" in page.locator(".train-details p").first.inner_text()
    count = page.evaluate(
        "(text) => { const n = namesOfText(text); return [n.training.length, n.validation.length, n.letters]; }",
        "\n".join(names),
    )
    assert count[0] + count[1] == len(names)
    assert count[2] == "".join(sorted({letter for name in names for letter in name}))
    press(page, "Start")
    page.wait_for_function(
        "() => Number(document.querySelector('.train-figures dd').textContent.replace(',', '')) > 300"
    )
    press(page, "Pause")
    settle(page)
    assert checked(page) == "All gradients are correct."
    letters = {letter for name in names for letter in name}
    samples = page.locator(".train-samples bdi").all_text_contents()
    assert samples
    assert set("".join(samples)) <= letters
    assert page.locator("main b, main script").count() == 0


@slow
@needs_browser
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("emma", "Training needs at least 2 names"),
        (" \n\n", "Training needs at least 2 names"),
        ("emma\no.k", "can't contain “.”"),
        ("emma\nav\x00a", "the control character U+0000"),
        ("emma\nav\u2028a", "the control character U+2028"),
        ("a\n" + "".join(map(chr, range(0x4E00, 0x4E00 + 8193))), "8,192 different letters at most"),
        ("ab\n" * 400_000, "1,048,576 letters at most"),
    ],
    ids=["one", "none", "dot", "zero", "line separator", "letters", "long"],
)
def test_names_that_are_refused(functions, text, problem) -> None:
    message = functions.evaluate(
        "(text) => { try { namesOfText(text); } catch (error) { return error.message; } }", text
    )
    assert problem in message


def use(page: Page, text: str) -> None:
    page.get_by_text("Train on your own names").click()
    page.get_by_label("Names, one on each line").fill(text)
    press(page, "Use these names")
    page.wait_for_selector(".train-samples li")


@slow
@needs_browser
def test_refused_names_leave_the_run_as_it_is(page) -> None:
    loss = step(page)
    page.get_by_text("Train on your own names").click()
    page.get_by_label("Names, one on each line").fill("one.")
    press(page, "Use these names")
    assert "at least 2 names" in page.get_by_role("alert").inner_text()
    assert figure(page, "loss of the latest batches") == loss


@slow
@needs_browser
def test_a_page_without_names_asks_for_some(browser, tmp_path) -> None:
    with opened(browser, written(tmp_path / "page.html", run_of(Sizes(3, 2, 2, 3), "ab", None))) as page:
        assert page.get_by_role("button", name="Start").is_disabled()
        page.get_by_label("Names, one on each line").fill("anna\nbob")
        press(page, "Use these names")
        page.wait_for_selector(".train-samples li")
        step(page)


@slow
@needs_browser
@pytest.mark.parametrize(
    ("sizes", "letters"),
    [
        (Sizes(2, 1, 1, 1, first_bias=False), "a"),
        (Sizes(27, 8, 3, 1), "abcdefghijklmnopqrstuvwxyz"),
        (Sizes(8193, 3, 4, 16), "".join(map(chr, range(0x4E00, 0x4E00 + 8192)))),
        (Sizes(4, 2, 600, 700), "abc"),
    ],
    ids=["smallest", "T=8", "V=8193", "wide"],
)
def test_networks_of_any_size_train(browser, tmp_path, sizes, letters) -> None:
    names = {"train": [letters[0], letters[-5:], letters[:7]], "val": [], "test": []}
    with opened(browser, written(tmp_path / "page.html", run_of(sizes, letters, names, complete=False))) as page:
        page.wait_for_selector(".train-samples li")
        losses = np.array([float(step(page)) for _ in range(20)])
        assert np.isfinite(losses).all()
        assert losses[-5:].mean() < losses[:5].mean()
        assert checked(page) == "All gradients are correct."
        assert "only the first part" in page.locator(".train-details p").first.text_content()


# For everyone.


@slow
@needs_browser
def test_the_keyboard_is_enough(page) -> None:
    def to(name: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.textContent") == name:
                return
        raise AssertionError(f"no way to {name}")

    to("Step")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('.train-figures dd').textContent === '1'")
    to("Check the gradients")
    page.keyboard.press("Space")
    page.wait_for_selector(".train-results table")
    to("Train on your own names")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("ada")
    page.keyboard.press("Enter")
    page.keyboard.type("bob")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('.train-details p').textContent.includes('2 of your names')")


@slow
@needs_browser
@pytest.mark.parametrize(("width", "dark"), [(360, False), (1280, True)])
def test_nothing_stands_in_anybodys_way(browser, path, width, dark) -> None:
    from axe_playwright_python.sync_playwright import Axe

    with opened(browser, path, width=width, dark=dark) as page:
        page.wait_for_selector(".train-samples li")
        step(page)
        checked(page)
        for summary in page.locator("summary").all():
            summary.click()
        found = Axe().run(page).response["violations"]
        assert [one for one in found if one["impact"] in ("serious", "critical")] == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
