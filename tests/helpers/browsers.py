"""A real browser for tests of pages, where the machine has one."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from dynamic_sparsity.explorer.server import ExplorerServer

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# Machines of tests have no graphics hardware; WebGL is drawn by software.
OPTIONS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


@contextmanager
def launched_browser() -> Iterator:
    """Launch headless Chromium; skip the test where there is none, or no Playwright to drive it."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("there is no Chromium on this machine")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=found, args=OPTIONS)
        yield browser
        browser.close()


@contextmanager
def serving(server: ExplorerServer) -> Iterator[str]:
    """Run a server of the explorer beside the test; yields its address."""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    with server:
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            thread.join()
