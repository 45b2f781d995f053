"""A real browser that opens the project's pages: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")


@contextmanager
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield started
        finally:
            started.close()


@contextmanager
def opened(browser: Browser, path: Path, state: str = "", *, width: int = 1280, dark: bool = False) -> Iterator[Page]:
    """A page in a tab of its own. Whatever it writes on the console, throws or requests is a failure.

    The state follows the # in its address. Pass it here: an open page rewrites its own address, and a later `goto`
    would race with it.
    """
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", accept_downloads=True
    )
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: problems.append(f"error: {error.stack or error}"))
    page.on("request", lambda request: problems.append(f"request: {request.url}") if _leaves(request.url) else None)
    try:
        page.goto(f"{path.as_uri()}#{state}" if state else path.as_uri())
        yield page
        assert not problems, problems
    finally:
        context.close()


def _leaves(url: str) -> bool:
    return not url.startswith(("file:", "data:", "blob:"))
