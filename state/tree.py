"""The Merkle tree over the audit log, as it lies in the ledger.

Leaf `seq - 1` is the hash of event `seq`.  The table `subtrees` keeps, for every full run of 256, 256², … leaves,
the root over them (the tiles of C2SP's tlog-tiles), one row for 255 events; everything between is computed when it
is asked for, of at most 256 hashes a level.  A writer adds the rows that its events complete in the same
transaction; what is missing in an older ledger is added by whoever writes next.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import islice

from sqlalchemy import Connection, func, insert, select

from state import merkle
from state.archives.cuts import archived, cut_of
from state.archives.files import Archive
from state.errors import Damaged
from state.records import Difference
from state.tables import Events, Subtrees, table

EVENTS, SUBTREES = table(Events), table(Subtrees)

WIDTH = 8
"""Levels of the tree between two levels of the table: a row stands for 2⁸ of the level below."""
SPAN = 1 << WIDTH


class Recomputed:
    """The tree over events that are read in order: what the roots and the rows of the table have to be."""

    def __init__(self, begun: merkle.Frontier | None = None) -> None:
        """`begun`: the tree of the events before."""
        self._frontier = begun or merkle.Frontier()
        self._rows: dict[tuple[int, int], str] = {}

    def append(self, hash: str) -> None:
        """The next event, by its hash."""
        for level, number, made in self._frontier.append(merkle.leaf_hash(bytes.fromhex(hash))):
            if level % WIDTH == 0:
                self._rows[level // WIDTH, number] = made.hex()

    def root(self) -> bytes:
        """The root over the events so far."""
        return self._frontier.root()

    def differences(self, connection: Connection) -> Iterator[Difference]:
        """Rows of the table that are not those of the events; those that are not there yet are no difference."""
        for height, number, hash in connection.execute(
            select(SUBTREES).order_by(SUBTREES.c.height, SUBTREES.c.number)
        ):
            if self._rows.get((height, number)) != hash:
                yield Difference("subtrees", f"{height}/{number}", "it is not the root over its events")


class Tree:
    """The tree as it is in one transaction; what was read is kept for the next question."""

    def __init__(self, connection: Connection, archive: Archive | None = None) -> None:
        """`archive`: where the hashes of events are that were moved out of the ledger."""
        self._connection = connection
        self._archive = archive or Archive(None)
        self._tiles: dict[tuple[int, int], merkle.Node] = {}

    @cached_property
    def size(self) -> int:
        """How many events there are."""
        return int(self._connection.execute(select(func.max(EVENTS.c.seq))).scalar() or 0)

    @cached_property
    def archived(self) -> int:
        """How many events, from the first, are archived; their hashes are not read from the ledger."""
        return archived(self._connection)

    def root(self, size: int) -> bytes:
        """The root over the first `size` events.

        This and the proofs raise ArchiveMissing where they need hashes of archived events whose file is not there.
        """
        return merkle.root(size, self.node)

    def inclusion(self, seq: int, size: int) -> list[bytes]:
        """The proof that event `seq` is among the first `size`."""
        return merkle.inclusion(seq - 1, size, self.node)

    def consistency(self, old: int, size: int) -> list[bytes]:
        """The proof that the first `old` events are the beginning of the first `size`."""
        return merkle.consistency(old, size, self.node)

    def node(self, level: int, number: int) -> bytes:
        """The root of a full subtree, see `merkle.Node`; raises Damaged where a hash that it needs is missing."""
        height, inner = divmod(level, WIDTH)
        tile, within = divmod(number, SPAN >> inner)
        try:
            return self._tile(height, tile)(inner, within)
        except (IndexError, ValueError, TypeError):
            first = (number << level) + 1
            raise Damaged(
                f"events from {first} on, or the tree's rows over them, are missing or were changed: "
                "see `kbsync audit verify`"
            ) from None

    def _tile(self, height: int, number: int) -> merkle.Node:
        """The nodes over the up to 256 hashes of this height from `number * 256` on."""
        if (found := self._tiles.get((height, number))) is None:
            found = self._tiles[height, number] = merkle.full_nodes(list(self._hashes(height, number)))
        return found

    def _hashes(self, height: int, tile: int) -> Iterator[bytes]:
        """The database gives them as one text: a proof makes no object for each, which Python would have to collect."""
        first = tile * SPAN
        if height == 0 and first < self.archived:
            yield from self._archived_hashes(first)
            return
        if height == 0:
            wanted = EVENTS.c.seq.between(first + 1, first + SPAN)
            rows = select(EVENTS.c.hash).where(wanted).order_by(EVENTS.c.seq)
        else:
            among = (SUBTREES.c.height == height) & SUBTREES.c.number.between(first, first + SPAN - 1)
            rows = select(SUBTREES.c.hash).where(among).order_by(SUBTREES.c.number)
        joined = select(func.aggregate_strings(rows.subquery().c.hash, " "))
        for text in str(self._connection.execute(joined).scalar() or "").split():
            stored = bytes.fromhex(text)
            yield merkle.leaf_hash(stored) if height == 0 else stored

    def _archived_hashes(self, first: int) -> Iterator[bytes]:
        """The leaves of a run of 256 archived events; a cut is a multiple of these runs."""
        cut = cut_of(self._connection)
        if cut is None or first >= cut.last:
            raise ValueError("no signed event states where these events are")
        segment = cut.segment_of(first + 1)
        skipped = first + 1 - segment.first
        for row in islice(self._archive.rows(segment), skipped, skipped + SPAN):
            yield merkle.leaf_hash(bytes.fromhex(row["hash"]))

    def missing(self) -> int:
        """How many events stand in full runs of 256 whose root is not in the table yet."""
        return self.size // SPAN * SPAN - self._kept(1) * SPAN

    def grow(self, most: int | None = None) -> None:
        """Add the rows that are complete and not in the table, for at most so many further runs of 256 events."""
        first, full = self._kept(1), self.size // SPAN
        self._add(1, range(first, full if most is None else min(full, first + most)))

    def _add(self, height: int, numbers: range) -> None:
        """Add rows of this height, and those above that they complete."""
        rows = []
        for number in numbers:
            made = self._tile(height - 1, number)(WIDTH, 0)
            rows.append({"height": height, "number": number, "hash": made.hex()})
            del self._tiles[height - 1, number]
        if rows:
            self._connection.execute(insert(SUBTREES), rows)
            self._add(height + 1, range(self._kept(height + 1), numbers.stop // SPAN))

    def _kept(self, height: int) -> int:
        """How many rows of this height there are."""
        among = SUBTREES.c.height == height
        largest = self._connection.execute(select(func.max(SUBTREES.c.number)).where(among)).scalar()
        return 0 if largest is None else int(largest) + 1
