"""Pages that are rendered once for many readers, and answered with 304 where nothing has changed."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from kbsync.application import Application
from kbsync.pages.access import Visitor
from kbsync.pages.server import serving
from kbsync.pages.shared import FORM_KEY, READER, SharedPages
from tests.support.ledgers import START
from tests.support.reviewed import Reviewed, reviewed
from tests.support.served_pages import bearer, served, token

KEY = re.compile(r'name="key" value="([^"]+)"')


def opened(address: str, reader: Visitor, **headers: str) -> Request:
    """A request that reached its endpoint."""
    path, _, query = address.partition("?")
    made = Request(
        {
            "type": "http",
            "method": "GET",
            "path": path,
            "query_string": query.encode(),
            "server": ("127.0.0.1", 80),
            "scheme": "http",
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        }
    )
    made.state.visitor = reader
    return made


ADA = Visitor("ada", "operator", "token")
BOB = Visitor("bob", "operator", "token")


@pytest.fixture
def stands(home: Reviewed) -> Iterator[Callable[[timedelta], SharedPages]]:
    """Shared pages of a ledger at a time that only a test moves."""
    app, now = home.place.application(), [START]
    with Application(app.home, app.settings, now=lambda: now[0]) as own:
        pages = SharedPages(own)

        def later(by: timedelta = timedelta(0)) -> SharedPages:
            now[0] += by
            return pages

        yield later


@pytest.fixture
def still(home: Reviewed) -> Iterator[httpx.Client]:
    """A browser of pages for which time stands still."""
    app = home.place.application()
    now = app.now()
    with (
        Application(app.home, app.settings, now=lambda: now) as own,
        serving(own, "127.0.0.1:0") as address,
        httpx.Client(base_url=address, timeout=60) as made,
    ):
        yield made


def text(answer: Response) -> str:
    return bytes(answer.body).decode()


def test_readers_at_the_same_time_cost_one_rendering(stands: Callable[..., SharedPages]) -> None:
    all_ask, rendered = threading.Barrier(8), []

    def render() -> Response:
        rendered.append(threading.get_ident())
        return HTMLResponse("facts")

    def read(_: int) -> str:
        all_ask.wait(30)
        return text(stands().answer(opened("/facts", ADA), render))

    with ThreadPoolExecutor(8) as readers:
        assert list(readers.map(read, range(8))) == ["facts"] * 8
    assert len(rendered) == 1


@pytest.mark.parametrize(
    ("again", "count"),
    [
        (lambda pages, render: pages().answer(opened("/facts?q=a", ADA), render), 1),
        (lambda pages, render: pages().answer(opened("/facts?q=a", BOB), render), 1),
        (lambda pages, render: pages().answer(opened("/facts?q=b", ADA), render), 2),
        (lambda pages, render: pages().answer(opened("/runs?q=a", ADA), render), 2),
        (
            lambda pages, render: pages().answer(
                opened("/facts?q=a", Visitor("ada", "viewer", "token")), render
            ),
            2,
        ),
        (
            lambda pages, render: pages().answer(
                opened("/facts?q=a", Visitor("ada", "operator", "oidc")), render
            ),
            2,
        ),
        (lambda pages, render: pages(timedelta(seconds=3)).answer(opened("/facts?q=a", ADA), render), 2),
        (lambda pages, render: pages(timedelta(seconds=-3)).answer(opened("/facts?q=a", ADA), render), 2),
    ],
    ids=["the same", "another reader", "query", "path", "role", "how signed in", "later", "clock set back"],
)
def test_a_page_is_shared_by_what_it_depends_on(
    stands: Callable[..., SharedPages],
    again: Callable[[Callable[..., SharedPages], Callable[[], Response]], Any],
    count: int,
) -> None:
    rendered = []

    def render() -> Response:
        rendered.append(1)
        return HTMLResponse("facts")

    stands().answer(opened("/facts?q=a", ADA), render)
    again(stands, render)
    assert len(rendered) == count


def test_an_event_ends_what_was_rendered_before_it(
    home: Reviewed, stands: Callable[..., SharedPages]
) -> None:
    answers = iter(("before", "after"))
    read = lambda: text(stands().answer(opened("/", ADA), lambda: HTMLResponse(next(answers))))  # noqa: E731
    assert (read(), read()) == ("before", "before")
    with home.place.application().state.write() as tx:
        tx.pause("maintenance", "ada")
    assert read() == "after"


def test_each_reader_gets_their_own_name_and_each_answer_its_own_form(
    stands: Callable[..., SharedPages],
) -> None:
    page = HTMLResponse(f"{READER}: {FORM_KEY}")
    readers = (ADA, BOB, BOB, Visitor("<b>\u202e", "operator", "token"))
    answers = [text(stands().answer(opened("/", one), lambda: page)) for one in readers]
    names, keys = zip(*(one.split(": ") for one in answers), strict=True)
    assert names == ("ada", "bob", "bob", r"&lt;b&gt;\u202e")
    assert len(set(keys)) == 4
    assert FORM_KEY not in keys


def test_what_is_no_page_is_not_kept(stands: Callable[..., SharedPages]) -> None:
    refused = stands().answer(opened("/", ADA), lambda: HTMLResponse(READER, 422))
    assert (refused.status_code, text(refused)) == (422, "ada")
    assert "etag" not in refused.headers
    with pytest.raises(LookupError):
        stands().answer(opened("/", ADA), lambda: {}["x"])
    assert text(stands().answer(opened("/", ADA), lambda: HTMLResponse("found"))) == "found"


def test_what_is_kept_has_a_bound(
    stands: Callable[..., SharedPages], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SharedPages, "LARGEST", 100)
    rendered: list[str] = []

    def read(path: str) -> None:
        stands().answer(opened(path, ADA), lambda: rendered.append(path) or HTMLResponse("x" * 40))  # type: ignore[func-returns-value]

    for path in ("/a", "/b", "/c", "/c", "/b", "/a"):
        read(path)
    assert rendered == ["/a", "/b", "/c", "/a"]


def test_a_page_that_has_not_changed_is_not_sent_again(home: Reviewed, still: httpx.Client) -> None:
    for address in ("/facts", "/runs", "/audit", "/facts/1", "/facts.json", "/status.json", "/"):
        first = still.get(address)
        assert first.headers["cache-control"] == "private, no-cache"
        again = still.get(address, headers={"If-None-Match": f'"other", {first.headers["etag"]}'})
        assert (again.status_code, again.content) == (304, b""), address
        assert again.headers["etag"] == first.headers["etag"]
        other = still.get(address, headers={"If-None-Match": '"other"'})
        assert other.status_code == 200
    tag = still.get("/audit").headers["etag"]
    with home.place.application().state.write() as tx:
        tx.pause("maintenance", "ada")
    changed = still.get("/audit", headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert "daemon.paused" in changed.text
    assert changed.headers["etag"] != tag


def test_a_page_with_a_form_is_sent_again_after_every_event(home: Reviewed, still: httpx.Client) -> None:
    """Its key may be used up by then."""
    first = still.get("/quarantine")
    assert KEY.findall(first.text) != KEY.findall(still.get("/quarantine").text)
    with home.place.application().state.write() as tx:
        tx.pause("maintenance", "ada")
    again = still.get("/quarantine", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 200
    assert KEY.findall(again.text) != KEY.findall(first.text)


def test_what_somebody_signed_in_for_is_theirs_and_not_kept_by_the_browser(tmp_path: Path) -> None:
    home = reviewed(tmp_path)
    ada, bob, eve = (token(home, name, role) for name, role in ROLES)
    with served(home) as client:
        named = (("ada", ada), ("bob", bob))
        pages = {name: client.get("/", headers=bearer(secret)) for name, secret in named}
        viewed = client.get("/", headers=bearer(eve)).text
        missing = client.get("/facts/999999", headers=bearer(bob))
    home.place.application().close()
    for name, page in pages.items():
        assert f'">{name}</span>' in page.text
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["vary"] == "Cookie, Authorization"
    assert pages["ada"].headers["etag"] != pages["bob"].headers["etag"]
    assert "Sync now" in pages["ada"].text
    assert "Sync now" not in viewed
    assert (missing.status_code, '">bob</span>' in missing.text) == (404, True)


ROLES = (("ada", "operator"), ("bob", "operator"), ("eve", "viewer"))
