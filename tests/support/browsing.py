"""Debian's Chromium, driven by Playwright: pages of one server on a desk and a phone, in both colour schemes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.paths import REPOSITORY

CHROMIUM = shutil.which("chromium")
WAIT_MS = 60_000
AXE = (REPOSITORY / "tests" / "fixtures" / "axe.min.js").read_text(encoding="utf-8")
"""axe-core 4.14.1, by Deque Systems (MPL 2.0)."""
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
_DESK: dict[str, Any] = {"viewport": {"width": 1280, "height": 900}}
_PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
SCREENS: dict[str, dict[str, Any]] = {
    "desk": {**_DESK, "color_scheme": "light"},
    "desk at night": {**_DESK, "color_scheme": "dark"},
    "phone": {**_PHONE, "color_scheme": "light"},
    "phone at night": {**_PHONE, "color_scheme": "dark"},
}


@contextmanager
def browser() -> Iterator[Any]:
    """A Chromium without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        made = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


class Tabs:
    """Opens pages of the server at `address`, and collects what is wrong with any of them.

    Wrong is a request to another host, an error on the console, or one that a script raised.
    """

    def __init__(self, chromium: Any, address: str) -> None:
        self.wrong: list[str] = []
        self._chromium, self._address = chromium, address
        self._contexts: list[Any] = []

    def open(self, screen: str = "desk", **options: Any) -> Any:
        context = self._chromium.new_context(base_url=self._address, **SCREENS[screen], **options)
        self._contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        page.on("request", lambda one: self._note(one.url, one.url.startswith((self._address, "data:"))))
        page.on("console", lambda one: self._note(one.text, one.type != "error"))
        page.on("pageerror", lambda error: self._note(str(error), False))
        return page

    def _note(self, text: str, right: bool) -> None:
        if not right:
            self.wrong.append(text)

    def close(self) -> None:
        for context in self._contexts:
            context.close()


def faults(page: Any) -> list[str]:
    """Serious and critical faults of accessibility on the page as it is, and whether it is wider than the screen."""
    page.evaluate(AXE)
    result = page.evaluate(f"axe.run(document, {{runOnly: {RULES}}})")
    found = [
        f"{page.url}: {one['id']} at {one['nodes'][0]['html'][:200]}: {one['nodes'][0]['failureSummary'][:300]}"
        for one in result["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    width, screen = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    if width > screen:
        found.append(f"{page.url} is {width} pixels wide on a screen of {screen}")
    return found
