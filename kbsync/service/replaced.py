"""Statements that sources replaced long ago, and on which neither admission nor a fact in use depends."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime

from kbsync.admission.timeline import expendable
from kbsync.application import Application
from kbsync.intake.admit import parsed
from state import Snapshot
from state.records import SlotKey
from state.transaction import chunks

Statement = tuple[str, SlotKey, int]
"""Source, slot and revision."""
_PAGE = 500


def replaced_statements(
    app: Application, tx: Snapshot, views: Collection[str], before: datetime
) -> Iterator[Statement]:
    """What was replaced before then and nothing needs; `views`: the digests of views whose facts are in use."""
    for found in tx.replaced_observations(before):
        slots: dict[SlotKey, set[str]] = {}
        for source, slot in found:
            slots.setdefault(slot, set()).add(source)
        for page in chunks(slots, _PAGE):
            yield from _expendable(app, tx, views, {slot: slots[slot] for slot in page}, before)


def _expendable(
    app: Application,
    tx: Snapshot,
    views: Collection[str],
    slots: Mapping[SlotKey, Collection[str]],
    before: datetime,
) -> Iterator[Statement]:
    """The same of these slots, each with the sources to look at."""
    now, policy = app.now(), app.settings.policy
    histories, facts = tx.histories(slots), tx.facts_of(slots)
    in_use = tx.facts_in_use(views, (fact.id for several in facts.values() for fact in several))
    for slot, sources in slots.items():
        needed = {(fact.source, fact.revision) for fact in facts.get(slot, ()) if fact.id in in_use}
        for source in sorted(sources):
            seen = [parsed(one) for one in histories[slot] if one.source == source]
            window = policy.rules(source, slot[1]).flip_window
            revisions = {revision for name, revision in needed if name == source}
            old = expendable(seen, now, window, min(before, now - window), revisions)
            yield from ((source, slot, one.revision) for one in old)
