"""The review pages on an address of the network, and tokens for those who ask them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import httpx

from kbsync.application import Application
from kbsync.pages.server import serving
from state.records import Role
from tests.support.reviewed import Reviewed


@contextmanager
def served(home: Reviewed, listen: str = "0.0.0.0:0") -> Iterator[httpx.Client]:
    """The pages on an address of the network, asked over this machine's loopback address."""
    app = home.place.application()
    with (
        Application(app.home, app.settings, now=app.now) as own,
        serving(own, listen) as address,
        httpx.Client(base_url=address.replace("0.0.0.0", "127.0.0.1"), timeout=60) as client,
    ):
        yield client


def token(home: Reviewed, name: str, role: Role = "reviewer", **ends: float) -> str:
    """A new token's secret."""
    app = home.place.application()
    with app.state.write() as tx:
        return tx.create_token(name, role, app.now() + timedelta(**(ends or {"days": 1})), "root")[1]


def bearer(secret: str) -> dict[str, str]:
    """The header of a program that has this token."""
    return {"Authorization": f"Bearer {secret}"}
