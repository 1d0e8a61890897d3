"""Every page on the data of `kbsync demo`, in Chromium: a real model, real runs, more rows than a page holds."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from kbsync.application import Application
from kbsync.home import Home
from kbsync.pages.server import serving
from kbsync.settings.loading import load
from tests.support.browsing import CHROMIUM, SCREENS, Tabs, browser, faults
from tests.support.paths import REPOSITORY

pytest.importorskip("playwright.sync_api", reason="`pip install playwright` is in the extra `dev`")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(1_800),
    pytest.mark.skipif(CHROMIUM is None, reason="`apt-get install chromium` lets these tests run"),
]
ITALY = "The head of government of Italy is"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The home that `kbsync demo` leaves behind, served."""
    home = tmp_path_factory.mktemp("demo") / "home"
    subprocess.run(
        [sys.executable, "-m", "kbsync", "--home", str(home), "demo", "--json"],
        cwd=REPOSITORY,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    where = Home(Path(home))
    with Application(where, load(where.config, {})) as app, serving(app, "127.0.0.1:0") as bound:
        yield bound


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as made:
        yield made


@pytest.fixture
def open_page(chromium: Any, address: str) -> Iterator[Any]:
    tabs = Tabs(chromium, address)
    yield tabs.open
    tabs.close()
    assert tabs.wrong == []


def every_page(address: str) -> list[str]:
    """Every list, and of each kind of thing the newest one."""
    waiting = httpx.get(f"{address}/quarantine.json").json()["waiting"]
    found = httpx.get(f"{address}/facts.json?q=United+Kingdom").json()["facts"]
    runs = httpx.get(f"{address}/runs.json").json()["runs"]
    return [
        "/",
        "/runs",
        *(f"/runs/{run['id']}" for run in runs[:3]),
        "/facts",
        "/facts?status=wanted&relation=wdt%3AP6",
        f"/facts/{found[-1]['id']}",
        "/quarantine",
        f"/quarantine/{waiting[0]['fact']['id']}",
        "/checkpoints",
        "/checkpoints/compare?a=2&b=4",
        "/checkpoints/weights?a=2&b=4",
        "/audit",
        "/audit?kind=fact.quarantined",
        f"/ask?prompt={ITALY.replace(' ', '+')}",
        "/survey",
    ]


@pytest.mark.parametrize("screen", SCREENS)
def test_no_page_of_the_demo_has_a_serious_fault(address: str, open_page: Any, screen: str) -> None:
    page = open_page(screen)
    found = []
    for path in every_page(address):
        page.goto(path)
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        found += faults(page)
    assert found == []
