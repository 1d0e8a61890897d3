"""One slot at one source, by revision: what was stated, in spans of revisions that stated the same.

Revisions arrive at least once and in any order, and most of them repeat what was stated before.  A
slot's history is therefore kept as a set of revisions, run-length encoded: a span is what was stated,
the revision at which it was stated first, and the later ones known to repeat it.  Because the repeats
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
"""How many repeats a span remembers, the newest ones.  A revision that arrives after more repeats than that
still enters the history, once; the source's return is then dated by the oldest repeat that is remembered."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Revision(NamedTuple):
    """One revision: when the source made it and when we read it."""

    number: int
    modified: datetime | None
    observed: datetime


@dataclass(slots=True)
class Span:
    """Revisions that stated the same, ascending by revision, with nothing else known between them."""

    statements: str
    revisions: list[Revision]
    id: int | None = None
    """The ledger's row; None: it has none yet."""
    changed: bool = False
    """Whether the row, if there is one, is not this any more."""
    began: Revision | None = None
    """The first revision as the row has it."""

    def include(self, at: int, revision: Revision) -> None:
        """Adds a revision at place `at` and forgets repeats beyond `REPEATS`."""
        before = list(self.revisions)
        self.revisions.insert(at, revision)
        del self.revisions[1 : max(1, len(self.revisions) - REPEATS)]
        self.changed = self.changed or self.revisions != before


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
        """The number under which a revision enters the history; later ones are numbered from there."""
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


def insert(spans: list[Span], statements: str, revision: Revision) -> Recorded:
    """Puts a revision in its place and returns what it was.

    `new`: it is what the source says now; `duplicate`: it adds nothing but, at most, a repeat; `late`: it
    changes the past.  A revision that was already read with other statements (a source that breaks its
    promise) goes before that one: what was read first stays current.
    """
    if not spans:
        spans.append(Span(statements, [revision]))
        return "new"
    last = spans[-1]
    if revision.number > last.revisions[-1].number:
        if last.statements == statements:
            last.include(len(last.revisions), revision)
            return "duplicate"
        spans.append(Span(statements, [revision]))
        return "new"
    return _insert_late(spans, statements, revision)


def _insert_late(spans: list[Span], statements: str, revision: Revision) -> Recorded:
    if any(
        repeat.number == revision.number
        for span in spans
        if span.statements == statements
        for repeat in span.revisions
    ):
        return "duplicate"
    at = next(n for n, span in enumerate(spans) if span.revisions[-1].number >= revision.number)
    span = spans[at]
    earlier = sum(repeat.number < revision.number for repeat in span.revisions)
    if earlier and span.statements == statements:
        span.include(earlier, revision)
        return "duplicate"
    if earlier:
        rest = Span(span.statements, span.revisions[earlier:])
        span.revisions, span.changed = span.revisions[:earlier], True
        spans[at + 1 : at + 1] = [Span(statements, [revision]), rest]
        return "late"
    if at and spans[at - 1].statements == statements:
        spans[at - 1].include(len(spans[at - 1].revisions), revision)
        return "duplicate"
    if span.statements == statements:
        span.include(0, revision)
        return "late"
    spans.insert(at, Span(statements, [revision]))
    return "late"


def dump_repeats(repeats: Sequence[Revision]) -> str:
    """As `[[revision, modified, observed], …]`, instants in microseconds since 1970: rows stay small."""
    return json.dumps(
        [[repeat.number, _micros(repeat.modified), _micros(repeat.observed)] for repeat in repeats],
        separators=(",", ":"),
    )


def load_repeats(text: str) -> list[Revision]:
    if text == "[]":
        return []
    return [
        Revision(number, None if modified is None else _instant(modified), _instant(observed))
        for number, modified, observed in json.loads(text)
    ]


def _micros(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - _EPOCH) // _MICROSECOND


def _instant(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)
