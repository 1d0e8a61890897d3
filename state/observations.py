"""What the sources said: every state of every slot, and where each source stands.

Delivery is at-least-once and may be out of order, so recording is idempotent and monotone: an
observation is *new* if it is of a newer revision and says something else than the source said
last; *duplicate* if it adds nothing; *late* if its revision is not newer than one already read, in
which case it joins the history (a flip may hide there) but never becomes current.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, func, select, update

from state.records import Recorded, StoredObservation
from state.tables import Observations, Readings, table
from state.transaction import SLOTS, Note, Pair, Reader, Writer, chunks, columns_of

OBSERVATIONS, READINGS = table(Observations), table(Readings)
_OBSERVATION = columns_of(OBSERVATIONS, StoredObservation)
_SAID = select(*_OBSERVATION).join_from(OBSERVATIONS, SLOTS)
_NEWEST = READINGS.join(SLOTS).join(OBSERVATIONS, READINGS.c.observation == OBSERVATIONS.c.id)
"""By way of the readings' slot: by the observations' own, SQLite would scan all readings."""
_WATCHED = select(READINGS.c.id, SLOTS.c.subject, SLOTS.c.relation).join_from(READINGS, SLOTS)
_PAGE = 1000

_Name = tuple[str, str, str]
"""A slot at a source: (source, subject, relation)."""


class ObservationQueries(Reader):
    def histories(self, pairs: Iterable[Pair]) -> dict[Pair, tuple[StoredObservation, ...]]:
        """All that was ever said of the slots, by all sources, in the order in which it was read."""
        found: dict[Pair, list[StoredObservation]] = {}
        for chunk in chunks(pairs):
            rows = self._rows(_SAID.where(self._named(chunk)).order_by(OBSERVATIONS.c.id))
            for row in rows:
                found.setdefault((row.subject, row.relation), []).append(StoredObservation(*row))
        return {pair: tuple(history) for pair, history in found.items()}

    def current(self, pairs: Iterable[Pair]) -> dict[Pair, tuple[StoredObservation, ...]]:
        """What each source says of the slots now: the newest observation that was not late."""
        found: dict[Pair, list[StoredObservation]] = {}
        said_last = select(*_OBSERVATION).select_from(_NEWEST)
        for chunk in chunks(pairs):
            for row in self._rows(said_last.where(self._named(chunk)).order_by(OBSERVATIONS.c.source)):
                found.setdefault((row.subject, row.relation), []).append(StoredObservation(*row))
        return {pair: tuple(by_source) for pair, by_source in found.items()}

    def newest_revisions(self, source: str, pairs: Iterable[Pair]) -> dict[Pair, int]:
        """The newest revision read of each slot at `source`, also where it repeated what was said before."""
        columns = select(SLOTS.c.subject, SLOTS.c.relation, READINGS.c.revision).join_from(READINGS, SLOTS)
        return {
            (row.subject, row.relation): row.revision
            for chunk in chunks(pairs)
            for row in self._rows(columns.where(READINGS.c.source == source, self._named(chunk)))
        }

    def watched(self, source: str, relation: str | None = None) -> Iterator[Pair]:
        """Every slot that the source was ever read for, a page at a time (for reconciliation)."""
        last = 0
        chosen = _WATCHED.where(READINGS.c.source == source)
        if relation is not None:
            chosen = chosen.where(SLOTS.c.relation == relation)
        while rows := self._rows(chosen.where(READINGS.c.id > last).order_by(READINGS.c.id).limit(_PAGE)):
            yield from ((row.subject, row.relation) for row in rows)
            last = rows[-1].id

    def random_slots(self, source: str, n: int, seed: int) -> list[Pair]:
        """At most `n` distinct slots of the source, by chance; cost follows `n`, not the ledger."""
        of_source = READINGS.c.source == source
        bounds = self._row(select(func.min(READINGS.c.id), func.max(READINGS.c.id)).where(of_source))
        if bounds is None or bounds[0] is None:
            return []
        chance = random.Random(seed)
        picked: dict[int, Pair] = {}
        for _ in range(4 * n):
            if len(picked) == n:
                break
            at = chance.randint(bounds[0], bounds[1])
            row = self._row(_WATCHED.where(of_source, READINGS.c.id >= at).order_by(READINGS.c.id).limit(1))
            if row is not None:
                picked[row.id] = (row.subject, row.relation)
        return list(picked.values())


@dataclass
class _Reading:
    """Where one source stands with one slot while a batch is being recorded."""

    revision: int
    observation: int
    statements: str
    id: int | None


class ObservationTransitions(ObservationQueries, Writer):
    def record(self, observations: Sequence[StoredObservation], actor: str = "connector") -> list[Recorded]:
        """Stores a batch and says of each what it was; the ids and `late` marks of the input are ignored.

        A newer revision that repeats what the source said last moves the reading forward and adds
        no row, so the current observation keeps the revision and date at which its value appeared.
        """
        ids = self._slot_ids((item.subject, item.relation) for item in observations)
        readings = self._readings(observations)
        history = self._late_history(observations, readings)
        next_id = self._next_id(OBSERVATIONS)
        rows: list[dict[str, Any]] = []
        outcomes: list[Recorded] = []
        touched: dict[_Name, _Reading] = {}
        for item in observations:
            name = (item.source, item.subject, item.relation)
            reading = readings.get(name)
            earlier = history.setdefault(name, [])
            outcome = _outcome(item, reading, earlier)
            outcomes.append(outcome)
            if outcome != "duplicate":
                slot = ids[(item.subject, item.relation)]
                rows.append(_row(item, slot, next_id + len(rows), late=outcome == "late"))
                earlier.append((item.revision, item.statements))
            if outcome == "late" or (reading is not None and item.revision <= reading.revision):
                continue
            if reading is None:
                reading = readings[name] = _Reading(0, 0, "", None)
            reading.revision = item.revision
            if outcome == "new":
                reading.observation, reading.statements = rows[-1]["id"], item.statements
            touched[name] = reading
        self._insert(OBSERVATIONS, rows)
        self._move_readings(touched, ids)
        if rows:
            self._log(actor, [_note(observations, outcomes)])
        return outcomes

    def _readings(self, observations: Sequence[StoredObservation]) -> dict[_Name, _Reading]:
        found = {}
        columns = (SLOTS.c.subject, SLOTS.c.relation, READINGS, OBSERVATIONS.c.statements)
        for chunk in chunks((item.subject, item.relation) for item in observations):
            for row in self._rows(select(*columns).select_from(_NEWEST).where(self._named(chunk))):
                name = (row.source, row.subject, row.relation)
                found[name] = _Reading(row.revision, row.observation, row.statements, row.id)
        return found

    def _late_history(
        self, observations: Sequence[StoredObservation], readings: dict[_Name, _Reading]
    ) -> dict[_Name, list[tuple[int, str]]]:
        """What is stored, as (revision, statements), of the slots that the batch has an old revision of."""
        late = []
        for item in observations:
            reading = readings.get((item.source, item.subject, item.relation))
            if reading is not None and item.revision <= reading.revision:
                late.append((item.subject, item.relation))
        found: dict[_Name, list[tuple[int, str]]] = {}
        for history in self.histories(late).values():
            for old in history:
                name = (old.source, old.subject, old.relation)
                found.setdefault(name, []).append((old.revision, old.statements))
        return found

    def _move_readings(self, touched: dict[_Name, _Reading], slots: dict[Pair, int]) -> None:
        next_id = self._next_id(READINGS)
        new: list[dict[str, Any]] = []
        moved = []
        for (source, subject, relation), reading in touched.items():
            values = {"revision": reading.revision, "observation": reading.observation}
            if reading.id is None:
                slot = slots[(subject, relation)]
                new.append({"id": next_id + len(new), "source": source, "slot": slot, **values})
            else:
                moved.append({"_id": reading.id, **values})
        self._insert(READINGS, new)
        if moved:
            self.connection.execute(update(READINGS).where(READINGS.c.id == bindparam("_id")), moved)


def _outcome(
    item: StoredObservation, reading: _Reading | None, earlier: Sequence[tuple[int, str]]
) -> Recorded:
    """`earlier`: what is stored of the slot at this source, as (revision, statements)."""
    if reading is None:
        return "new"
    same = item.statements == reading.statements
    if item.revision > reading.revision:
        return "duplicate" if same else "new"
    if same and item.revision == reading.revision:
        return "duplicate"
    if (item.revision, item.statements) in earlier:
        return "duplicate"
    # Delivered again: a revision that once repeated what was said before it and so has no row of its own.
    before = max(
        (told for told in earlier if told[0] <= item.revision), key=lambda told: told[0], default=None
    )
    return "duplicate" if before is not None and before[1] == item.statements else "late"


def _row(item: StoredObservation, slot: int, id: int, *, late: bool) -> dict[str, Any]:
    return {
        "id": id,
        "source": item.source,
        "slot": slot,
        "revision": item.revision,
        "modified": item.modified,
        "observed": item.observed,
        "statements": item.statements,
        "late": late,
    }


def _note(observations: Sequence[StoredObservation], outcomes: Sequence[Recorded]) -> Note:
    counts = Counter(outcomes)
    sources = sorted({item.source for item in observations})
    return Note(
        "observations.recorded", {"sources": sources, **{name: counts[name] for name in sorted(counts)}}
    )
