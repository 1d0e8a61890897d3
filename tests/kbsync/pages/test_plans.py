"""Every statement that a page sends is answered by an index."""

from __future__ import annotations

import httpx
import pytest
from sqlalchemy import Engine

from kbsync.queries import counts
from tests.support.plans import listening, plans, walks
from tests.support.reviewed import Reviewed

PAGES = (
    "/",
    "/status.json",
    "/runs",
    "/runs?state=deployed",
    "/runs?before=3",
    "/runs/1",
    "/runs/1/answers",
    "/runs/1/progress?state=deployed",
    "/facts",
    "/facts?after=2",
    "/facts?status=wanted",
    "/facts?source=crm",
    "/facts?source=crm&status=held",
    "/facts?relation=crm:owner&status=wanted&code=settled",
    "/facts?q=Blue",
    "/facts?q=Blue&status=wanted",
    "/facts?q=crm:Blue_House",
    "/facts/1",
    "/facts/3",
    "/quarantine",
    "/quarantine?source=erp&stale=true",
    "/quarantine?gate=efficacy&relation=crm:owner",
    "/checkpoints",
    "/checkpoints?before=2",
    "/checkpoints/compare?a=1&b=2",
    "/audit",
    "/audit?before=4",
    "/audit?kind=run.*",
    "/audit?kind=fact.wanted&actor=test",
    "/audit?subject=crm:Blue_House",
    "/audit?run=1",
    "/audit?fact=3",
    "/audit?since=2024-01-01&until=2024-02-01",
    "/audit/events.jsonl?run=1",
    "/ask",
    "/ask?prompt=The+owner+of+Blue+House+is",
    "/feed.json",
    "/feed.atom",
    "/livez",
    "/readyz",
)
"""But for `/survey` and `/metrics`: they look at all facts, one in a process of its own, one at each scrape."""


def test_no_page_reads_a_growing_table_from_end_to_end(
    home: Reviewed, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has to be counted is counted in the background, as in a large ledger."""
    monkeypatch.setattr(counts, "SMALL", -1)
    state = home.place.application().state
    assert client.get("/").status_code == 200
    waiting = home.conflict("Anna").id
    walking: dict[str, list[str]] = {}
    for address in (*PAGES, f"/quarantine/{waiting}"):
        with listening(Engine) as sent:
            answer = client.get(address)
        assert answer.status_code == 200, address
        with state.read() as tx:
            found = [plan for plan in plans(tx.connection, list(sent)) if walks(plan)]
        if found:
            walking[address] = found
    assert walking == {}
