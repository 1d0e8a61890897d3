"""The connector contract as executable checks that can be run against any connector.

    from connectors.conformance import Scenario, check

    def test_my_connector_keeps_the_contract(tmp_path):
        check(MyScenario(tmp_path))

A scenario is a small source under the test's control; `docs/connectors.md` shows one.  The checks
use no test framework: a broken promise raises `NonConformance`, an AssertionError that names it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

from connectors.observations import Connector, Observation, Poll, Rewindable, SlotKey
from connectors.third_party import CURIE

Facts = Mapping[SlotKey, frozenset[str]]
"""Object ids by slot; empty slots are absent."""


class NonConformance(AssertionError):
    """A promise of the contract that the connector does not keep."""


class Scenario(Protocol):
    """A source that the checks can change, and connectors to it."""

    def open(self) -> Connector:
        """A new connector to the same source, as after a restart of the process."""
        ...

    def write(self, facts: Facts) -> None:
        """Make the source hold these facts for the named slots; a slot with no object is emptied.

        Later calls must be later changes at the source: newer revisions or instants.
        """
        ...

    def slots(self, count: int) -> list[SlotKey]:
        """`count` slots that the source may hold, each with its own subject."""
        ...

    def objects(self) -> tuple[str, str, str]:
        """Three ids that may be used as objects."""
        ...

    rereads: bool
    """Whether the source can be asked again for a slot (a drop folder cannot)."""


def check(scenario: Scenario) -> None:
    """Run all checks in order on one source.  Raises NonConformance at the first broken promise."""
    for promise in PROMISES:
        promise(scenario)


class CommittedSteps:
    """Commits steps as kbsync does: observations and cursor together, newest revision wins."""

    def __init__(self) -> None:
        self.cursor: str | None = None
        self.current: dict[SlotKey, Observation] = {}

    def commit(self, step: Poll) -> None:
        for observation in step.observations:
            slot = observation.subject.id, observation.relation
            stored = self.current.get(slot)
            back = stored is not None and stored.gone and not observation.gone
            if stored is None or observation.gone or back or observation.revision > stored.revision:
                self.current[slot] = observation
        self.cursor = step.cursor or self.cursor

    def pull(self, connector: Connector, at_most: int | None = None) -> int:
        """Poll and commit, stopping after `at_most` steps as if killed.  Returns the number of steps."""
        steps = 0
        for step in connector.poll(self.cursor):
            self.commit(step)
            steps += 1
            if steps == at_most:
                break
        return steps

    def facts(self) -> Facts:
        held = {
            slot: frozenset(s.object.id for s in seen.statements if s.object)
            for slot, seen in self.current.items()
        }
        return {slot: objects for slot, objects in held.items() if objects}


def observations_are_whole_and_well_formed(scenario: Scenario) -> None:
    """Ids are CURIEs, instants are UTC, statements are sorted, the source's name is the connector's."""
    slot, (first, second, _) = scenario.slots(1)[0], scenario.objects()
    scenario.write({slot: frozenset({first, second})})
    with _opened(scenario) as connector:
        reported = [o for step in connector.poll(None) for o in step.observations]
        _require(bool(reported), "the first poll of a source that holds something reports nothing")
        for observation in reported:
            _require_well_formed(connector, observation)
        ours = [o for o in reported if (o.subject.id, o.relation) == slot]
        objects = {s.object.id for o in ours for s in o.statements if s.object}
        _require(
            objects == {first, second}, f"slot {slot} holds {first} and {second}, but {objects} were reported"
        )


def an_unchanged_source_yields_no_steps(scenario: Scenario) -> None:
    """Polling an unchanged source eventually yields no steps."""
    ledger = CommittedSteps()
    with _opened(scenario) as connector:
        for _ in range(4):
            if ledger.pull(connector) == 0:
                return
    raise NonConformance("polls of an unchanged source never come to rest: each yields steps")


def every_change_is_reported(scenario: Scenario) -> None:
    """New, changed and emptied slots reach a polling ledger, even with a new connector for each poll."""
    slots, (first, second, third) = scenario.slots(6), scenario.objects()
    ledger = CommittedSteps()
    expected: dict[SlotKey, frozenset[str]] = {slot: frozenset({first}) for slot in slots}
    changes: tuple[dict[SlotKey, frozenset[str]], ...] = (
        dict(expected),
        {slots[1]: frozenset({second})},
        {slots[2]: frozenset({second, third})},
        {slots[3]: frozenset()},
        {slots[1]: frozenset({first})},
    )
    for change in changes:
        scenario.write(change)
        expected |= change
        with _opened(scenario) as connector:
            ledger.pull(connector)
        _require_holds(ledger, expected, f"after {change}")


def a_killed_poll_loses_nothing(scenario: Scenario) -> None:
    """After a poll is interrupted at any step, polling from the committed cursor delivers the rest."""
    slots, (first, second, third) = scenario.slots(6), scenario.objects()
    for cut in range(1, 4):
        ledger = CommittedSteps()
        scenario.write({slot: frozenset({first}) for slot in slots})
        with _opened(scenario) as connector:
            ledger.pull(connector, at_most=cut)
        changes = {slots[0]: frozenset({second}), slots[1]: frozenset[str](), slots[-1]: frozenset({third})}
        scenario.write(changes)
        expected = {slot: frozenset({first}) for slot in slots} | changes
        for _ in range(2):
            with _opened(scenario) as connector:
                ledger.pull(connector)
        _require_holds(ledger, expected, f"after a poll that was cut after step {cut}")


def a_step_that_was_not_committed_is_delivered_again(scenario: Scenario) -> None:
    """Reading does not consume anything; only committing the cursor does."""
    slot, (first, second, _) = scenario.slots(1)[0], scenario.objects()
    scenario.write({slot: frozenset({first})})
    ledger = CommittedSteps()
    with _opened(scenario) as connector:
        ledger.pull(connector)
    scenario.write({slot: frozenset({second})})
    with _opened(scenario) as connector:
        for _ in connector.poll(ledger.cursor):
            pass
        ledger.pull(connector)
    _require_holds(ledger, {slot: frozenset({second})}, "after a poll whose steps were thrown away")


def a_rewound_source_is_delivered_again(scenario: Scenario) -> None:
    """A connector that can go back delivers every slot again after that, emptied ones as empty."""
    slots, (first, _, third) = scenario.slots(3), scenario.objects()
    scenario.write({slots[0]: frozenset({first}), slots[1]: frozenset({third}), slots[2]: frozenset({first})})
    ledger = CommittedSteps()
    with _opened(scenario) as connector:
        if not isinstance(connector, Rewindable):
            return
        ledger.pull(connector)
        assert ledger.cursor is not None
        ledger.cursor = connector.rewind(ledger.cursor, None)
    scenario.write({slots[2]: frozenset()})
    delivered: set[SlotKey] = set()
    with _opened(scenario) as connector:
        for step in connector.poll(ledger.cursor):
            delivered |= {(o.subject.id, o.relation) for o in step.observations}
            ledger.commit(step)
    _require(set(slots) <= delivered, f"rewound, the source delivers {sorted(delivered)} of {slots}")
    expected = {slots[0]: frozenset({first}), slots[1]: frozenset({third}), slots[2]: frozenset[str]()}
    _require_holds(ledger, expected, "after it was rewound")


def a_snapshot_reports_what_is_there_now(scenario: Scenario) -> None:
    """A snapshot reports every requested slot, including emptied ones, and yields no cursor."""
    if not scenario.rereads:
        return
    slots, (_, second, _) = scenario.slots(2), scenario.objects()
    scenario.write({slots[0]: frozenset({second}), slots[1]: frozenset()})
    with _opened(scenario) as connector:
        steps = list(connector.snapshot(slots))
    found = {(o.subject.id, o.relation): o for step in steps for o in step.observations}
    _require(set(found) == set(slots), f"asked for {slots}, but {sorted(found)} were reported")
    objects = {slot: {s.object.id for s in found[slot].statements if s.object} for slot in slots}
    _require(objects == {slots[0]: {second}, slots[1]: set()}, f"the snapshot reports {objects}")
    _require(all(step.cursor is None for step in steps), "steps of a snapshot carry a cursor")


def probes_are_current_facts(scenario: Scenario) -> None:
    """Neighbours share the relation and the object, and both kinds of probe respect their limit."""
    if not scenario.rereads:
        return
    slots, (first, second, _) = scenario.slots(4), scenario.objects()
    scenario.write({slot: frozenset({first}) for slot in slots[:3]} | {slots[3]: frozenset({second})})
    relation = slots[0][1]
    with _opened(scenario) as connector:
        neighbours = connector.neighbours(relation, first, 2)
        facts = connector.facts_of(slots[3][0], 10)
    _require(0 < len(neighbours) <= 2, f"asked for at most 2 neighbours, got {len(neighbours)}")
    for triple in neighbours:
        _require((triple.relation, triple.object.id) == (relation, first), f"{triple} is not a neighbour")
    _require(any(t.object.id == second for t in facts), f"facts_of({slots[3][0]}) misses {second}: {facts}")


PROMISES: tuple[Callable[[Scenario], None], ...] = (
    observations_are_whole_and_well_formed,
    an_unchanged_source_yields_no_steps,
    every_change_is_reported,
    a_killed_poll_loses_nothing,
    a_step_that_was_not_committed_is_delivered_again,
    a_rewound_source_is_delivered_again,
    a_snapshot_reports_what_is_there_now,
    probes_are_current_facts,
)
"""Each check can also be run alone, in its own test."""


@contextmanager
def _opened(scenario: Scenario) -> Iterator[Connector]:
    connector = scenario.open()
    _require(
        isinstance(connector, Connector), f"{connector!r} lacks methods of connectors.observations.Connector"
    )
    try:
        yield connector
    finally:
        connector.close()


def _require_well_formed(connector: Connector, observation: Observation) -> None:
    where = f"{observation.subject.id} {observation.relation}"
    _require(observation.source == connector.name, f"{where}: source is {observation.source!r}, not the name")
    for id in (observation.subject.id, observation.relation):
        _require(bool(CURIE.fullmatch(id)), f"{where}: {id!r} is not a CURIE")
    for at in (observation.observed, observation.modified):
        _require(at is None or at.utcoffset() == timedelta(), f"{where}: {at} is not in UTC")
    ids = [statement.id for statement in observation.statements]
    _require(ids == sorted(set(ids)), f"{where}: statements are not sorted by id, or not unique: {ids}")
    for statement in observation.statements:
        valued = statement.kind in ("entity", "literal")
        _require(valued == (statement.object is not None), f"{where}: {statement} and its kind disagree")


def _require_holds(ledger: CommittedSteps, expected: Facts, when: str) -> None:
    held = ledger.facts()
    wrong = {
        slot: held.get(slot, frozenset())
        for slot in expected
        if held.get(slot, frozenset()) != expected[slot]
    }
    _require(not wrong, f"{when}: the ledger holds {wrong}, the source {dict(expected)}")


def _require(kept: bool, broken: str) -> None:
    if not kept:
        raise NonConformance(broken)
