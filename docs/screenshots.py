"""Take the screenshots of docs/pages.md from a home that `kbsync demo` left behind.

    python docs/screenshots.py HOME

needs Debian's chromium and the extra `dev`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from kbsync.application import Application
from kbsync.home import Home
from kbsync.pages.server import serving
from kbsync.settings.loading import load

IMAGES = Path(__file__).parent / "images"
SIZE = {"width": 1120, "height": 760}


def main(home: Home) -> None:
    """Write one PNG for each page that is shown."""
    IMAGES.mkdir(exist_ok=True)
    with (
        Application(home, load(home.config, {})) as app,
        serving(app, "127.0.0.1:0") as address,
        sync_playwright() as started,
    ):
        browser = started.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(base_url=address, viewport=SIZE)
        page.goto("/")
        page.screenshot(path=IMAGES / "overview.png")
        page.goto("/quarantine")
        page.get_by_role("rowheader").get_by_role("link").first.click()
        page.screenshot(
            path=IMAGES / "review.png", full_page=True, clip={"x": 0, "y": 0, "width": 1120, "height": 1000}
        )
        browser.close()


if __name__ == "__main__":
    main(Home(Path(sys.argv[1])))
