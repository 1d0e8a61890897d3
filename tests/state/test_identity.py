"""Every event says who wrote it, as the operating system knows, beside the actor that is claimed."""

from __future__ import annotations

import json

from state import State
from tests.support.databases import NewUrl
from tests.support.ledgers import Clock, fact


def os_users(state: State) -> list[str | None]:
    with state.read() as tx:
        return [json.loads(event.body).get("os_user") for event in tx.events()]


def test_every_event_names_who_wrote_it(new_url: NewUrl) -> None:
    state = State.open(new_url("sqlite"), Clock(), identity="alice (uid 1000) on here")
    with state.write() as tx:
        (one,) = tx.put_facts([fact()], "ceo@example.org")
        tx.decide(one.id, "approved", "looked", "ceo@example.org")
        tx.pause("maintenance", "ceo@example.org")
    assert os_users(state) == ["alice (uid 1000) on here"] * 3
    assert state.audit.verify().ok
    state.close()


def test_what_is_done_for_another_names_both(new_url: NewUrl) -> None:
    state = State.open(new_url("sqlite"), Clock(), identity="kbsync (uid 990) on here")
    with state.on_behalf_of("alice (uid 1000) on here"), state.write() as tx:
        tx.pause("maintenance", "alice")
    with state.on_behalf_of("kbsync (uid 990) on here"), state.write() as tx:
        tx.resume("kbsync")
    assert os_users(state) == [
        "alice (uid 1000) on here; carried out by kbsync (uid 990) on here",
        "kbsync (uid 990) on here",
    ]
    state.close()


def test_a_request_keeps_who_asked(new_url: NewUrl) -> None:
    url = new_url("sqlite")
    state = State.open(url, Clock(), identity="alice (uid 1000) on here")
    with state.write() as tx:
        asked = tx.ask("sync", {}, "now", "ceo@example.org")
    state.close()
    state = State.open(url, Clock())
    with state.read() as tx:
        assert tx.request(asked.id).asked_by == "alice (uid 1000) on here"
    state.close()
