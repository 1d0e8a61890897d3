"""The pages of a real ledger, served over a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from kbsync.application import Application
from kbsync.pages.server import serving
from tests.support.browsing import Tabs, browser
from tests.support.reviewed import Reviewed, reviewed


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Reviewed]:
    made = reviewed(tmp_path)
    yield made
    made.place.application().state.close()


@pytest.fixture
def client(home: Reviewed) -> Iterator[httpx.Client]:
    """A browser on this machine, as far as headers go."""
    app = home.place.application()
    with (
        Application(app.home, app.settings, now=app.now) as own,
        serving(own, "127.0.0.1:0") as address,
        httpx.Client(base_url=address, headers={"Accept": "text/html"}, timeout=60) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as made:
        yield made


@pytest.fixture
def open_page(chromium: Any, address: str) -> Iterator[Any]:
    """Opens a page of the module's `address` on one of the screens.

    Whatever it asks of another host, or logs as an error, fails the test.
    """
    tabs = Tabs(chromium, address)
    yield tabs.open
    tabs.close()
    assert tabs.wrong == []
