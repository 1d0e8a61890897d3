"""Tokens and searches by label, on both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest

from state import State
from state.errors import NameTaken, NotFound
from state.fact_queries import FactFilter
from tests.support.ledgers import START, Clock, fact

DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.mark.parametrize("kind", DATABASES)
def test_a_token_is_accepted_until_it_ends_or_is_revoked(new_url, kind: str) -> None:
    clock = Clock()
    state = State.open(new_url(kind), clock)
    with state.write() as tx:
        made, secret = tx.create_token("ada", "reviewer", START + timedelta(days=1), "root")
        _, other = tx.create_token("bob", "viewer", START + timedelta(days=3), "root")
        assert tx.token_of(secret) == made
        assert tx.token_of(f"{secret}x") is None
        assert tx.token_of("") is None
        assert tx.token_of("\udcff") is None
    clock.forward(days=2)
    with state.write() as tx:
        assert tx.token_of(secret) is None, "it has ended"
        assert tx.token_of(other) is not None
        first = tx.revoke_token("bob", "left", "root")
        assert tx.token_of(other) is None
        assert tx.revoke_token("bob", "again", "root") == first
        with pytest.raises(NotFound):
            tx.revoke_token("eve", "x", "root")
        with pytest.raises(NameTaken):
            tx.create_token("bob", "viewer", START + timedelta(days=9), "root")
        assert [event.kind for event in tx.events(kind="token.*")] == [
            *["token.created"] * 2,
            "token.revoked",
        ]
    assert state.audit.verify_tables().ok
    state.close()


@pytest.mark.parametrize("kind", DATABASES)
def test_facts_are_found_by_the_beginning_of_the_label(new_url, kind: str) -> None:
    state = State.open(new_url(kind), Clock())
    names = ["Ägypten", "Ab", "ab", "A%", "A_c", "Zebra", "Łódź", "日本"]
    with state.write() as tx:
        tx.put_facts([fact(name) for name in names], "test")
    with state.read() as tx:

        def found(beginning: str) -> set[str]:
            return {one.subject for one in tx.chosen_facts(FactFilter(label=f"Label of {beginning}"))}

        for beginning in ("", "A", "a", "A%", "A_", "Ä", "日", "\\", "Z"):
            assert found(beginning) == {one for one in names if one.startswith(beginning)}, beginning
    state.close()
