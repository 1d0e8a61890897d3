"""What sources state of subjects that were forgotten: it is not learnt until they are released."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from connectors.cursors import without_subjects
from connectors.observations import Observation, Poll, Triple
from state.ledger import Snapshot, Transaction


def without_forgotten(tx: Transaction, step: Poll) -> Poll:
    """The step without forgotten subjects, and without statements that have one as their value.

    A forgotten subject that was merged into another at its source is forgotten under its new id, too.
    """
    ids = set(_ids(step))
    barred = tx.forgotten(ids)
    if not barred:
        return step
    for old, new in (*step.redirects, *step.merged_objects):
        if old in barred:
            tx.follow_forgotten(old, new)
    barred = tx.forgotten(ids)
    return replace(
        step,
        observations=tuple(_left(one, barred) for one in step.observations if one.subject.id not in barred),
        redirects=tuple(pair for pair in step.redirects if barred.isdisjoint(pair)),
        labels=tuple(one for one in step.labels if one.id not in barred),
        merged_objects=tuple(pair for pair in step.merged_objects if barred.isdisjoint(pair)),
    )


def cursor_without_forgotten(tx: Snapshot, cursor: str) -> str:
    """The cursor of a source without the forgotten subjects that it lists."""
    return without_subjects(cursor, tx.forgotten) if tx.has_forgotten() else cursor


def triples_without_forgotten(tx: Snapshot, triples: Iterable[Triple]) -> tuple[Triple, ...]:
    """Triples that name nobody who was forgotten, for probes."""
    known = tuple(triples)
    barred = tx.forgotten(id for one in known for id in (one.subject.id, one.object.id))
    return tuple(one for one in known if barred.isdisjoint((one.subject.id, one.object.id)))


def _ids(step: Poll) -> Iterable[str]:
    for one in step.observations:
        yield one.subject.id
        yield from (stated.object.id for stated in one.statements if stated.object is not None)
    yield from (entity.id for entity in step.labels)
    yield from (id for pair in (*step.redirects, *step.merged_objects) for id in pair)


def _left(observation: Observation, barred: frozenset[str]) -> Observation:
    stated = tuple(one for one in observation.statements if one.object is None or one.object.id not in barred)
    return observation if stated == observation.statements else replace(observation, statements=stated)
