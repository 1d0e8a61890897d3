"""Who may do what: one table of every address and method that the pages have, tried with every role."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute

from kbsync.pages.access import Access
from kbsync.pages.app import ROUTERS, create_app
from state.records import Role
from tests.support.reviewed import Reviewed, reviewed
from tests.support.served_pages import bearer, served, token

ANYBODY, VIEWER, REVIEWER, OPERATOR = range(4)
NEEDED: dict[tuple[str, str], int] = {
    ("GET", "/livez"): ANYBODY,
    ("GET", "/readyz"): ANYBODY,
    ("GET", "/metrics"): ANYBODY,
    ("GET", "/sign-in"): ANYBODY,
    ("POST", "/sign-in"): ANYBODY,
    ("GET", "/sign-in/oidc"): ANYBODY,
    ("GET", "/sign-in/oidc/callback"): ANYBODY,
    ("POST", "/sign-out"): ANYBODY,
    ("POST", "/witness/add-checkpoint"): ANYBODY,  # a signed head of a named log
    ("GET", "/witness/checkpoint/{name}"): ANYBODY,
    ("POST", "/quarantine/decide"): REVIEWER,
    ("POST", "/quarantine/{id}/{word}"): REVIEWER,
    ("POST", "/facts/{id}/{word}"): REVIEWER,
    ("POST", "/runs/{id}/approve"): REVIEWER,
    ("POST", "/runs/{id}/reject"): REVIEWER,
    ("POST", "/checkpoints/rollback"): OPERATOR,
    ("POST", "/checkpoints/{id}/{word}"): OPERATOR,
    ("POST", "/ask"): REVIEWER,
    ("POST", "/sync"): OPERATOR,
    ("POST", "/survey"): OPERATOR,
    ("GET", "/requests/{id}"): OPERATOR,
    ("GET", "/requests/{id}.json"): OPERATOR,
}
"""What is not here is for viewers, if it is a GET; every POST has to be here."""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Reviewed]:
    made = reviewed(tmp_path)
    yield made
    made.place.application().close()


def routes(home: Reviewed) -> list[tuple[str, str]]:
    app = home.place.application()
    web = create_app(app, Access.at(app, "127.0.0.1"))
    routers = (web, *(part.router for part in ROUTERS))
    kept = (route for router in routers for route in router.routes if isinstance(route, APIRoute))
    found = {(method, route.path) for route in kept for method in route.methods}
    return sorted(found)


def test_every_role_may_do_what_the_table_says_and_no_more(home: Reviewed) -> None:
    table = routes(home)
    assert {one for one in table if one[0] == "POST"} <= set(NEEDED), "a new POST has to be in the table"
    assert set(NEEDED) <= set(table), "and what is gone must not"
    roles: tuple[Role, ...] = ("viewer", "reviewer", "operator")
    sent = [{}, *(bearer(token(home, role, role)) for role in roles)]
    with home.place.application().state.read() as tx:
        before = tx.head()
    wrong = []
    with served(home) as client:
        for method, path in table:
            # A form without a reason, about what is not there, changes nothing even where it is allowed.
            address = re.sub(r"\{id\}", "999999", path).replace("{word}", "reject")
            if path.startswith("/checkpoints/{id}"):
                address = "/checkpoints/999999/pin"
            needed = NEEDED.get((method, path), VIEWER)
            for rank, headers in enumerate(sent):
                if path in ("/sync", "/survey") and rank >= needed:
                    continue  # would be carried out
                status = client.request(method, address, headers=headers).status_code
                refused = 401 if rank == ANYBODY else 403
                if (status == refused) != (rank < needed) and path not in ("/sign-in",):
                    wrong.append((method, path, rank, status))
                if status >= 500:
                    wrong.append((method, path, rank, status))
    assert wrong == []
    with home.place.application().state.read() as tx:
        assert tx.head() == before, "nothing was written"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "PROPFIND", "x"])
def test_unknown_methods_are_refused(home: Reviewed, method: str) -> None:
    secret = bearer(token(home, "op", "operator"))
    with served(home) as client:
        for address in ("/", "/facts", "/quarantine/1/approve", "/sync", "/static/style.css"):
            try:
                status = client.request(method, address, headers=secret).status_code
            except httpx.RemoteProtocolError:
                continue
            assert status in (400, 404, 405, 501), (method, address, status)
