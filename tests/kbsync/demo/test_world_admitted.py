"""The demo's world through the real connector and a real SPARQL server: what admission makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from connectors.clock import Clock as SourceClock
from connectors.registry import connect
from kbsync.admission.policy import Policy
from kbsync.catalogue.relations import load_catalogue
from kbsync.demo.server import SparqlServer, serving
from kbsync.demo.world import PREFIXES, Wikibase, load
from kbsync.demo.world.entries import AwkwardCase
from kbsync.intake.pull import Intake
from state.ledger import State
from tests.support.admission_world import OpenWorld, World

WORLD = load()
DAY_ONE = datetime(2021, 1, 4, tzinfo=UTC)
LOOKS = (
    datetime(2024, 1, 2, tzinfo=UTC),
    datetime(2024, 12, 30, 9, tzinfo=UTC),
    datetime(2025, 1, 4, tzinfo=UTC),
)
"""When the source is polled: in between, while the vandal's value stands, and after all has settled."""


@pytest.fixture(scope="module")
def server() -> Iterator[SparqlServer]:
    with serving() as running:
        yield running


@pytest.fixture(scope="module")
def ledger(server: SparqlServer, open_world: OpenWorld) -> World:
    """The ledger after the story's first act."""
    tables = {name: {**table, "enabled": True} for name, table in WORLD.relation_tables().items()}
    world = open_world(policy=Policy(living="on", max_accepted=10_000), catalogue=load_catalogue(tables))
    world.clock.now = DAY_ONE
    wikibase = Wikibase(WORLD)
    relations = " ".join(f"wdt:{relation.removeprefix('wdt:')}" for relation in WORLD.wordings)
    settings = {
        "kind": "wikidata",
        "endpoint": server.query_url,
        "agent": "kbsync-tests (https://tests.kbsync.example)",
        "subjects_query": "PREFIX wdt: <http://www.wikidata.org/prop/direct/> SELECT DISTINCT ?subject WHERE "
        f"{{ VALUES ?relation {{ {relations} }} ?subject ?relation ?object }}",
        "relations": list(WORLD.wordings),
        "prefixes": {"demo": PREFIXES["demo"]},
    }
    source = connect("world", settings, clock=SourceClock(now=world.clock))
    server.load(wikibase.ntriples())
    try:
        pull(world, source)
        last = DAY_ONE
        for look in LOOKS:
            moves = [move for move in WORLD.moves if last < move.at <= look]
            server.update(wikibase.apply_all(moves))
            world.clock.now = last = look
            pull(world, source)
        world.clock.forward(timedelta(days=9))
        world.intake.release_due()
    finally:
        source.close()
    return world


def pull(world: World, source) -> None:
    Intake(world.state, world.policy, world.catalogue, world.clock).pull(source)
    world.intake.release_due()


def statuses(state: State, case: AwkwardCase) -> dict[str, str]:
    """Object -> status and reason of everything the case's slot ever held."""
    with state.read() as tx:
        facts = tx.facts_of([case.slot]).get(case.slot, ())
    return {fact.object: f"{fact.status} {fact.reason_code}" for fact in facts}


@pytest.mark.parametrize("case", WORLD.awkward, ids=lambda case: case.kind.replace(" ", "-"))
def test_each_awkward_case_ends_as_its_story_says(ledger: World, case: AwkwardCase) -> None:
    found = statuses(ledger.state, case)
    wanted = [name for name, status in found.items() if status.startswith("wanted")]
    if case.expect == "retracted":
        assert wanted == []
        assert "retracted ended" in found.values()
    elif case.expect == "quarantined":
        assert [status for status in found.values() if status.startswith("quarantined")]
    elif case.expect == "accepted":
        assert len(wanted) == 1
    else:
        before = WORLD.statements(DAY_ONE)[case.slot]
        assert [WORLD.label(name) for name in wanted] == [WORLD.label(before[-1].object)]


def test_every_true_change_is_wanted(ledger: World) -> None:
    with ledger.state.read() as tx:
        wanted = {(fact.subject, fact.relation): fact.object for fact in tx.wanted()}
    awkward = {case.slot for case in WORLD.awkward} | {(case.rival, case.relation) for case in WORLD.awkward}
    changes = {change.slot: change.object for change in WORLD.changes if change.slot not in awkward}
    missed = {slot: object for slot, object in changes.items() if wanted.get(slot) != object}
    assert len(changes) >= 60
    assert missed == {}


def test_the_audit_chain_verifies(ledger: World) -> None:
    assert ledger.state.audit.verify().ok
