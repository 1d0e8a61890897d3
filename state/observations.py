"""What the sources stated: every state of every slot, and the newest revision read of each source.

Delivery is at-least-once and may be out of order, so recording is idempotent and monotone: an
observation is *new* if it is of a newer revision and differs from what the source stated
last; *duplicate* if it adds nothing; *late* if its revision is not newer than one already read and
changes the history (a flip may hide there), in which case it never becomes current.  A row is a span
of revisions that stated the same (`revision_spans.py`).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import func, select

from state.records import Recorded, SlotKey, StoredObservation
from state.revision_spans import Numbering, Revision, Span, dump_repeats, insert, load_repeats
from state.tables import Observations, Readings, table
from state.transaction import SLOTS, AnyRow, NewEvent, Reader, Writer, chunks, columns_of

OBSERVATIONS, READINGS = table(Observations), table(Readings)
_OBSERVATION = columns_of(OBSERVATIONS, StoredObservation)
_HISTORY = select(*_OBSERVATION).join_from(OBSERVATIONS, SLOTS)
_NEWEST = READINGS.join(SLOTS).join(OBSERVATIONS, READINGS.c.observation == OBSERVATIONS.c.id)
"""By way of the readings' slot: by the observations' own, SQLite would scan all readings."""
_WATCHED = select(READINGS.c.id, SLOTS.c.subject, SLOTS.c.relation).join_from(READINGS, SLOTS)
_SPAN = (
    OBSERVATIONS.c.revision.label("began"),
    OBSERVATIONS.c.modified,
    OBSERVATIONS.c.observed,
    OBSERVATIONS.c.repeats,
    OBSERVATIONS.c.statements,
)
_BY_REVISION = (OBSERVATIONS.c.source, OBSERVATIONS.c.revision, OBSERVATIONS.c.id.desc())

_Name = tuple[str, str, str]
"""A slot at a source: (source, subject, relation)."""


class ObservationQueries(Reader):
    def histories(self, pairs: Iterable[SlotKey]) -> dict[SlotKey, tuple[StoredObservation, ...]]:
        """All that was ever stated about the slots, source by source, in each source's own order."""
        found: dict[SlotKey, list[StoredObservation]] = {}
        for chunk in chunks(pairs):
            rows = self._rows(_HISTORY.where(self._named(chunk)).order_by(*_BY_REVISION))
            for row in rows:
                found.setdefault((row.subject, row.relation), []).append(StoredObservation(*row))
        return {pair: tuple(history) for pair, history in found.items()}

    def current(self, pairs: Iterable[SlotKey]) -> dict[SlotKey, tuple[StoredObservation, ...]]:
        """What each source states about the slots now."""
        found: dict[SlotKey, list[StoredObservation]] = {}
        newest = select(*_OBSERVATION).select_from(_NEWEST)
        for chunk in chunks(pairs):
            for row in self._rows(newest.where(self._named(chunk)).order_by(OBSERVATIONS.c.source)):
                found.setdefault((row.subject, row.relation), []).append(StoredObservation(*row))
        return {pair: tuple(by_source) for pair, by_source in found.items()}

    def newest_revisions(self, source: str, pairs: Iterable[SlotKey]) -> dict[SlotKey, int]:
        """The newest revision read of each slot at `source`, also where it repeated what was stated before."""
        columns = select(SLOTS.c.subject, SLOTS.c.relation, READINGS.c.revision).join_from(READINGS, SLOTS)
        return {
            (row.subject, row.relation): row.revision
            for chunk in chunks(pairs)
            for row in self._rows(columns.where(READINGS.c.source == source, self._named(chunk)))
        }

    def watched_page(
        self, source: str, after: int, limit: int, relation: str | None = None
    ) -> tuple[list[SlotKey], int]:
        """At most `limit` of the slots that the source was ever read for, and where the next page begins
        (see `State.watched`); 0 for the first."""
        chosen = _WATCHED.where(READINGS.c.source == source, READINGS.c.id > after)
        if relation is not None:
            chosen = chosen.where(SLOTS.c.relation == relation)
        rows = self._rows(chosen.order_by(READINGS.c.id).limit(limit))
        return [(row.subject, row.relation) for row in rows], rows[-1].id if rows else after

    def revisions_page(self, source: str, after: int, limit: int) -> tuple[list[tuple[str, int]], int]:
        """(subject, newest revision) of at most `limit` slots that the source was read for, and where the next page
        begins; 0 for the first.  A subject is named once for each of its slots."""
        columns = select(READINGS.c.id, SLOTS.c.subject, READINGS.c.revision).join_from(READINGS, SLOTS)
        chosen = columns.where(READINGS.c.source == source, READINGS.c.id > after)
        rows = self._rows(chosen.order_by(READINGS.c.id).limit(limit))
        return [(row.subject, row.revision) for row in rows], rows[-1].id if rows else after

    def random_slots(self, source: str, n: int, seed: int) -> list[SlotKey]:
        """At most `n` distinct slots of the source, by chance; cost follows `n`, not the ledger."""
        of_source = READINGS.c.source == source
        bounds = self._row(select(func.min(READINGS.c.id), func.max(READINGS.c.id)).where(of_source))
        if bounds is None or bounds[0] is None:
            return []
        chance = random.Random(seed)
        picked: dict[int, SlotKey] = {}
        for _ in range(4 * n):
            if len(picked) == n:
                break
            at = chance.randint(bounds[0], bounds[1])
            row = self._row(_WATCHED.where(of_source, READINGS.c.id >= at).order_by(READINGS.c.id).limit(1))
            if row is not None:
                picked[row.id] = (row.subject, row.relation)
        return list(picked.values())


@dataclass
class _SlotAtSource:
    """One slot at one source while a batch is being recorded."""

    spans: list[Span]
    """All of them, or the current one alone where nothing of the batch is late."""
    reading: int | None
    """The row of `readings`."""
    revision: int | None
    """The newest revision read, as that row has it."""
    observation: int | None
    """The current observation, as that row has it."""
    numbering: Numbering


class ObservationTransitions(ObservationQueries, Writer):
    def record(self, observations: Sequence[StoredObservation], actor: str = "connector") -> list[Recorded]:
        """Stores a batch; returns for each whether it was new, a duplicate or late. The ids of the input are ignored.

        A newer revision that repeats what the source stated last adds no row, so the current observation
        keeps the revision and date at which its value appeared.  Revisions may be numbered otherwise here
        than at the source, after a subject was gone and came back (`Numbering`).
        """
        ids = self._slot_ids((item.subject, item.relation) for item in observations)
        slots = self._slots_of(observations)
        outcomes: list[Recorded] = []
        for item in observations:
            slot = slots.setdefault(_name(item), _SlotAtSource([], None, None, None, Numbering()))
            number = slot.numbering.number(item.revision)
            revision = Revision(number, item.modified, item.observed)
            outcomes.append(insert(slot.spans, item.statements, revision))
        self._write_spans(slots, ids)
        self._write_readings(slots, ids)
        if any(outcome != "duplicate" for outcome in outcomes):
            self._log(actor, [_note(observations, outcomes)])
        return outcomes

    def _slots_of(self, observations: Sequence[StoredObservation]) -> dict[_Name, _SlotAtSource]:
        """What the ledger has of those of the slots that it knows."""
        found: dict[_Name, _SlotAtSource] = {}
        columns = (SLOTS.c.subject, SLOTS.c.relation, READINGS, *_SPAN)
        for chunk in chunks((item.subject, item.relation) for item in observations):
            for row in self._rows(select(*columns).select_from(_NEWEST).where(self._named(chunk))):
                name = (row.source, row.subject, row.relation)
                numbering = Numbering(row.revision, row.gone, row.lift)
                span = _span(row, row.observation)
                found[name] = _SlotAtSource([span], row.id, row.revision, row.observation, numbering)
        late = {
            name
            for item in observations
            if (slot := found.get(name := _name(item))) is not None and _is_late(item, slot)
        }
        for name, spans in self._all_spans(late).items():
            found[name].spans = spans
        return found

    def _all_spans(self, names: Iterable[_Name]) -> dict[_Name, list[Span]]:
        wanted = set(names)
        found: dict[_Name, list[Span]] = {}
        columns = (SLOTS.c.subject, SLOTS.c.relation, OBSERVATIONS.c.source, OBSERVATIONS.c.id, *_SPAN)
        for chunk in chunks((subject, relation) for _, subject, relation in wanted):
            stated = select(*columns).join_from(OBSERVATIONS, SLOTS).where(self._named(chunk))
            for row in self._rows(stated.order_by(*_BY_REVISION)):
                name = (row.source, row.subject, row.relation)
                if name in wanted:
                    found.setdefault(name, []).append(_span(row, row.id))
        return found

    def _write_spans(self, slots: Mapping[_Name, _SlotAtSource], ids: Mapping[SlotKey, int]) -> None:
        """New rows and changed ones.

        Of two spans that begin with one revision the later in the slot gets the smaller id: `_BY_REVISION`.
        """
        next_id = self._next_id(OBSERVATIONS)
        new: list[dict[str, Any]] = []
        changed: list[dict[str, Any]] = []
        repeated: list[dict[str, Any]] = []
        for (source, subject, relation), slot in slots.items():
            for span in reversed(slot.spans):
                if span.id is None:
                    span.id = next_id + len(new)
                    named = {"id": span.id, "source": source, "slot": ids[(subject, relation)]}
                    new.append({**named, "statements": span.statements, **_dated(span)})
                elif span.revisions[0] != span.began:
                    changed.append({"id": span.id, **_dated(span)})
                elif span.changed:
                    repeated.append({"id": span.id, "repeats": dump_repeats(span.revisions[1:])})
        self._insert(OBSERVATIONS, new)
        self._rewrite(OBSERVATIONS, changed)
        self._rewrite(OBSERVATIONS, repeated)

    def _write_readings(self, slots: Mapping[_Name, _SlotAtSource], ids: Mapping[SlotKey, int]) -> None:
        next_id = self._next_id(READINGS)
        new: list[dict[str, Any]] = []
        moved, moved_named = [], []
        reread = []
        for (source, subject, relation), slot in slots.items():
            current = slot.spans[-1]
            newest, numbering = current.revisions[-1].number, slot.numbering
            values = {"revision": newest, "observation": current.id}
            standing = {"gone": numbering.gone, "lift": numbering.lift}
            named = {"source": source, "slot": ids[(subject, relation)]}
            if slot.reading is None:
                new.append({"id": next_id + len(new), **named, **values})
            elif slot.observation != current.id:
                moved.append({"id": slot.reading, **values, **standing})
                moved_named.append(named)
            elif slot.revision != values["revision"]:
                reread.append({"id": slot.reading, "revision": values["revision"]})
        self._insert(READINGS, new)
        self._rewrite(READINGS, moved, moved_named)
        self._rewrite(READINGS, reread)


def _name(item: StoredObservation) -> _Name:
    return item.source, item.subject, item.relation


def _is_late(item: StoredObservation, slot: _SlotAtSource) -> bool:
    """Whether the item belongs before the end of the history; the current statement, delivered again, does not."""
    current = slot.spans[-1]
    newest = current.revisions[-1].number
    number = replace(slot.numbering).number(item.revision)
    again = number == newest and item.statements == current.statements
    return number <= newest and not again


def _span(row: AnyRow, id: int) -> Span:
    first = Revision(row.began, row.modified, row.observed)
    return Span(row.statements, [first, *load_repeats(row.repeats)], id, began=first)


def _dated(span: Span) -> dict[str, Any]:
    """The columns of a row that change when its span does."""
    first = span.revisions[0]
    return {
        "revision": first.number,
        "modified": first.modified,
        "observed": first.observed,
        "repeats": dump_repeats(span.revisions[1:]),
    }


def _note(observations: Sequence[StoredObservation], outcomes: Sequence[Recorded]) -> NewEvent:
    counts = Counter(outcomes)
    sources = sorted({item.source for item in observations})
    return NewEvent(
        "observations.recorded", {"sources": sources, **{name: counts[name] for name in sorted(counts)}}
    )
