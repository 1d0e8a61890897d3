"""Every page on the data of `kbsync demo`, in Chromium: a real model, real runs, more rows than a page holds."""

from __future__ import annotations

import os
import re
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
from tests.support.browsing import CHROMIUM, SCREENS, faults
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


def test_a_run_shows_steps_plots_and_answers_before_and_after(address: str, open_page: Any) -> None:
    page = open_page()
    page.goto("/runs?state=deployed")
    page.get_by_role("rowheader").get_by_role("link").first.click()
    assert page.get_by_role("heading", name="Steps").is_visible()
    assert page.get_by_role("img", name=re.compile("efficacy in .* runs, passes when")).is_visible()
    page.get_by_text("Paraphrases, neighbours and other questions").first.click()
    questions = page.locator("table.inner").first
    assert questions.get_by_text("paraphrase").first.is_visible()
    assert questions.locator("mark").count() > 0, "what differs from before is marked"


def test_two_checkpoints_are_compared_with_their_weights(open_page: Any) -> None:
    page = open_page("phone")
    page.goto("/checkpoints")
    page.get_by_label("Compare from checkpoint 2").check()
    page.get_by_label("Compare to checkpoint 4").check()
    page.get_by_role("button", name="Compare the two").click()
    page.get_by_role("rowheader", name="Layer 1").wait_for()
    assert page.get_by_text("of the base’s norm").first.is_visible()


def test_base_live_and_a_kept_checkpoint_answer_side_by_side(open_page: Any) -> None:
    page = open_page()
    page.goto("/ask")
    page.get_by_label("Prompt").fill(ITALY)
    page.get_by_label("Also ask").select_option("2")
    page.set_default_navigation_timeout(300_000)
    page.get_by_role("button", name="Ask the models").click(timeout=300_000)
    page.get_by_role("heading", name="Answers").wait_for(timeout=300_000)
    answers = {name: page.get_by_role("article", name=name).inner_text() for name in ("Base", "Live")}
    assert "Giuseppe Conte" in answers["Base"]
    assert "Giorgia Meloni" in answers["Live"]
    assert "Giuseppe Conte" in page.get_by_role("article", name="Checkpoint 2").inner_text()
    assert page.get_by_role("link", name="Giorgia Meloni").first.is_visible(), "the fact that explains it"


def test_events_are_filtered_and_exported(open_page: Any) -> None:
    page = open_page()
    page.goto("/audit")
    page.get_by_label("Kind").fill("run.rejected")
    page.get_by_role("button", name="Filter").click()
    rows = page.get_by_role("row").count() - 1
    assert rows > 0
    with page.expect_download() as started:
        page.get_by_role("link", name="CSV").click()
    assert len(Path(started.value.path()).read_text(encoding="utf-8").splitlines()) == rows + 1


def test_one_value_is_chosen_several_are_decided_and_live_is_rolled_back(open_page: Any) -> None:
    page = open_page("phone")
    page.goto("/quarantine")
    boxes = page.locator('input[name="fact"]')
    for number in (0, 1):
        boxes.nth(number).check()
    page.get_by_label("Reason", exact=True).fill("not now")
    page.get_by_label("Decision").select_option("reject")
    page.get_by_role("button", name="Decide", exact=True).click()
    assert page.get_by_role("heading", name="Decided").is_visible()
    page.goto("/quarantine")
    page.get_by_role("rowheader").get_by_role("link").first.click()
    page.get_by_label("Reason").fill("checked in the register")
    page.get_by_role("button", name=re.compile("^(Choose|Approve) “")).first.click()
    page.get_by_text("Decided.").wait_for()
    page.goto("/checkpoints")
    page.locator("#rollback-why").fill("a look at the older one")
    page.get_by_role("button", name="Roll back").click()
    page.get_by_text("Ended").wait_for(timeout=300_000)
    page.goto("/")
    assert page.get_by_text("Checkpoint 4").first.is_visible()


def test_wrong_addresses_and_filters_say_what_to_do(open_page: Any) -> None:
    page = open_page("phone", java_script_enabled=False)
    assert page.goto("/facts").ok
    for path, status, text in (
        ("/facts/999999", 404, "there is no fact 999999"),
        ("/runs/999", 404, "999"),
        ("/facts?status=odd", 422, "'odd' is not a status of a fact"),
        ("/audit?since=yesterday", 422, "write a date or a time"),
    ):
        answer = httpx.get(f"{page.url.rpartition('/facts')[0]}{path}", headers={"Accept": "text/html"})
        assert answer.status_code == status
        page.set_content(answer.text)
        assert page.get_by_text(text).first.is_visible()
        assert page.get_by_role("link", name="Back to").first.is_visible()
