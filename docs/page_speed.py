"""Measure training steps per second in a page, beside `makemore train`, in turns.

    python docs/page_speed.py [--rounds 5]

The page of `makemore play` trains in Chromium, driven by Playwright, with its own samples and validation losses
included. Both train the lecture's network (contexts of 3, embeddings of 10) on the bundled names in batches of 32.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from playwright.sync_api import Page

SECONDS = 3  # of training in the page, after one second to warm up
STEPS = {"tensor": 6_000, "kernel": 20_000}
SIZES = (64, 200)
CONTENDERS = (("tensor", "1"), ("tensor", "auto"), ("kernel", "1"))
IN_PAGE = """(seconds) => new Promise((done) => {
  const state = trainState(data.run);
  let steps = 0;
  const training = new TrainingRun(trainerOptions(state, data.run), state.pass, (message) => {
    if (message.kind === "losses") steps = message.step;
  });
  training.send("start");
  setTimeout(() => {
    const [began, before] = [performance.now(), steps];
    setTimeout(() => {
      training.end();
      done(((steps - before) / (performance.now() - began)) * 1000);
    }, seconds * 1000);
  }, 1000);
})"""


def makemore(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "makemore_cli", *arguments], check=True, capture_output=True)


def trained(folder: Path, hidden: int, engine: str, threads: str) -> float:
    """Steps per second of a run."""
    settings = [f"model.hidden_size={hidden}", f"train.threads={threads}", f"train.steps={STEPS[engine]}"]
    given = [part for setting in settings for part in ("--set", setting)]
    makemore(
        "train", "--config", "lecture", "--data", "bundled", "--engine", engine, *given, "--out", str(folder), "-q"
    )
    found: float = json.loads((folder / "summary.json").read_text())["steps_per_second"]
    return found


def measure(page: Page, folder: Path, hidden: int, rounds: int) -> dict[str, list[float]]:
    """Steps per second of each contender, in turns."""
    figures: dict[str, list[float]] = {}
    for turn in range(rounds):
        figures.setdefault("page", []).append(page.evaluate(IN_PAGE, SECONDS))
        for engine, threads in CONTENDERS:
            speed = trained(folder / f"{hidden}-{turn}-{engine}-{threads}", hidden, engine, threads)
            figures.setdefault(f"{engine}, threads {threads}", []).append(speed)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with tempfile.TemporaryDirectory() as made, sync_playwright() as playwright:
        folder = Path(made)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for hidden in SIZES:
            trained(folder / str(hidden), hidden, "kernel", "1")
            makemore("play", str(folder / str(hidden)))
            page = browser.new_page()
            page.goto((folder / str(hidden) / "play.html").as_uri() + "#view=train")
            figures = measure(page, folder, hidden, rounds)
            print(f"{hidden} hidden units, {rounds} rounds: steps per second")
            for name, speeds in figures.items():
                ratio = statistics.median(ours / theirs for ours, theirs in zip(figures["page"], speeds, strict=True))
                print(
                    f"  {name:22} median {statistics.median(speeds):8,.0f}, best {max(speeds):8,.0f}; page {ratio:.2f}"
                )
        browser.close()


if __name__ == "__main__":
    main()
