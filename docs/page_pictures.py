"""Draw docs/pictures/chain-page.png and train-page.png: what a reader sees of two live pages.

    python docs/page_pictures.py

Needs Playwright, Chromium and Pillow.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

NAMES = ("chain-page", "train-page")
PICTURES = Path(__file__).parent / "pictures"
SECONDS = 8  # of training


def makemore(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "makemore_cli", *arguments], check=True, capture_output=True)


def main() -> None:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with tempfile.TemporaryDirectory() as made, sync_playwright() as playwright:
        chain, run = Path(made) / "chain.html", Path(made) / "quickstart"
        makemore("explain", "--html", str(chain))
        makemore("train", "--out", str(run), "--quiet")
        makemore("play", str(run))
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1160, "height": 720})
        page.goto(chain.as_uri() + "#tensor=hpreact&mistake=h~dhpreact~1&folded=0,1")
        page.screenshot(path=PICTURES / f"{NAMES[0]}.png")
        page.goto((run / "play.html").as_uri() + "#view=train")
        page.get_by_role("button", name="Start").click()
        page.wait_for_timeout(1000 * SECONDS)
        page.get_by_label("Backward pass").select_option(label="dW1 with the wrong sign")
        page.wait_for_timeout(1000 * SECONDS)
        page.screenshot(path=PICTURES / f"{NAMES[1]}.png")
        browser.close()
    for name in NAMES:
        with Image.open(PICTURES / f"{name}.png") as picture:
            few = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)  # a third of the size
        few.save(PICTURES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
