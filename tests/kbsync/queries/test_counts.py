"""What is counted for the pages: exact in a small ledger, counted in the background in a large one."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from kbsync.queries import counts, surveys
from kbsync.queries.counts import Census
from kbsync.queries.surveys import Surveys
from tests.support.ledgers import fact
from tests.support.promoted import Place


def test_a_small_ledger_is_counted_as_soon_as_something_has_happened(tmp_path: Path) -> None:
    app = Place(tmp_path).application()
    counter = Census(app, lambda: 0.0)
    assert counter.now().facts == {}
    with app.state.write() as tx:
        tx.put_facts([fact("wd:Q1"), fact("wd:Q2", status="quarantined")], "test")
    found = counter.now()
    assert (found.facts, found.waiting, found.pending) == ({"quarantined": 1, "wanted": 1}, 1, 1)
    app.close()


def test_a_large_ledger_is_counted_in_the_background(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "SMALL", 0)
    app, now = Place(tmp_path).application(), [0.0]
    with app.state.write() as tx:
        tx.put_facts([fact("wd:Q1")], "test")
    counter = Census(app, lambda: now[0])
    first = counter.now()
    with app.state.write() as tx:
        tx.put_facts([fact("wd:Q2")], "test")
    assert counter.now() is first, "it was counted a moment ago"
    now[0] += Census.OFTEN_S + 1
    assert counter.now() is first, "nobody waits for it"
    while counter.now().facts != {"wanted": 2}:
        time.sleep(0.01)
    app.close()


def test_a_survey_of_many_facts_is_made_in_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surveys, "SMALL", 0)
    app = Place(tmp_path).application()
    with app.state.write() as tx:
        tx.put_facts([fact("wd:Q1"), fact("wd:Q2")], "test")
    made = Surveys(app, Census(app))
    assert made.now() is None
    while (found := made.now()) is None:
        time.sleep(0.05)
    assert found.counts == {"not asked": 2}
    app.close()
