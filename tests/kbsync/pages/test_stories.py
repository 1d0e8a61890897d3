"""What the pages tell of one fact, of the checkpoints, and of sources that are not read any more."""

from __future__ import annotations

import re
from datetime import timedelta

import httpx

from kbsync.queries.reports import Reports
from kbsync.queries.timeline import timeline
from tests.support.reviewed import Reviewed


def test_a_timeline_has_statements_verdicts_decisions_and_runs_in_order(
    home: Reviewed, client: httpx.Client
) -> None:
    anna = home.conflict("Anna")
    data = {"reason": "the deed says so", "version": anna.version}
    assert client.post(f"/quarantine/{anna.id}/approve", data=data).status_code == 303
    found = timeline(home.place.application(), anna.id, Reports())
    assert found.count == len(found.entries)
    assert [one.at for one in found.entries] == sorted((one.at for one in found.entries), reverse=True)
    told = [(one.kind, one.what) for one in reversed(found.entries)]
    assert {("statement", "crm stated Anna"), ("statement", "erp stated Bob")} <= set(told)
    assert told.index(("statement", "crm stated Anna")) < told.index(("verdict", "new → wanted"))
    assert ("decision", "approved") in told
    text = client.get(f"/facts/{anna.id}").text
    assert "crm stated Anna" in text
    assert "not the value of this fact" in text, "what erp stated"
    assert "the deed says so" in text


def test_a_run_is_in_the_timeline_of_its_facts(home: Reviewed, client: httpx.Client) -> None:
    run = home.candidate("Q3", "Q30")
    with home.place.application().state.read() as tx:
        fact = next(one for one in tx.wanted() if one.subject == "Q3")
    assert f"built in run {run.id}" in client.get(f"/facts/{fact.id}").text
    (way,) = client.get(f"/runs/{run.id}.json").json()["story"]["ways"]
    assert (way["fact"]["id"], way["outcome"]) == (fact.id, "in progress")


def test_what_was_live_is_told_from_the_first_promotion_to_the_last(
    home: Reviewed, client: httpx.Client
) -> None:
    home.place.rollback()
    lineage = client.get("/checkpoints.json").json()["lineage"]
    assert [(one["checkpoint"], one["previous"]) for one in lineage] == [(1, 2), (2, 1), (1, None)]
    assert lineage[0]["seconds"] is None
    text = client.get("/checkpoints").text
    assert 'href="/checkpoints/compare?a=2&amp;b=1"' in text
    assert "It was the first." in text


def test_a_source_that_is_not_read_any_more_is_out_of_date(home: Reviewed, client: httpx.Client) -> None:
    every = timedelta(minutes=15)  # the default
    assert "out of date" not in client.get("/").text
    home.place.clock.now += 3 * every + timedelta(minutes=1)
    home.candidate("Q3", "Q30")  # a new event: the overview is read again
    text = client.get("/").text
    assert "crm is out of date" in text
    assert "to be read every 15m" in text


def test_every_value_of_a_conflict_can_be_chosen_from_one_page(home: Reviewed, client: httpx.Client) -> None:
    anna, bob = home.conflict("Anna"), home.conflict("Bob")
    text = client.get(f"/quarantine/{anna.id}").text
    for one in (anna, bob):
        assert f'formaction="/quarantine/{one.id}/approve"' in text
    data = dict(re.findall(r'<input type="hidden" name="(\S+)" value="(\S*)">', text))
    assert (data["version"], data[f"version-{bob.id}"]) == (anna.version, bob.version)
    stale = {**data, f"version-{bob.id}": "an older one", "key": "", "reason": "sold last week"}
    assert client.post(f"/quarantine/{bob.id}/approve", data=stale).status_code == 409
    data["reason"] = "sold last week"
    assert client.post(f"/quarantine/{bob.id}/approve", data=data).status_code == 303
    assert home.fact(bob.id).status == "wanted"
    assert home.fact(anna.id).status != "wanted"
