"""The audit log for those who do not trust it: verify, export, anchor.

The table's owner can switch its triggers off and rewrite every hash, so the chain alone proves
only that nobody was careless. The control is the anchor: the head, written regularly to where the
daemon cannot rewrite it. With it a rewritten past and a cut tail are found too.
"""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, Engine, select
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from state import anchors
from state.driver_errors import translated
from state.errors import AnchorContradicted
from state.hash_chain import GENESIS, link
from state.records import Anchor, Difference, Verification
from state.replay import Replay
from state.table_proof import differences
from state.transaction import EVENTS, chunks
from state.tree import Recomputed

COLUMNS = ("seq", "at", "kind", "actor", "run", "fact", "body", "previous", "hash", "rows")
_PAGE = 2000
LISTED = 20
"""Rows that a verification names; beyond that it only counts."""


class Audit:
    """Reads the event log as it lies in the table, byte for byte."""

    def __init__(self, reader: Engine, url: URL, clock: Callable[[], datetime]) -> None:
        self._reader, self._url, self._clock = reader, url, clock

    def verify(self, *kept: Anchor) -> Verification:
        """Recomputes the whole chain, from the first event, and compares it with anchors `kept` outside."""
        with translated(self._url), self._reader.begin() as connection, _any_bytes(connection):
            tree = Recomputed()
            found = verify_rows(_grown(events(connection), tree), *kept)
            return _with_tables(found, tree.differences(connection)) if found.ok else found

    def verify_tables(self, *kept: Anchor) -> Verification:
        """As `verify`, and compares every row of the tables with its events.

        On one snapshot of the ledger, so that it may be called while others write.
        """
        with (
            translated(self._url),
            self._reader.begin() as connection,
            _any_bytes(connection),
            Replay() as replay,
        ):
            tree = Recomputed()
            found = verify_rows(_grown(_replayed(events(connection), replay), tree), *kept)
            unlike = chain(tree.differences(connection), differences(connection, replay))
            return _with_tables(found, unlike) if found.ok else found

    def anchor(self) -> Anchor | None:
        """The head of the chain now; None while the log is empty."""
        with translated(self._url), self._reader.begin() as connection:
            return self._head(connection)

    def write_anchor(self, path: Path) -> Anchor | None:
        """Appends the head to an anchor file and syncs it; adds nothing where the head has not moved.

        Every line of the file is compared with the log first: raises AnchorContradicted, with nothing
        appended, where one disagrees.  Raises Damaged where `path` is not an anchor file, Unreachable where
        it cannot be read or written.
        """
        known = anchors.read_for_appending(path)
        with translated(self._url), self._reader.begin() as connection:
            head = self._head(connection)
            hashes = _hashes(connection, {anchor.seq for anchor in known})
        found = anchors.contradiction(known, hashes, head.seq if head else 0)
        if found is not None:
            raise AnchorContradicted(
                f"{path} contradicts the log, so no anchor was added: {found[1]}. If the ledger was restored "
                "from a backup, keep this file and start a new one; otherwise find out who wrote to the database"
            )
        if head is not None and head.seq not in hashes:
            anchors.append(path, head)
        return head

    def _head(self, connection: Connection) -> Anchor | None:
        newest = select(EVENTS.c.seq, EVENTS.c.hash).order_by(EVENTS.c.seq.desc()).limit(1)
        row = connection.execute(newest).first()
        return None if row is None else Anchor(row.seq, row.hash, self._clock())

    def export_jsonl(self, out: IO[str], shown: Callable[[str], str] = str) -> int:
        """Every event as one JSON object a line, columns as stored (`rows` unless null); returns how many.

        `shown` may replace code points of a line's JSON text by escapes that mean the same.
        """
        with self._rows() as rows:
            lines = (shown(json.dumps(_exported(row), ensure_ascii=False)) for row in rows)
            return sum(out.write(f"{line}\n") > 0 for line in lines)

    def export_csv(self, out: IO[str], shown: Callable[[str], str] = str) -> int:
        """The same columns as CSV (RFC 4180); null is an empty field.  `shown` is applied to every text."""
        with self._rows() as rows:
            sheet = csv.DictWriter(out, COLUMNS)
            sheet.writeheader()
            return sum(sheet.writerow(_texts(row, shown)) > 0 for row in rows)

    @contextmanager
    def _rows(self) -> Iterator[Iterator[dict[str, Any]]]:
        with translated(self._url), self._reader.begin() as connection, _any_bytes(connection):
            yield events(connection)


def verify_rows(rows: Iterable[Mapping[str, Any]], *kept: Anchor) -> Verification:
    """Checks events in order, then the anchors `kept` outside; also for an export, read back from its file."""
    anchored = {anchor.seq for anchor in kept}
    hashes: dict[int, str] = {}
    count, previous = 0, GENESIS
    try:
        for row in rows:
            if (reason := _fault(row, count + 1, previous)) is not None:
                return Verification(False, count, count + 1, reason, failed="chain")
            count, previous = count + 1, str(row["hash"])
            if count in anchored:
                hashes[count] = previous
    except (DBAPIError, sqlite3.DatabaseError) as error:
        reason = f"event {count + 1} cannot be read: {error}"
        return Verification(False, count, count + 1, reason, failed="chain")
    if (found := anchors.contradiction(kept, hashes, count)) is not None:
        return Verification(False, count, *found, failed="anchors")
    return Verification(True, count)


def read_jsonl(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The events of an export, as `verify_rows` takes them."""
    for line in lines:
        yield json.loads(line)


def _fault(row: Mapping[str, Any], seq: int, previous: str) -> str | None:
    """What is wrong with the row that should be number `seq`, if anything."""
    if row["seq"] != seq:
        return f"event {seq} is missing: found {row['seq']!r} instead"
    if row["previous"] != previous:
        return f"event {seq} does not follow from the one before it"
    try:
        computed = link(row)
    except (ValueError, TypeError) as error:  # rfc8785's refusals and undecodable text are ValueErrors
        return f"event {seq} contains what kbsync cannot have written: {error}"
    return (
        None if computed == row["hash"] else f"event {seq} was changed: its hash does not match its content"
    )


def _replayed(rows: Iterable[dict[str, Any]], replay: Replay) -> Iterator[dict[str, Any]]:
    """The rows as they come; each is replayed once the next is asked for, its own hash having been checked."""
    for row in rows:
        yield row
        replay.event(row)


def _grown(rows: Iterable[dict[str, Any]], tree: Recomputed) -> Iterator[dict[str, Any]]:
    """The rows as they come; each is added to the tree once its own hash has been checked."""
    for row in rows:
        yield row
        tree.append(row["hash"])


def _with_tables(found: Verification, unlike: Iterable[Difference]) -> Verification:
    listed = list(unlike)
    if not listed:
        return found
    reason = f"{len(listed)} rows do not match the log; the first is {listed[0]}"
    return Verification(
        False, found.count, None, reason, tuple(listed[:LISTED]), len(listed), failed="tables"
    )


def _texts(row: dict[str, Any], shown: Callable[[str], str]) -> dict[str, Any]:
    return {name: shown(value) if isinstance(value, str) else value for name, value in row.items()}


def _exported(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "rows" or value is not None}


def _hashes(connection: Connection, numbers: Iterable[int]) -> dict[int, str]:
    """The hashes of the events with these numbers."""
    columns = select(EVENTS.c.seq, EVENTS.c.hash)
    return {
        row.seq: row.hash
        for chunk in chunks(numbers)
        for row in connection.execute(columns.where(EVENTS.c.seq.in_(chunk)))
    }


def events(connection: Connection) -> Iterator[dict[str, Any]]:
    """Every event in order, byte for byte, a page at a time."""
    statement = select(EVENTS).order_by(EVENTS.c.seq).limit(_PAGE)
    rows = connection.execute(statement).fetchall()
    while rows:
        yield from (dict(row._mapping) for row in rows)
        rows = connection.execute(statement.where(EVENTS.c.seq > rows[-1].seq)).fetchall()


@contextmanager
def _any_bytes(connection: Connection) -> Iterator[None]:
    """Lets SQLite hand over text that is not UTF-8 any more, so that the verifier can name its row."""
    if connection.dialect.name != "sqlite":
        yield
        return
    driver: Any = connection.connection.driver_connection
    driver.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    try:
        yield
    finally:
        driver.text_factory = str
