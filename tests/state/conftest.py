"""Ledgers to test on: every test that asks for `state` runs on SQLite and on PostgreSQL.

A migrated ledger is made once of each kind and copied: a file on SQLite, a template database on
PostgreSQL, whose server (a real one, in a directory of its own) starts when the first test needs it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from state import State
from tests.support.databases import NewUrl
from tests.support.ledgers import Clock

BACKENDS = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def url(request: pytest.FixtureRequest, new_url: NewUrl) -> str:
    """A fresh, migrated ledger; SQLite unless the test asks for both kinds."""
    return new_url(getattr(request, "param", "sqlite"))


@pytest.fixture
def state(url: str, clock: Clock) -> Iterator[State]:
    opened = State.open(url, clock)
    yield opened
    opened.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests of this directory that use `state` run once for each kind of database."""
    if "state" in metafunc.fixturenames:
        metafunc.parametrize("url", BACKENDS, indirect=True)
