"""Looking something up in archived events: their files are read whole, the newest first."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select

from state.archives.files import Segment
from state.event_queries import EventFilter, EventQueries
from state.fact_queries import FACTS
from state.hash_chain import canonical, instant
from state.records import Event
from state.transaction import SLOTS, Reader, event_of_row


def archived_events(tx: Reader, chosen: EventFilter, limit: int) -> list[Event]:
    """The newest archived events that meet the filter, newest first, those that are still in the ledger among them.

    Raises ArchiveMissing where a file that is to be read is not there, and Damaged where it was changed.
    """
    cut = tx.cut()
    found: list[Event] = []
    for segment in reversed(() if cut is None else cut.segments):
        if len(found) >= limit or segment.last <= chosen.after:
            break
        if chosen.before is None or segment.first < chosen.before:
            found += _of_segment(tx, segment, chosen, limit - len(found))
    return found


def all_events(tx: EventQueries, chosen: EventFilter, limit: int) -> list[Event]:
    """The newest events that meet the filter, newest first, archived ones among them.  Raises as `archived_events`."""
    here = tx.recent_events(chosen, limit)
    cut = tx.cut()
    if (
        cut is None
        or (chosen.since is not None and instant(chosen.since) >= cut.before)
        or _is_whole(here, chosen)
    ):
        return here
    found = {one.seq: one for one in (*archived_events(tx, chosen, limit), *here)}
    return [found[seq] for seq in sorted(found, reverse=True)][:limit]


def _is_whole(here: Sequence[Event], chosen: EventFilter) -> bool:
    """Whether what was found in the ledger is all there is: facts and runs in use keep all their events."""
    if chosen.run is not None:
        return any(one.kind == "run.planned" for one in here)
    return chosen.fact is not None and bool(here)


def _of_segment(tx: Reader, segment: Segment, chosen: EventFilter, limit: int) -> list[Event]:
    newest: deque[Event] = deque(maxlen=limit)
    facts = None if chosen.subject is None else _facts_of(tx, chosen.subject)
    for row in tx.archive.rows(segment):
        if _meets(row, chosen, facts):
            newest.append(event_of_row(row))
    return list(reversed(newest))


def _facts_of(tx: Reader, subject: str) -> frozenset[int]:
    slots = select(SLOTS.c.id).where(SLOTS.c.subject == subject)
    return frozenset(
        row.id for row in tx.connection.execute(select(FACTS.c.id).where(FACTS.c.slot.in_(slots)))
    )


def _meets(row: Mapping[str, Any], chosen: EventFilter, facts: frozenset[int] | None) -> bool:
    """As `event_queries.meets` has it for rows in the ledger; `facts`: those of the subject that is asked for."""
    since, until = (None if at is None else instant(at) for at in (chosen.since, chosen.until))
    return (
        row["seq"] > chosen.after
        and (chosen.before is None or row["seq"] < chosen.before)
        and (since is None or row["at"] >= since)
        and (until is None or row["at"] < until)
        and (chosen.kind is None or _is_kind(row["kind"], chosen.kind))
        and (chosen.actor is None or _is_by(row, chosen.actor))
        and chosen.run in (None, row["run"])
        and chosen.fact in (None, row["fact"])
        and (facts is None or row["fact"] in facts or _names(row, str(chosen.subject)))
    )


def _is_kind(kind: str, wanted: str) -> bool:
    return kind.startswith(wanted[:-1]) if wanted.endswith("*") else kind == wanted


def _is_by(row: Mapping[str, Any], actor: str) -> bool:
    return row["actor"] == actor or f'"os_user":"{canonical(actor)[1:-1]} (uid ' in row["body"]


def _names(row: Mapping[str, Any], subject: str) -> bool:
    """Whether the event is about the subject's own names and prompts."""
    if row["kind"] not in ("entity.relabelled", "slot.rerendered"):
        return False
    body = json.loads(row["body"])
    return subject in (body.get("id"), body.get("subject"))
