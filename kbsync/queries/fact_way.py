"""How the facts of a run came into it, and what became of them: from the source's revision to live."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Literal

from state import Snapshot
from state.event_queries import EventFilter
from state.records import Event, Fact, Run, SlotKey, StoredObservation

MOST = 100
"""Facts whose way is shown."""
ORDER = ("planned", "building", "built", "judged", "awaiting_review", "staged", "promoted", "deployed")
ENDS = ("rejected", "failed", "rolled_back")

Outcome = Literal["in progress", "went live", "not live", "left out", "known", "removed", "kept"]
"""What a run did with a fact:

    in progress  it is in the candidate, which is not decided on yet
    went live    it is in the candidate that was promoted
    not live     it was in the last candidate, which was not promoted
    left out     the run went on without it after a round
    known        it is in the candidate, and the base states it unedited
    removed      live no longer states it since this run was promoted
    kept         the run was to remove it and was not promoted
"""


@dataclass(frozen=True, slots=True)
class FactWay:
    """One fact that a run was to add or to remove."""

    fact: Fact
    read: datetime | None
    """When the source's revision was read; None if the observation is not stored any more."""
    modified: datetime | None
    """When the source changed, if it says so."""
    admitted: datetime | None
    """When it became wanted, or no longer wanted; None if that was not logged as an event of its own."""
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class RunStep:
    """A state of a run."""

    state: str
    at: datetime | None
    """None: it was not reached, or not yet."""
    seconds: float | None
    """How long the run was in it; None while it is, for the last one, and for one that was not reached."""


def ways(
    tx: Snapshot, run: Run, events: Sequence[Event], new: Sequence[Fact], removed: Sequence[Fact]
) -> tuple[FactWay, ...]:
    """The first `MOST` facts of the run's scope, added ones first."""
    new, removed = new[:MOST], removed[: max(0, MOST - len(new))]
    kept = tx.members(run.view, [fact.id for fact in (*new, *removed)])
    known = tx.known_facts(run.base, kept)
    read = tx.histories({(fact.subject, fact.relation) for fact in (*new, *removed)})
    planned = next((event.seq for event in events if event.kind == "run.planned"), None)
    return (
        *(_way(tx, fact, read, planned, _of_new(run, fact, kept, known)) for fact in new),
        *(_way(tx, fact, read, planned, _of_removed(run)) for fact in removed),
    )


def _of_new(run: Run, fact: Fact, kept: frozenset[int], known: frozenset[int]) -> Outcome:
    if fact.id not in kept:
        return "left out"
    if fact.id in known:
        return "known"
    return _decided(run, "went live", "not live")


def _of_removed(run: Run) -> Outcome:
    return _decided(run, "removed", "kept")


def _decided(run: Run, yes: Outcome, no: Outcome) -> Outcome:
    if run.state in ("promoted", "deployed", "rolled_back"):
        return yes
    return no if run.state in ENDS else "in progress"


def _way(
    tx: Snapshot,
    fact: Fact,
    read: dict[SlotKey, tuple[StoredObservation, ...]],
    planned: int | None,
    outcome: Outcome,
) -> FactWay:
    stated = [
        one
        for one in read.get((fact.subject, fact.relation), ())
        if (one.source, one.revision) == (fact.source, fact.revision)
    ]
    moved = [
        event
        for event in tx.recent_events(EventFilter(fact=fact.id, before=planned), 20)
        if event.kind in ("fact.wanted", "fact.superseded", "fact.retracted", "fact.quarantined")
    ]
    return FactWay(
        fact,
        stated[0].observed if stated else None,
        stated[0].modified if stated else None,
        moved[0].at if moved else None,
        outcome,
    )


def steps(run: Run, events: Sequence[Event]) -> tuple[RunStep, ...]:
    """The states that the run was in, in order, then those that an open run has before it."""
    moves = [
        (event.kind.removeprefix("run."), event.at)
        for event in events
        if event.kind == "run.planned" or (event.kind.startswith("run.") and '"to":' in event.body)
    ]
    been = [RunStep(state, at, (then - at).total_seconds()) for (state, at), (_, then) in pairwise(moves)]
    been += [RunStep(state, at, None) for state, at in moves[-1:]]
    return (*been, *(RunStep(state, None, None) for state in _ahead(run, {one.state for one in been})))


def _ahead(run: Run, been: set[str]) -> Iterator[str]:
    if run.state in ORDER:
        for state in ORDER[ORDER.index(run.state) + 1 :]:
            if state not in been and state != "awaiting_review":
                yield state
