"""The audit log for those who do not trust it: verify, export, anchor.

The table's owner can switch its triggers off and rewrite every hash, so the chain alone proves
only that nobody was careless. The control is the anchor: the head, written regularly to where the
daemon cannot rewrite it. With it a rewritten past and a cut tail are found too.
"""

from __future__ import annotations

import csv
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, Engine, select
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from state.database import translated
from state.errors import Damaged
from state.hash_chain import GENESIS, instant, link
from state.records import Anchor, Verification
from state.transaction import EVENTS

COLUMNS = ("seq", "at", "kind", "actor", "run", "fact", "body", "previous", "hash")
_PAGE = 2000


class Audit:
    """Reads the event log as it lies in the table, byte for byte."""

    def __init__(self, reader: Engine, url: URL, clock: Callable[[], datetime]) -> None:
        self._reader, self._url, self._clock = reader, url, clock

    def verify(self, anchor: Anchor | None = None) -> Verification:
        """Recomputes the whole chain, from the first event, and compares it with an anchor kept outside."""
        with self._rows() as rows:
            return verify_rows(rows, anchor)

    def anchor(self) -> Anchor | None:
        """The head of the chain now; None while the log is empty."""
        with translated(self._url), self._reader.begin() as connection:
            row = connection.execute(
                select(EVENTS.c.seq, EVENTS.c.hash).order_by(EVENTS.c.seq.desc()).limit(1)
            ).first()
        return None if row is None else Anchor(row.seq, row.hash, self._clock())

    def write_anchor(self, path: Path) -> Anchor | None:
        """Appends the head to an anchor file, a JSON line each, and syncs it; nothing where it has not moved.

        The file only grows, so it may lie on append-only or write-once storage.
        """
        anchor = self.anchor()
        last = read_anchor(path) if path.exists() else None
        if anchor is None or (last is not None and (last.seq, last.hash) == (anchor.seq, anchor.hash)):
            return anchor
        line = json.dumps({"seq": anchor.seq, "hash": anchor.hash, "at": instant(anchor.at)})
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        return anchor

    def export_jsonl(self, out: IO[str]) -> int:
        """Every event as one JSON object a line, columns as stored; returns how many."""
        with self._rows() as rows:
            return sum(out.write(json.dumps(row, ensure_ascii=False) + "\n") > 0 for row in rows)

    def export_csv(self, out: IO[str]) -> int:
        """The same columns as CSV (RFC 4180); null is an empty field."""
        with self._rows() as rows:
            sheet = csv.DictWriter(out, COLUMNS)
            sheet.writeheader()
            return sum(sheet.writerow(row) > 0 for row in rows)

    @contextmanager
    def _rows(self) -> Iterator[Iterator[dict[str, Any]]]:
        with translated(self._url), self._reader.begin() as connection, _any_bytes(connection):
            yield _pages(connection)


def verify_rows(rows: Iterable[Mapping[str, Any]], anchor: Anchor | None = None) -> Verification:
    """Checks events in order; also for an export, read back from its file."""
    count, previous = 0, GENESIS
    try:
        for row in rows:
            if (reason := _fault(row, count + 1, previous)) is not None:
                return Verification(False, count, count + 1, reason)
            count, previous = count + 1, str(row["hash"])
            if anchor is not None and anchor.seq == count and anchor.hash != previous:
                return Verification(
                    False,
                    count,
                    count,
                    f"event {count} is not the one that was anchored: history was rewritten",
                )
    except (DBAPIError, sqlite3.DatabaseError) as error:
        return Verification(False, count, count + 1, f"event {count + 1} cannot be read: {error}")
    if anchor is not None and anchor.seq > count:
        return Verification(
            False,
            count,
            count + 1,
            f"the log ends at {count} but {anchor.seq} was anchored: its tail was cut",
        )
    return Verification(True, count)


def read_anchor(path: Path) -> Anchor:
    """The newest anchor in a file written by `write_anchor`; raises Damaged for anything else."""
    lines = path.read_text(encoding="utf-8").splitlines()
    try:
        value = json.loads(lines[-1])
        return Anchor(int(value["seq"]), str(value["hash"]), datetime.fromisoformat(value["at"]))
    except (IndexError, ValueError, KeyError, TypeError) as error:
        raise Damaged(
            f"{path} is no anchor file ({error}): its last line must be a JSON object with seq, hash, at"
        ) from None


def read_jsonl(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The events of an export, as `verify_rows` takes them."""
    for line in lines:
        yield json.loads(line)


def _fault(row: Mapping[str, Any], seq: int, previous: str) -> str | None:
    """What is wrong with the row that should be number `seq`, if anything."""
    if row["seq"] != seq:
        return f"event {seq} is missing: {row['seq']!r} stands in its place"
    if row["previous"] != previous:
        return f"event {seq} does not follow from the one before it"
    try:
        computed = link(row)
    except (ValueError, TypeError) as error:  # rfc8785's refusals and undecodable text are ValueErrors
        return f"event {seq} holds what no writer of ours can have written: {error}"
    return (
        None if computed == row["hash"] else f"event {seq} was changed: its hash does not match its content"
    )


def _pages(connection: Connection) -> Iterator[dict[str, Any]]:
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
