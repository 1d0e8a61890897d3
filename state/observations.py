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
from state.transaction import Note, Pair, Reader, Writer, chunks, columns_of

OBSERVATIONS, READINGS = table(Observations), table(Readings)
_OBSERVATION = columns_of(OBSERVATIONS, StoredObservation)
_PAGE = 1000


class ObservationQueries(Reader):
    def histories(self, pairs: Iterable[Pair]) -> dict[Pair, tuple[StoredObservation, ...]]:
        """All that was ever said of the slots, by all sources, in the order in which it was read."""
        found: dict[Pair, list[StoredObservation]] = {}
        for chunk in chunks(pairs):
            rows = self._rows(
                select(*_OBSERVATION).where(self._of(OBSERVATIONS, chunk)).order_by(OBSERVATIONS.c.id)
            )
            for row in rows:
                found.setdefault((row.subject, row.relation), []).append(StoredObservation(*row))
        return {pair: tuple(history) for pair, history in found.items()}

    def current(self, pairs: Iterable[Pair]) -> dict[Pair, tuple[StoredObservation, ...]]:
        """What each source says of the slots now: the newest observation that was not late."""
        found: dict[Pair, list[StoredObservation]] = {}
        joined = OBSERVATIONS.join(READINGS, READINGS.c.observation == OBSERVATIONS.c.id)
        for chunk in chunks(pairs):
            statement = select(*_OBSERVATION).select_from(joined).where(self._of(READINGS, chunk))
            for row in self._rows(statement.order_by(OBSERVATIONS.c.source)):
                found.setdefault((row.subject, row.relation), []).append(StoredObservation(*row))
        return {pair: tuple(by_source) for pair, by_source in found.items()}

    def watched(self, source: str, relation: str | None = None) -> Iterator[Pair]:
        """Every slot that the source was ever read for, a page at a time (for reconciliation)."""
        last = 0
        columns = select(READINGS.c.id, READINGS.c.subject, READINGS.c.relation).where(
            READINGS.c.source == source
        )
        if relation is not None:
            columns = columns.where(READINGS.c.relation == relation)
        while rows := self._rows(columns.where(READINGS.c.id > last).order_by(READINGS.c.id).limit(_PAGE)):
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
            columns = select(READINGS.c.id, READINGS.c.subject, READINGS.c.relation)
            row = self._row(columns.where(of_source, READINGS.c.id >= at).order_by(READINGS.c.id).limit(1))
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
        readings = self._readings(observations)
        history = self._late_history(observations, readings)
        next_id = self._next_id(OBSERVATIONS)
        rows: list[dict[str, Any]] = []
        outcomes: list[Recorded] = []
        touched: dict[tuple[str, str, str], _Reading] = {}
        for item in observations:
            name = (item.source, item.subject, item.relation)
            reading = readings.get(name)
            outcome = _outcome(item, reading, history)
            outcomes.append(outcome)
            if outcome != "duplicate":
                rows.append(_row(item, next_id + len(rows), late=outcome == "late"))
                history.add((*name, item.revision, item.statements))
            if outcome == "late" or (reading is not None and item.revision <= reading.revision):
                continue
            if reading is None:
                reading = readings[name] = _Reading(0, 0, "", None)
            reading.revision = item.revision
            if outcome == "new":
                reading.observation, reading.statements = rows[-1]["id"], item.statements
            touched[name] = reading
        self._insert(OBSERVATIONS, rows)
        self._move_readings(touched)
        if rows:
            self._log(actor, [_note(observations, outcomes)])
        return outcomes

    def _readings(self, observations: Sequence[StoredObservation]) -> dict[tuple[str, str, str], _Reading]:
        found = {}
        joined = READINGS.join(OBSERVATIONS, READINGS.c.observation == OBSERVATIONS.c.id)
        columns = (READINGS, OBSERVATIONS.c.statements)
        for chunk in chunks((item.subject, item.relation) for item in observations):
            for row in self._rows(select(*columns).select_from(joined).where(self._of(READINGS, chunk))):
                name = (row.source, row.subject, row.relation)
                found[name] = _Reading(row.revision, row.observation, row.statements, row.id)
        return found

    def _late_history(
        self, observations: Sequence[StoredObservation], readings: dict[tuple[str, str, str], _Reading]
    ) -> set[tuple[str, str, str, int, str]]:
        """What is already stored of the slots for which the batch holds an old revision."""
        late = []
        for item in observations:
            reading = readings.get((item.source, item.subject, item.relation))
            if reading is not None and item.revision <= reading.revision:
                late.append((item.subject, item.relation))
        return {
            (old.source, old.subject, old.relation, old.revision, old.statements)
            for history in self.histories(late).values()
            for old in history
        }

    def _move_readings(self, touched: dict[tuple[str, str, str], _Reading]) -> None:
        next_id = self._next_id(READINGS)
        new: list[dict[str, Any]] = []
        moved = []
        for (source, subject, relation), reading in touched.items():
            values = {"revision": reading.revision, "observation": reading.observation}
            if reading.id is None:
                slot = {"source": source, "subject": subject, "relation": relation}
                new.append({"id": next_id + len(new), **slot, **values})
            else:
                moved.append({"_id": reading.id, **values})
        self._insert(READINGS, new)
        if moved:
            self.connection.execute(update(READINGS).where(READINGS.c.id == bindparam("_id")), moved)


def _outcome(
    item: StoredObservation, reading: _Reading | None, history: set[tuple[str, str, str, int, str]]
) -> Recorded:
    if reading is None:
        return "new"
    same = item.statements == reading.statements
    if item.revision > reading.revision:
        return "duplicate" if same else "new"
    if same and item.revision == reading.revision:
        return "duplicate"
    stored = (item.source, item.subject, item.relation, item.revision, item.statements)
    return "duplicate" if stored in history else "late"


def _row(item: StoredObservation, id: int, *, late: bool) -> dict[str, Any]:
    return {
        "id": id,
        "source": item.source,
        "subject": item.subject,
        "relation": item.relation,
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
