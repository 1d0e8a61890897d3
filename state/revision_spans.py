"""One slot at one source, by revision: what was stated, in spans of revisions that stated the same.

Revisions arrive at least once and in any order, and most of them repeat what was said before.  A
slot's history is therefore kept as a set of revisions, run-length encoded: a span is what was said,
the revision at which it was said first, and the later ones known to repeat it.  Because the repeats
are known, a revision that arrives late finds its exact place (it may part a span in two), and the
history depends on *which* revisions were delivered, not on how often or in what order.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from state.records import GONE, Recorded

REPEATS = 8
"""Repeats that a span remembers, the newest ones.  A revision that arrives later than so many repeats
still enters the history, once; the source's return is then dated by the oldest repeat remembered."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Reading(NamedTuple):
    """One revision: when the source made it and when we read it."""

    revision: int
    modified: datetime | None
    observed: datetime


@dataclass(slots=True)
class Span:
    """Readings that stated the same, ascending by revision, with nothing else known between them."""

    statements: str
    readings: list[Reading]
    id: int | None = None
    """The ledger's row; None: it has none yet."""
    changed: bool = False
    """Whether the row, if there is one, is not this any more."""
    began: Reading | None = None
    """The first reading as the row has it."""

    def include(self, at: int, reading: Reading) -> None:
        """Adds a reading at place `at` and forgets repeats beyond `REPEATS`."""
        before = list(self.readings)
        self.readings.insert(at, reading)
        del self.readings[1 : max(1, len(self.readings) - REPEATS)]
        self.changed = self.changed or self.readings != before


@dataclass(slots=True)
class Numbering:
    """How the revision numbers of a source become those of a slot's history.

    A subject that is gone has no revision any more, so its absence is numbered after the newest one.  It
    may come back under the very number that it had: deleted and undeleted, merged and the merge undone.
    That number, and all later ones of the source, are then lifted above the absence.  An older number is
    still late: a replica that lags brings nobody back.
    """

    newest: int | None = None
    gone: bool = False
    lift: int = 0

    def number(self, revision: int) -> int:
        """The number under which a reading enters the history; later readings are numbered from there."""
        gone = revision == GONE
        if self.newest is None:
            number = 0 if gone else revision
        elif gone:
            number = self.newest + (not self.gone)
        else:
            number = revision + self.lift
            if self.gone and self.newest - 1 <= number <= self.newest:
                self.lift += self.newest + 1 - number
                number = self.newest + 1
        if self.newest is None or number > self.newest:
            self.newest, self.gone = number, gone
        return number


def insert(spans: list[Span], statements: str, reading: Reading) -> Recorded:
    """Puts a reading in its place and returns what it was.

    `new`: it is what the source says now; `duplicate`: it adds nothing but, at most, a repeat; `late`: it
    changes the past.  A revision that was already read otherwise (a source that breaks its word) goes
    before that reading: what was read first stays current.
    """
    if not spans:
        spans.append(Span(statements, [reading]))
        return "new"
    last = spans[-1]
    if reading.revision > last.readings[-1].revision:
        if last.statements == statements:
            last.include(len(last.readings), reading)
            return "duplicate"
        spans.append(Span(statements, [reading]))
        return "new"
    return _insert_late(spans, statements, reading)


def _insert_late(spans: list[Span], statements: str, reading: Reading) -> Recorded:
    if any(
        repeat.revision == reading.revision
        for span in spans
        if span.statements == statements
        for repeat in span.readings
    ):
        return "duplicate"
    at = next(n for n, span in enumerate(spans) if span.readings[-1].revision >= reading.revision)
    span = spans[at]
    earlier = sum(repeat.revision < reading.revision for repeat in span.readings)
    if earlier and span.statements == statements:
        span.include(earlier, reading)
        return "duplicate"
    if earlier:
        rest = Span(span.statements, span.readings[earlier:])
        span.readings, span.changed = span.readings[:earlier], True
        spans[at + 1 : at + 1] = [Span(statements, [reading]), rest]
        return "late"
    if at and spans[at - 1].statements == statements:
        spans[at - 1].include(len(spans[at - 1].readings), reading)
        return "duplicate"
    if span.statements == statements:
        span.include(0, reading)
        return "late"
    spans.insert(at, Span(statements, [reading]))
    return "late"


def dump_repeats(repeats: Sequence[Reading]) -> str:
    """As `[[revision, modified, observed], …]`, instants in microseconds since 1970: rows stay small."""
    return json.dumps(
        [[repeat.revision, _micros(repeat.modified), _micros(repeat.observed)] for repeat in repeats],
        separators=(",", ":"),
    )


def load_repeats(text: str) -> list[Reading]:
    if text == "[]":
        return []
    return [
        Reading(revision, None if modified is None else _instant(modified), _instant(observed))
        for revision, modified, observed in json.loads(text)
    ]


def _micros(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - _EPOCH) // _MICROSECOND


def _instant(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)
