"""Admission comes to the same end on PostgreSQL as on SQLite."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta

import pytest

from connectors.observations import Observation
from state.ledger import State
from tests.support.admission_world import DAY, START, Clock, OpenWorld, World, entity, observed, says
from tests.support.postgres import running_postgres

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def postgres() -> Iterator[World]:
    clock = Clock()
    with running_postgres() as url:
        state = State.open(url, clock)
        state.migrate()
        try:
            yield World(state, clock)
        finally:
            state.close()


def news(seed: int) -> list[list[Observation]]:
    """Ten days of changes to thirty slots, some of which share a label."""
    chance = random.Random(seed)
    days = []
    for day in range(10):
        told = []
        for number in range(30):
            if day and chance.random() < 0.7:
                continue
            held = [says(f"head_{chance.randrange(9)}", references=chance.randrange(2))]
            held += [says(f"head_{chance.randrange(9)}")] if chance.random() < 0.2 else []
            at = START + day * DAY - (40 * DAY if not day else timedelta(0))
            told.append(
                observed(
                    entity(f"land_{number}", f"Land {number % 25}"),
                    *{statement.id: statement for statement in held}.values(),
                    revision=day + 1,
                    modified=at,
                    at=max(at, START),
                )
            )
        days.append(told)
    return days


def test_both_databases_end_alike(postgres: World, open_world: OpenWorld) -> None:
    sqlite = open_world()
    for told in news(seed=7):
        for world in (sqlite, postgres):
            world.hear(*told, after=DAY)
    assert sqlite.facts() == postgres.facts()
    assert {fact.status for fact in sqlite.facts()} >= {"wanted", "quarantined", "superseded"}
    assert postgres.state.audit.verify().ok
