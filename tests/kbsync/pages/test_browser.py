"""The pages in Chromium, as a person uses them: on a desk and a phone, in both colour schemes, with a keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kbsync.application import Application
from kbsync.pages.server import serving
from tests.support.browsing import CHROMIUM, SCREENS, faults
from tests.support.reviewed import Reviewed, reviewed

pytest.importorskip("playwright.sync_api", reason="`pip install playwright` is in the extra `dev`")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="`apt-get install chromium` lets these tests run"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Reviewed:
    made = reviewed(tmp_path_factory.mktemp("browsed"))
    made.candidate("Q3", "Q30")
    return made


@pytest.fixture(scope="module")
def address(home: Reviewed) -> Iterator[str]:
    app = home.place.application()
    with Application(app.home, app.settings, now=app.now) as own, serving(own, "127.0.0.1:0") as bound:
        yield bound


def every_page(home: Reviewed) -> list[str]:
    conflict = home.conflict("Anna").id
    return [
        "/",
        "/runs",
        "/runs/3",
        "/facts",
        f"/facts/{conflict}",
        "/quarantine",
        f"/quarantine/{conflict}",
        "/checkpoints",
        "/checkpoints/compare?a=1&b=2",
        "/checkpoints/weights?a=1&b=2",
        "/audit",
        "/ask?prompt=The+owner+of+Blue+House+is",
        "/survey",
        "/sign-in",
    ]


@pytest.mark.parametrize("screen", SCREENS)
def test_no_page_has_a_serious_fault_of_accessibility(home: Reviewed, open_page: Any, screen: str) -> None:
    page = open_page(screen)
    found = []
    for path in every_page(home):
        page.goto(path)
        found += faults(page)
    assert found == []


def test_a_conflict_is_reviewed_in_fewer_than_five_clicks(home: Reviewed, open_page: Any) -> None:
    fact = home.conflict("Anna")
    page = open_page("phone")
    page.goto("/")
    clicks = [
        lambda: page.get_by_role("link", name="facts wait for a reviewer").click(),
        lambda: page.get_by_role("link", name="Anna").first.click(),
        lambda: page.get_by_role("button", name="Choose “Anna”").click(),
    ]
    for click in clicks[:-1]:
        click()
    page.get_by_label("Reason").fill("the deed says so")
    clicks[-1]()
    page.get_by_text("Decided.").wait_for()
    assert len(clicks) < 5
    decided = home.fact(int(page.url.rpartition("/")[2].partition("?")[0]))
    assert (decided.status, decided.decision, decided.subject) == ("wanted", "approved", fact.subject)


def test_the_keyboard_is_enough(open_page: Any) -> None:
    page = open_page()
    page.goto("/facts")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "q"
    page.keyboard.type("Red")
    page.keyboard.press("Enter")
    page.wait_for_url("**/facts?q=Red*")
    assert page.get_by_role("row").count() == 2


def test_a_conflict_is_reviewed_with_the_keyboard_alone(home: Reviewed, open_page: Any) -> None:
    home.say("crm", Old_Mill="Emil")
    home.say("erp", Old_Mill="Frida")
    home.pull()
    page = open_page()
    page.goto("/quarantine")

    def tab_to(text: str) -> None:
        """Press Tab until what has the focus is called `text`, as it shows with its outline."""
        for _ in range(120):
            page.keyboard.press("Tab")
            here = "document.activeElement"
            if text in page.evaluate(f"{here}.innerText || {here}.labels?.[0]?.innerText || ''"):
                assert page.evaluate(f"getComputedStyle({here}).outlineStyle") != "none"
                return
        raise AssertionError(f"{text!r} is not reached with the Tab key")

    tab_to("Emil")
    page.keyboard.press("Enter")
    page.wait_for_url("**/quarantine/*")
    tab_to("Reason")
    page.keyboard.type("the miller says so")
    tab_to("Choose “Frida”")
    page.keyboard.press("Enter")
    page.get_by_text("Decided.").wait_for()
    decided = home.fact(int(page.url.rpartition("/")[2].partition("?")[0]))
    assert (decided.target, decided.status, decided.decision) == ("Frida", "wanted", "approved")


def test_without_scripts_everything_still_works(open_page: Any) -> None:
    page = open_page("desk", java_script_enabled=False)
    page.goto("/quarantine")
    page.get_by_role("checkbox", name="right").check()
    page.get_by_role("button", name="Show what would happen").click()
    assert page.get_by_role("heading", name="What would happen").is_visible()


def test_all_of_a_page_are_chosen_with_one_box(open_page: Any) -> None:
    page = open_page()
    page.goto("/quarantine")
    page.get_by_role("checkbox", name="Choose all on this page").check()
    boxes = page.locator('input[name="fact"]')
    assert boxes.count() >= 2
    assert all(boxes.nth(number).is_checked() for number in range(boxes.count()))


def test_a_build_is_watched_without_reloading(home: Reviewed, open_page: Any) -> None:
    app = home.place.application()
    with app.state.write() as tx:
        run = tx.create_run(tx.create_view(tx.wanted()).digest, "b" * 64, "test")
        tx.advance_run(run.id, "planned", "building", actor="test")
    file = app.home.round(run.id, 1).prepare().progress
    file.write_text('{"phase": "targets", "done": 1, "total": 7, "left_s": null}', encoding="utf-8")
    page = open_page()
    page.goto(f"/runs/{run.id}")
    page.get_by_text("1 of 7").first.wait_for()
    file.write_text('{"phase": "targets", "done": 6, "total": 7, "left_s": null}', encoding="utf-8")
    page.get_by_text("6 of 7").first.wait_for()
    with app.state.write() as tx:
        tx.advance_run(run.id, "building", "failed", actor="test", reason="out of memory")
    page.get_by_text("out of memory").first.wait_for()
