"""The nightly re-read and the hourly audit: what polling missed is found, whatever else is out of order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from connectors.errors import SourceUnavailable
from connectors.observations import Poll
from kbsync.application import Application
from kbsync.service.reading import pull, reconcile
from tests.support.admission_world import DAY, Script, observed, sources_of
from tests.support.micro import make


class Away(Script):
    """Answers its polls and is gone when it is asked again."""

    def snapshot(self, slots: Iterable[tuple[str, str]]) -> Iterator[Poll]:
        raise SourceUnavailable("nobody answers")


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Application]:
    """Two sources of twenty slots each, both pulled; polling has missed a change of each."""
    micro = make(tmp_path)
    app = micro.application()
    scripts = {"away": Away("away"), "kb": Script("kb")}
    app.__dict__["sources"] = sources_of(*scripts.values())
    for name, connector in scripts.items():
        old = [observed(f"{name}_{n}", "old", source=name, at=micro.now) for n in range(20)]
        connector.tell(*old)
        pull(app, bootstrap=True)
        missed = observed(f"{name}_7", "new", source=name, revision=2, modified=None, at=micro.now + DAY)
        connector.now["wd:" + f"{name}_7", "wdt:P6"] = missed
    yield app
    app.close()


def test_a_source_that_is_away_does_not_keep_the_others_from_being_reconciled(app: Application) -> None:
    reports = reconcile(app)
    assert set(reports) == {"kb"}
    assert (reports["kb"].observations, reports["kb"].new) == (20, 1)
    assert reconcile(app)["kb"].new == 0


def test_an_audit_reads_a_few_slots_only(app: Application) -> None:
    reports = reconcile(app, sample=5)
    assert set(reports) == {"kb"}
    assert reports["kb"].observations == 5
