"""`[review] approvals = 2`: what one person does alone changes nothing, and what two do is carried out once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from kbsync.errors import BadConfiguration, UsageError
from kbsync.intake.quarantine import approve, decide, reject
from kbsync.runs import review
from kbsync.settings.loading import load
from state.records import Event
from tests.support.reviewed import Reviewed, reviewed
from tests.support.served_pages import bearer, served, token

TWO = "[review]\napprovals = 2\n"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Reviewed]:
    made = reviewed(tmp_path, TWO)
    yield made
    made.place.application().close()


@pytest.fixture
def pages(home: Reviewed) -> Iterator[httpx.Client]:
    token(home, "ada", "operator")
    with served(home) as client:
        yield client


def as_(home: Reviewed, name: str) -> dict[str, str]:
    """The header of a new operator with this name."""
    return bearer(token(home, name, "operator"))


def events(home: Reviewed, kind: str) -> list[Event]:
    with home.place.application().state.read() as tx:
        return tx.events(kind=kind)


def ended(home: Reviewed) -> str:
    """The state in which the newest request ends."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with home.place.application().state.read() as tx:
            (found,) = tx.requests(limit=1)
        if found.state in ("done", "refused"):
            return found.state
        time.sleep(0.1)
    raise AssertionError(found.state)


def test_a_candidate_goes_live_after_the_second_person(home: Reviewed, pages: httpx.Client) -> None:
    run = home.candidate("Q3", "Q30")
    bob, eve = as_(home, "bob"), as_(home, "eve")
    with home.place.application().state.read() as tx:
        digest = tx.checkpoint(run.checkpoint or 0).digest
    form = {"digest": digest, "reason": "looks right"}
    address = f"/runs/{run.id}/approve"
    assert pages.post(address, data=form, headers=bob).status_code == 303
    assert (
        "approved by bob; another person has to approve it as well"
        in pages.get(f"/runs/{run.id}", headers=eve).text
    )
    again = pages.post(address, data=form, headers=bob)
    assert again.status_code == 409
    assert "bob has approved this already" in again.text
    with home.place.application().state.read() as tx:
        assert tx.run(run.id).state == "awaiting_review"
        assert tx.requests() == ()
    assert pages.post(address, data=form, headers=eve).status_code == 303
    assert ended(home) == "done"
    with home.place.application().state.read() as tx:
        live = tx.live()
    assert live is not None
    assert live.digest == digest
    given = events(home, "approval.given")
    assert [event.actor for event in given] == ["bob", "eve"]
    assert json.loads(given[0].body)["os_user"].startswith("bob (signed in by token); carried out by ")
    assert home.place.application().state.audit.verify_tables().ok


def test_an_approval_is_of_one_digest(home: Reviewed, pages: httpx.Client) -> None:
    run = home.candidate("Q3", "Q30")
    wrong = {"digest": "0" * 64, "reason": "looks right"}
    assert pages.post(f"/runs/{run.id}/approve", data=wrong, headers=as_(home, "bob")).status_code == 409
    assert events(home, "approval.given") == []


def test_one_person_rejects(home: Reviewed, pages: httpx.Client) -> None:
    run = home.candidate("Q3", "Q30")
    bob = as_(home, "bob")
    assert pages.post(f"/runs/{run.id}/approve", data={"reason": "good"}, headers=bob).status_code == 303
    assert pages.post(f"/runs/{run.id}/reject", data={"reason": "no, bad"}, headers=bob).status_code == 303
    with home.place.application().state.read() as tx:
        assert tx.run(run.id).state == "rejected"


def test_a_value_is_admitted_after_the_second_person(home: Reviewed, pages: httpx.Client) -> None:
    anna = home.conflict("Anna")
    bob, eve = as_(home, "bob"), as_(home, "eve")
    form = {"version": anna.version, "reason": "the deed"}
    address = f"/quarantine/{anna.id}/approve"
    first = pages.post(address, data=form, headers=bob)
    assert first.headers["location"] == f"/quarantine/{anna.id}", "and not: decided"
    assert "approved by bob; another person has" in pages.get(f"/quarantine/{anna.id}", headers=eve).text
    assert home.fact(anna.id) == anna
    assert pages.post(address, data=form, headers=bob).status_code == 409
    assert pages.post(address, data=form, headers=eve).status_code == 303
    assert home.fact(anna.id).status == "wanted"
    assert [event.actor for event in events(home, "fact.approved")] == ["eve"]


def test_many_values_at_once(home: Reviewed, pages: httpx.Client) -> None:
    anna, bob, eve = home.conflict("Anna"), as_(home, "bob"), as_(home, "eve")
    form = {"word": "approve", "fact": [f"{anna.id}:{anna.version}"], "reason": "the deed"}
    assert "another person has to approve it" in pages.post("/quarantine/decide", data=form, headers=bob).text
    assert home.fact(anna.id) == anna
    assert pages.post("/quarantine/decide", data=form, headers=eve).status_code == 200
    assert home.fact(anna.id).status == "wanted"


def test_an_approval_does_not_outlive_what_happens_to_the_value(home: Reviewed) -> None:
    app, anna = home.place.application(), home.conflict("Anna")
    with app.state.on_behalf_of("1"):
        assert approve(app.intake(), anna.id, "the deed", "bob").seconded
        reject(app.intake(), anna.id, "on second thoughts", "bob")
        decide(app.intake(), "reopen", [anna.id], "once more", "bob")
    assert home.fact(anna.id).status == "quarantined"
    with app.state.on_behalf_of("2"):
        assert approve(app.intake(), anna.id, "the deed", "eve").seconded, "bob's was for another state"
    with app.state.on_behalf_of("1"):
        assert not approve(app.intake(), anna.id, "the deed", "bob").seconded
    assert home.fact(anna.id).status == "wanted"


def test_one_person_under_two_names_is_one_person(home: Reviewed) -> None:
    app, run = home.place.application(), home.candidate("Q3", "Q30")
    assert review.give_approval(app, run.id, "good", "alice").missing == 1
    with pytest.raises(UsageError, match="bob has approved this already, as alice"):
        review.give_approval(app, run.id, "good", "bob")
    with app.state.on_behalf_of("somebody else"), pytest.raises(UsageError, match="already"):
        review.give_approval(app, run.id, "good", "alice")
    with app.state.on_behalf_of("somebody else"):
        assert review.give_approval(app, run.id, "good", "bob").missing == 0


def test_a_request_that_nobody_approved_is_refused(home: Reviewed) -> None:
    """Whoever leads counts again: a row that was written past the commands and the pages is not enough."""
    app, run = home.place.application(), home.candidate("Q3", "Q30")
    review.give_approval(app, run.id, "good", "alice")
    with home.place.leading() as (_, leadership), pytest.raises(UsageError, match="only alice approved this"):
        review.approve_run(app, leadership, run.id, "good", "alice")
    with app.state.read() as tx:
        assert tx.run(run.id).state == "awaiting_review"


def test_a_rollback_needs_two_and_each_counts_once(home: Reviewed, pages: httpx.Client) -> None:
    bob, eve = as_(home, "bob"), as_(home, "eve")
    form = {"to": "1", "live": "2", "reason": "it was wrong"}
    assert pages.post("/checkpoints/rollback", data=form, headers=bob).headers["location"] == "/checkpoints"
    assert "The rollback to checkpoint 1 is approved by bob" in pages.get("/checkpoints", headers=eve).text
    assert pages.post("/checkpoints/rollback", data=form, headers=bob).status_code == 409
    assert pages.post("/checkpoints/rollback", data={**form, "live": "1"}, headers=eve).status_code == 409
    assert "/requests/" in pages.post("/checkpoints/rollback", data=form, headers=eve).headers["location"]
    assert ended(home) == "done"
    with home.place.application().state.read() as tx:
        live = tx.live()
    assert live is not None
    assert live.id == 1


def test_a_timeout_is_nobodys_approval(tmp_path: Path) -> None:
    file = tmp_path / "kbsync.toml"
    for text in (TWO + "on_timeout = 'approve'\n", "[review]\napprovals = 0\n"):
        file.write_text(text)
        with pytest.raises(BadConfiguration, match="approvals"):
            load(file, {})
