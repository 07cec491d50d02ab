"""The browser that draws the pages: an installed Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
"""Its path, or None."""
INSTALL = "no Chromium; apt-get install -y chromium"


@contextmanager
def chromium() -> Iterator[Browser]:
    sandbox = [] if os.geteuid() else ["--no-sandbox"]  # Chromium refuses to sandbox root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield browser
        browser.close()
