"""The pages in Chromium, as a person uses them: on a desk and a phone, in both colour schemes, with a keyboard."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from kbsync.application import Application
from kbsync.pages.server import serving
from tests.support.paths import REPOSITORY
from tests.support.reviewed import Reviewed, reviewed

playwright = pytest.importorskip(
    "playwright.sync_api", reason="`pip install playwright` is in the extra `dev`"
)

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="`apt-get install chromium` lets these tests run"),
]
AXE = (REPOSITORY / "tests" / "fixtures" / "axe.min.js").read_text(encoding="utf-8")
"""axe-core 4.14.1, by Deque Systems (MPL 2.0)."""
WAIT_MS = 60_000
SCREENS = {
    "desk": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "desk at night": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "phone": {
        "viewport": {"width": 360, "height": 740},
        "color_scheme": "light",
        "has_touch": True,
        "is_mobile": True,
    },
}


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


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any, address: str) -> Iterator[Any]:
    """Opens a page on one of the screens; whatever it asks of another host, or logs as an error, fails the test."""
    contexts: list[Any] = []
    wrong: list[str] = []

    def opened(screen: str = "desk", **options: Any) -> Any:
        context = chromium.new_context(base_url=address, **SCREENS[screen], **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        page.on(
            "request", lambda one: None if one.url.startswith((address, "data:")) else wrong.append(one.url)
        )
        page.on("console", lambda one: wrong.append(one.text) if one.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        return page

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


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
        page.evaluate(AXE)
        result = page.evaluate(
            "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']})"
        )
        found += [
            f"{path}: {one['id']} at {one['nodes'][0]['html'][:200]}: {one['nodes'][0]['failureSummary'][:300]}"
            for one in result["violations"]
            if one["impact"] in ("serious", "critical")
        ]
        width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1], f"{path} is wider than the {screen}"
    assert found == []


def test_a_conflict_is_reviewed_in_fewer_than_five_clicks(home: Reviewed, open_page: Any) -> None:
    fact = home.conflict("Anna")
    page = open_page("phone")
    page.goto("/")
    clicks = [
        lambda: page.get_by_role("link", name="facts wait for a reviewer").click(),
        lambda: page.get_by_role("link", name="Blue House").first.click(),
        lambda: page.get_by_role("button", name="Approve").click(),
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
