"""Reading the audit log, and proving to others what is in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Engine, select
from sqlalchemy.engine import URL

from state.archives.cuts import cut_of
from state.archives.files import Archive
from state.driver_errors import translated
from state.lineage import KINDS, Lineage, origin_of
from state.notes import SigningKey, TreeHead
from state.records import Anchor
from state.tables import Ledger, table
from state.transaction import EVENTS, chunks
from state.tree import Tree

LEDGER = table(Ledger)
_PAGE = 2000


class LogProofs:
    """The log's head, its keys, and proofs from its Merkle tree."""

    def __init__(
        self, reader: Engine, url: URL, clock: Callable[[], datetime], archive: Archive | None = None
    ) -> None:
        self._reader, self._url, self._clock = reader, url, clock
        self._archive = archive or Archive(None)

    def anchor(self) -> Anchor | None:
        """The head of the chain now; None while the log is empty."""
        with translated(self._url), self._reader.begin() as connection:
            return self._head(connection)

    def lineage(self) -> Lineage:
        """The keys and the restores that the log states."""
        with translated(self._url), self._reader.begin() as connection:
            return lineage_of(connection)

    def origin(self) -> str:
        """The log's name in its heads."""
        with translated(self._url), self._reader.begin() as connection:
            return origin_of(instance_of(connection))

    def tree_head(self, signer: SigningKey, size: int | None = None) -> str:
        """The signed note of the log's head, or of its first `size` events."""
        with translated(self._url), self._reader.begin() as connection:
            tree = Tree(connection, self._archive)
            return _signed(connection, tree, tree.size if size is None else size, signer)

    def root(self, size: int) -> bytes:
        """The root of the Merkle tree over the first `size` events."""
        with translated(self._url), self._reader.begin() as connection:
            return Tree(connection, self._archive).root(size)

    def consistency(self, old: int, size: int) -> list[bytes]:
        """The proof that the first `old` events are the beginning of the first `size`."""
        with translated(self._url), self._reader.begin() as connection:
            return Tree(connection, self._archive).consistency(old, size)

    def proven(
        self, numbers: Sequence[int], signer: SigningKey
    ) -> tuple[str, list[tuple[dict[str, Any], list[bytes]]]]:
        """The signed note of the log's head and, of each of these events, its columns and the proof under that head."""
        with translated(self._url), self._reader.begin() as connection:
            tree = Tree(connection, self._archive)
            rows: dict[int, dict[str, Any]] = {}
            for chunk in chunks(numbers):
                found = connection.execute(select(EVENTS).where(EVENTS.c.seq.in_(chunk)))
                rows |= {row.seq: exported(dict(row._mapping)) for row in found}
            for seq in numbers:
                if seq not in rows:
                    rows[seq] = exported(archived_event(connection, self._archive, seq))
            proofs = [(rows[seq], tree.inclusion(seq, tree.size)) for seq in numbers]
            return _signed(connection, tree, tree.size, signer), proofs

    def _head(self, connection: Connection) -> Anchor | None:
        newest = select(EVENTS.c.seq, EVENTS.c.hash).order_by(EVENTS.c.seq.desc()).limit(1)
        row = connection.execute(newest).first()
        return None if row is None else Anchor(row.seq, row.hash, self._clock())


def _signed(connection: Connection, tree: Tree, size: int, signer: SigningKey) -> str:
    return signer.sign(TreeHead(origin_of(instance_of(connection)), size, tree.root(size)).text)


def events(connection: Connection, after: int | None = None) -> Iterator[dict[str, Any]]:
    """Every event, or those after a number, in order, byte for byte, a page at a time."""
    statement = select(EVENTS).order_by(EVENTS.c.seq).limit(_PAGE)
    rows = connection.execute(
        statement if after is None else statement.where(EVENTS.c.seq > after)
    ).fetchall()
    while rows:
        yield from (dict(row._mapping) for row in rows)
        rows = connection.execute(statement.where(EVENTS.c.seq > rows[-1].seq)).fetchall()


def archived_event(connection: Connection, archive: Archive, seq: int) -> dict[str, Any]:
    """An event that was moved out of the ledger.  Raises LookupError if it was not, and what `Archive.rows` raises."""
    if (cut := cut_of(connection)) is None or seq > cut.last:
        raise LookupError(f"there is no event {seq}")
    segment = cut.segment_of(seq)
    return next(islice(archive.rows(segment), seq - segment.first, None))


def exported(row: dict[str, Any]) -> dict[str, Any]:
    """An event's columns as an export has them: `rows` and `salt` only where it has them, the salt of seals never."""
    return {
        name: value
        for name, value in row.items()
        if name != "seal_salt" and (value is not None or name not in ("rows", "salt"))
    }


def instance_of(connection: Connection) -> str:
    return str(connection.execute(select(LEDGER.c.instance)).scalar())


def lineage_of(connection: Connection) -> Lineage:
    columns = select(EVENTS.c.seq, EVENTS.c.at, EVENTS.c.kind, EVENTS.c.body)
    rows = connection.execute(columns.where(EVENTS.c.kind.in_(KINDS)).order_by(EVENTS.c.seq))
    return Lineage.of(dict(row._mapping) for row in rows)


def hashes_of(connection: Connection, numbers: Iterable[int]) -> dict[int, str]:
    """The hashes of the events with these numbers."""
    columns = select(EVENTS.c.seq, EVENTS.c.hash)
    return {
        row.seq: row.hash
        for chunk in chunks(numbers)
        for row in connection.execute(columns.where(EVENTS.c.seq.in_(chunk)))
    }
