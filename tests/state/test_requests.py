"""Requests: asked once, begun by one leader after the other, answered once, each step with its event."""

from __future__ import annotations

import pytest

from state import State
from state.errors import ForbiddenTransition, NotFound
from state.requests import REQUEST_NEXT


def test_a_request_is_asked_begun_and_answered_once(state: State) -> None:
    with state.write() as tx:
        asked = tx.ask("rollback", {"to": 1, "left": 2}, "wrong", "ada")
        assert tx.ask("rollback", {"left": 2, "to": 1}, "wrong", "bob") == asked, (
            "the same, and still waiting"
        )
        other = tx.ask("sync", {}, "", "ada")
        assert tx.open_requests() == (asked, other)
        assert tx.begin_request(asked.id, "kbsync").attempts == 1
        assert tx.ask("rollback", {"left": 2, "to": 1}, "wrong", "ada").id != asked.id, "that one is begun"
        assert tx.begin_request(asked.id, "kbsync").attempts == 2, "its leader died"
        assert tx.postpone_request(asked.id, "kbsync").attempts == 1, "broken off: it does not count"
        tx.begin_request(asked.id, "kbsync")
        done = tx.answer_request(asked.id, "done", {"live": 1}, "kbsync")
        assert (done.state, done.answer) == ("done", '{"live":1}')
        with pytest.raises(ForbiddenTransition):
            tx.answer_request(asked.id, "refused", {}, "kbsync")
        with pytest.raises(ForbiddenTransition):
            tx.begin_request(asked.id, "kbsync")
    with state.read() as tx:
        kinds = [event.kind.partition(".")[2] for event in tx.events(kind="request.*")]
        assert kinds == ["asked", "asked", "working", "asked", "working", "waiting", "working", "done"]
    assert state.audit.verify().ok


def test_only_what_nobody_began_can_be_withdrawn(state: State) -> None:
    with state.write() as tx:
        asked = tx.ask("sync", {}, "", "ada")
        assert tx.withdraw_request(asked.id, "ada").state == "withdrawn"
        begun = tx.ask("sync", {}, "", "ada")
        tx.begin_request(begun.id, "kbsync")
        with pytest.raises(ForbiddenTransition):
            tx.withdraw_request(begun.id, "ada")
        with pytest.raises(NotFound):
            tx.withdraw_request(99, "ada")


def test_every_end_is_an_end() -> None:
    assert {state for state, ways in REQUEST_NEXT.items() if not ways} == {"done", "refused", "withdrawn"}
