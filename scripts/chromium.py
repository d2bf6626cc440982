"""The system's own Chromium without a window: for tests, the accessibility report and the PDF."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")


def path() -> str | None:
    """Where the browser is; None if none of the usual names is installed."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser that runs nothing in its background and asks no host by itself.

    Raises:
        SystemExit: none is installed.
    """
    found = path()
    if found is None:
        raise SystemExit(f"none of {', '.join(NAMES)} is installed; try: apt-get install chromium")
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        opened = playwright.chromium.launch(executable_path=found, args=flags)
        yield opened
        opened.close()


def typeset(page: Page) -> None:
    """Wait until MathJax has set the formulas of a page of the site, if there are any."""
    page.evaluate("async () => { await window.MathJax?.startup?.promise; }")
