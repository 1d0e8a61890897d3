"""A database that goes away for a while does not end the daemon."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from kbsync.leadership import Leadership
from kbsync.service.daemon import Daemon
from kbsync.service.schedule import Schedule
from tests.support.databases import NewUrl, administer
from tests.support.micro import make

PATIENCE_S = 60.0


def until(condition: object) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.postgres
def test_the_daemon_waits_while_the_database_is_down_and_goes_on_when_it_is_back(
    tmp_path: Path, postgres_server: str, new_url: NewUrl
) -> None:
    url = new_url("postgres")
    name = make_url(url).database
    micro = make(tmp_path / "world", extra=f"[state]\nurl = '{url}'")
    app = micro.application()
    daemon = Daemon(app)
    failed: list[BaseException] = []

    def work(leadership: Leadership) -> None:
        try:
            daemon._work(leadership, Schedule({}, daemon._enqueue))
        except BaseException as error:  # noqa: BLE001  whatever ends the loop is what the test is about
            failed.append(error)

    with app.leading() as leadership:
        daemon._watch = lambda *_: None  # type: ignore[method-assign]  # there is no schedule to stall
        thread = threading.Thread(target=work, args=(leadership,))
        thread.start()
        administer(
            postgres_server,
            f"ALTER DATABASE {name} ALLOW_CONNECTIONS false",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        )
        until(lambda: daemon._ledger_reported)
        assert thread.is_alive(), failed
        administer(postgres_server, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        until(lambda: not daemon._ledger_reported)
        assert thread.is_alive(), failed
        app.stopping.set()
        thread.join(PATIENCE_S)
    assert failed == []
    app.close()
