"""The audit log for those who do not trust it: verify, export, anchor.

The table's owner can switch its triggers off and rewrite every hash, so the chain alone proves
only that nobody was careless. The control is the anchor: the head, written regularly to where the
daemon cannot rewrite it. With it a rewritten past and a cut tail are found too.
"""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from state import anchors, merkle
from state.archives.cuts import cut_of
from state.archives.files import ArchivedFile
from state.archives.log import Unfit, VerifiedBeginning, begin_at, whole, written_state
from state.driver_errors import translated
from state.errors import AnchorContradicted, ArchiveMissing, Damaged
from state.hash_chain import GENESIS, link
from state.lineage import origin_of
from state.log_proofs import LogProofs, archived_event, events, exported, hashes_of, instance_of, lineage_of
from state.notes import SigningKey, TreeHead
from state.records import Anchor, Difference, Verification
from state.redaction import Redactions
from state.replay import Replay
from state.table_proof import differences
from state.tree import Recomputed, Tree
from state.witnessed import Log, contradiction, declaration

COLUMNS = ("seq", "at", "kind", "actor", "run", "fact", "body", "previous", "hash", "rows", "salt")
_PAGE = 2000
Witnesses = Sequence[Sequence[Anchor]]
"""What each witness keeps of the log, in its order."""
LISTED = 20
"""Rows that a verification names; beyond that it only counts."""


class Audit(LogProofs):
    """Reads the event log as it lies in the table, byte for byte."""

    def verify(self, *kept: Anchor, witnesses: Witnesses = ()) -> Verification:
        """Recomputes chain and tree, from the first event, and compares them with what was `kept` outside.

        `kept` is what one witness has, `witnesses` what each of several has.  Archived events are read from their
        files; where one of these is not there, from the signed cut on.
        """
        with self._read() as connection:
            return self._verified(connection, (kept, *witnesses))

    def verify_since(self, start: Anchor, witnesses: Witnesses = ()) -> Verification:
        """As `verify`, from a head on that was verified before: every later event, and every witnessed head.

        An event changed below `start` while the tree there was left as it was is found by `verify` only.
        """
        with self._read() as connection:
            tree = Tree(connection, self._archive)
            if start.seq < tree.archived:
                return self._verified(connection, witnesses)
            try:
                log = self._log(connection, tree, ([start], *witnesses))
            except (Damaged, ArchiveMissing) as error:
                return Verification(False, 0, tree.size + 1, str(error), failed="chain")
            for kept in ([start], *witnesses):
                if (wrong := contradiction(kept, log)) is not None:
                    return Verification(False, 0, *wrong, failed="anchors")
            grown = Recomputed(merkle.Frontier.of(start.seq, tree.node))
            begun = Log(log.instance, log.lineage, start.seq, {start.seq: start.hash})
            found = verify_rows(events(connection, start.seq), tree=grown, log=begun)
            return _with_root(found, grown, log.roots[log.head], start.seq)

    def verify_tables(self, *kept: Anchor, witnesses: Witnesses = ()) -> Verification:
        """As `verify`, and compares every row of the tables with its events.

        On one snapshot of the ledger, so that it may be called while others write.
        """
        with self._read() as connection, Replay() as replay:
            return self._verified(connection, (kept, *witnesses), replay)

    def state_after(
        self, last: int, kept: Mapping[int, str], witnesses: Witnesses = ()
    ) -> tuple[Verification, ArchivedFile | None]:
        """As `verify_tables`; also writes down what the tables had to be after event `last`, where the log verifies.

        `kept`: see `archived_log.written_state`.  Raises Unreachable where the file cannot be written.
        """
        made: list[ArchivedFile] = []
        with self._read() as connection, Replay() as replay:

            def write_down(seq: int) -> None:
                if seq == last:
                    made.append(written_state(self._archive, last, kept, replay))

            found = self._verified(connection, witnesses, replay, write_down)
        return found, made[0] if found.ok and made else None

    def _verified(
        self,
        connection: Connection,
        witnesses: Witnesses,
        replay: Replay | None = None,
        replayed: Callable[[int], None] = lambda seq: None,
    ) -> Verification:
        cut = cut_of(connection)
        absent = () if cut is None else tuple(cut.absent(self._archive))
        try:
            if cut is None or not absent:
                begun, rows = None, whole(connection, self._archive, cut)
            else:
                begun = begin_at(cut, connection, self._archive, replay)
                rows = events(connection, cut.last)
        except Unfit as error:
            return Verification(False, 0, error.seq, str(error), failed="chain", archived=absent)
        except (Damaged, ArchiveMissing) as error:
            return Verification(False, 0, 1, str(error), failed="chain", archived=absent)
        begun = begun or VerifiedBeginning(Log(instance_of(connection)), Recomputed())
        if replay is not None:
            rows = _replayed(rows, replay, replayed)
        found = verify_rows(
            rows, witnesses=witnesses, tree=begun.tree, log=begun.log, redactions=begun.redactions
        )
        found = replace(found, archived=absent)
        if not found.ok:
            return found
        if absent:
            found = _with_root(found, begun.tree, Tree(connection).root(begun.log.head), begun.log.archived)
        unlike = () if absent else begun.tree.differences(connection)
        tables = () if replay is None else differences(connection, replay)
        return _with_tables(found, chain(unlike, tables)) if found.ok else found

    def write_anchor(
        self, path: Path, signer: SigningKey | None = None, *, restored: bool = False
    ) -> Anchor | None:
        """Appends the head, signed where there is a key, to a witness's file and syncs it.

        Every line of the file is compared with the log first: raises AnchorContradicted, with nothing
        appended, where one disagrees.  Adds nothing where the head has not moved.  `restored`: an operator
        declares that a restore lost what the file says beyond this log.  Raises Damaged where `path` is not an
        anchor file, Unreachable where it cannot be read or written.
        """
        known = anchors.read_for_appending(path)
        with translated(self._url), self._reader.begin() as connection:
            head = self._head(connection)
            log = self._log(connection, Tree(connection, self._archive), [known])
            if head is not None and signer is not None:
                head = _signed(head, connection, log, signer, known if restored else ())
        candidate = () if head is None or _is_there(head, known) else (head,)
        found = contradiction((*known, *candidate), log)
        if found is not None:
            raise AnchorContradicted(
                f"{path} contradicts the log, so no anchor was added: {found[1]}. If the ledger was restored "
                "from a backup, declare that with `kbsync audit anchor FILE --restored`, which needs the signing "
                "key, or keep this file and start a new one; otherwise find out who wrote to the database"
            )
        for one in candidate:
            anchors.append(path, one)
        return head

    def _log(self, connection: Connection, tree: Tree, groups: Witnesses) -> Log:
        """The log, as far as it is to be compared with these anchors of each witness, and the head.

        Of archived events, that is the newest anchor of each.  Raises ArchiveMissing if their file is not there.
        """
        wanted = [one for group in groups for one in group if one.seq > tree.archived or one is group[-1]]
        sizes = {one.seq for one in wanted if one.note and one.seq <= tree.size} | {tree.size}
        numbers = {tree.size, *(one.seq for one in wanted)}
        archived = {
            seq: archived_event(connection, self._archive, seq)["hash"]
            for seq in numbers
            if 0 < seq <= tree.archived
        }
        return Log(
            instance_of(connection),
            lineage_of(connection),
            tree.size,
            {**hashes_of(connection, numbers), **archived},
            {size: tree.root(size) for size in sizes},
            tree.archived,
        )

    def export_jsonl(self, out: IO[str], shown: Callable[[str], str] = str) -> int:
        """Every event as one JSON object a line, columns as stored (`rows` and `salt` unless null); returns how many.

        `shown` may replace code points of a line's JSON text by escapes that mean the same.
        """
        with self._rows() as rows:
            lines = (shown(json.dumps(exported(row), ensure_ascii=False)) for row in rows)
            return sum(out.write(f"{line}\n") > 0 for line in lines)

    def export_csv(self, out: IO[str], shown: Callable[[str], str] = str) -> int:
        """The same columns as CSV (RFC 4180); null is an empty field.  `shown` is applied to every text."""
        with self._rows() as rows:
            sheet = csv.DictWriter(out, COLUMNS)
            sheet.writeheader()
            return sum(sheet.writerow(_texts(row, shown)) > 0 for row in rows)

    @contextmanager
    def _rows(self) -> Iterator[Iterator[dict[str, Any]]]:
        """Every event; raises ArchiveMissing, before the first, if a file of archived ones is not there."""
        with self._read() as connection:
            cut = cut_of(connection)
            for file in () if cut is None else cut.absent(self._archive):
                raise ArchiveMissing(file, self._archive.directory)
            yield whole(connection, self._archive, cut)

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with translated(self._url), self._reader.begin() as connection, _any_bytes(connection):
            yield connection


def verify_rows(
    rows: Iterable[Mapping[str, Any]],
    *kept: Anchor,
    witnesses: Witnesses = (),
    tree: Recomputed | None = None,
    log: Log | None = None,
    redactions: Redactions | None = None,
) -> Verification:
    """Checks events in order, then what was `kept` outside, by one witness or by each of `witnesses`; also for an
    export, read back from its file.

    `tree`, `log` and `redactions`: where the tree of these events, what is known of the log, and which events were
    redacted are collected; they begin at what was verified before.
    """
    tree, log = tree or Recomputed(), log or Log(None)
    groups = (kept, *witnesses)
    witnessed = {anchor.seq for anchor in chain.from_iterable(groups)}
    hashes, roots = dict(log.hashes), dict(log.roots)
    count, first = log.head, log.head
    previous = hashes[first] if first else GENESIS
    redactions = redactions or Redactions()
    try:
        for row in rows:
            if (reason := _fault(row, count + 1, previous, redactions)) is not None:
                return Verification(False, count - first, count + 1, reason, failed="chain")
            count, previous = count + 1, str(row["hash"])
            tree.append(previous)
            log.lineage.event(row)
            redactions.event(row, log.lineage)
            if count in witnessed:
                hashes[count], roots[count] = previous, tree.root()
    except Unfit as error:
        return Verification(False, count - first, error.seq, str(error), failed="chain")
    except (Damaged, ArchiveMissing) as error:
        return Verification(False, count - first, count + 1, str(error), failed="chain")
    except (DBAPIError, sqlite3.DatabaseError) as error:
        reason = f"event {count + 1} cannot be read: {error}"
        return Verification(False, count - first, count + 1, reason, failed="chain")
    if (bad := redactions.first_bad()) is not None:
        return Verification(False, count - first, *bad, failed="chain")
    log.head, log.hashes, log.roots = count, hashes, roots
    found = min((one for group in groups if (one := contradiction(group, log))), default=None)
    if found is not None:
        return Verification(False, count - first, *found, failed="anchors")
    return Verification(True, count - first)


def read_jsonl(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The events of an export, as `verify_rows` takes them."""
    for line in lines:
        yield json.loads(line)


def _fault(row: Mapping[str, Any], seq: int, previous: str, redactions: Redactions) -> str | None:
    """What is wrong with the row that should be number `seq`, if anything; one that is redacted is noted."""
    if row["seq"] != seq:
        return f"event {seq} is missing: found {row['seq']!r} instead"
    if row["previous"] != previous:
        return f"event {seq} does not follow from the one before it"
    try:
        computed = link(row)
    except (ValueError, TypeError) as error:  # rfc8785's refusals and undecodable text are ValueErrors
        return f"event {seq} contains what kbsync cannot have written: {error}"
    if computed == row["hash"] or redactions.expect(row):
        return None
    return f"event {seq} was changed: its hash does not match its content"


def _replayed(
    rows: Iterable[dict[str, Any]], replay: Replay, replayed: Callable[[int], None]
) -> Iterator[dict[str, Any]]:
    """The rows as they come; each is replayed once the next is asked for, its own hash having been checked."""
    for row in rows:
        yield row
        replay.event(row)
        replayed(row["seq"])


def _signed(
    head: Anchor, connection: Connection, log: Log, signer: SigningKey, declared: Sequence[Anchor]
) -> Anchor:
    """The head with its signed note; it declares a restore where there are heads of another log in `declared`."""
    lines = declaration(declared, log) if declared else ()
    text = TreeHead(origin_of(instance_of(connection)), head.seq, log.roots[head.seq], lines).text
    return replace(head, note=signer.sign(text))


def _is_there(head: Anchor, known: Sequence[Anchor]) -> bool:
    """Whether the newest line is this head, or says the same of the log."""
    return any(
        (one.seq, one.hash, one.note) == (head.seq, head.hash, head.note)
        or (not head.note and (one.seq, one.hash) == (head.seq, head.hash))
        for one in known
    )


def _with_root(found: Verification, grown: Recomputed, root: bytes, since: int) -> Verification:
    """Whether the rows of the tree's table lead to the root of the events after `since`."""
    if not found.ok or grown.root() == root:
        return found
    reason = f"the tree's rows after event {since} are not those of the events"
    return replace(found, ok=False, first_bad=since + 1, reason=reason, failed="chain")


def _with_tables(found: Verification, unlike: Iterable[Difference]) -> Verification:
    listed = list(unlike)
    if not listed:
        return found
    reason = f"{len(listed)} rows do not match the log; the first is {listed[0]}"
    return Verification(
        False, found.count, None, reason, tuple(listed[:LISTED]), len(listed), "tables", found.archived
    )


def _texts(row: dict[str, Any], shown: Callable[[str], str]) -> dict[str, Any]:
    return {name: shown(row[name]) if isinstance(row[name], str) else row[name] for name in COLUMNS}


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
