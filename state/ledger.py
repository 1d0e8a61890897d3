"""The ledger: one database, opened by URL, worked on in transactions.

    state = State.open("sqlite:////srv/kbsync/kbsync.db")
    state.migrate()
    with state.write() as tx:
        tx.record(observations)
        tx.set_cursor("wikidata", cursor)
    with state.read() as tx:
        print(tx.count_facts())

Everything inside a `write()` is committed together, events included, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import URL

from state import copies, database, migrations
from state.archives.files import Archive
from state.archives.log import replayed
from state.archives.queries import ArchivingQueries
from state.audit import Audit
from state.checkpoints import CheckpointTransitions
from state.checks import CheckQueries, CheckTransitions
from state.counts import CountQueries
from state.deployments import DeploymentQueries
from state.driver_errors import shown, translated
from state.event_pages import EventPages
from state.fact_pages import FactPages
from state.facts import FactTransitions
from state.forgotten import ForgottenQueries
from state.in_force import InForceQueries, InForceTransitions
from state.instance import InstanceQueries, InstanceTransitions
from state.instants import InstantTransitions
from state.leases import LeaseQueries
from state.merges import MergeQueries, MergeTransitions
from state.observations import ObservationTransitions
from state.past_queries import PastQueries
from state.pauses import PauseQueries, PauseTransitions
from state.plan_queries import PlanQueries
from state.promotions import PromotionQueries, PromotionTransitions
from state.provenance import ProvenanceQueries
from state.records import Lease, SlotKey
from state.renderings import RenderingQueries, RenderingTransitions
from state.replay import Replay
from state.requests import RequestQueries, RequestTransitions
from state.retention import RetentionTransitions
from state.runs import RunTransitions
from state.slots import SlotQueries, SlotTransitions
from state.sources import SourceQueries, SourceTransitions
from state.table_proof import SEALED, unlike_seals
from state.tokens import TokenQueries, TokenTransitions
from state.tree import Tree
from state.views import ViewTransitions


class Snapshot(
    FactPages,
    PlanQueries,
    PastQueries,
    CountQueries,
    ForgottenQueries,
    ArchivingQueries,
    ProvenanceQueries,
    SlotQueries,
    SourceQueries,
    RenderingQueries,
    MergeQueries,
    LeaseQueries,
    DeploymentQueries,
    PauseQueries,
    InstanceQueries,
    RequestQueries,
    EventPages,
    InForceQueries,
    CheckQueries,
    TokenQueries,
    PromotionQueries,
):
    """Every query, on one consistent state of the ledger."""


class Transaction(
    RetentionTransitions,
    SlotTransitions,
    SourceTransitions,
    RenderingTransitions,
    MergeTransitions,
    ObservationTransitions,
    FactTransitions,
    ViewTransitions,
    RunTransitions,
    PromotionTransitions,
    CheckpointTransitions,
    PauseTransitions,
    InstanceTransitions,
    RequestTransitions,
    InForceTransitions,
    InstantTransitions,
    CheckTransitions,
    TokenTransitions,
    Snapshot,
):
    """Every query and every transition; other writers wait until it ends."""


FILLED = 200
"""Rows of the tree's table that one transaction adds to an older ledger: 51,200 events, a fraction of a second."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class State:
    """A ledger; safe to share between threads, each with transactions of its own."""

    def __init__(
        self, url: URL, clock: Callable[[], datetime], busy: float, identity: str, archive: Archive
    ) -> None:
        self.url, self.clock, self.archive = url, clock, archive
        self._busy, self._identity = busy, identity
        self._on_behalf: ContextVar[str] = ContextVar("on_behalf", default="")

    @classmethod
    def open(
        cls,
        url: str | URL,
        clock: Callable[[], datetime] = utc_now,
        *,
        busy: float = database.BUSY_SECONDS,
        identity: str = "",
        archive: Path | None = None,
    ) -> State:
        """Opens a ledger without touching it: no file is made and nothing is migrated.

        `busy`: seconds that a writer waits for its turn. `identity`: who the operating system says is
        writing; every event has it. `archive`: the directory of events that
        were moved out of the ledger. Raises Unreachable for a URL or a
        directory that cannot hold a ledger.
        """
        parsed = database.parse(url)
        database.check_place(parsed)
        return cls(parsed, clock, busy, identity, Archive(archive))

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """One writer at a time: commits at the end, rolls back on an exception.

        Raises Busy if the others do not end in time, Unreachable on a full or read-only disk,
        NotMigrated where there is no ledger.
        """
        with translated(self.url), self._writer.begin() as connection:
            transaction = Transaction(connection, self.clock, self.identity, archive=self.archive)
            yield transaction
            transaction.seal()

    @property
    def identity(self) -> str:
        """Who is writing, and for whom."""
        asked = self._on_behalf.get()
        by = f"; carried out by {self._identity}"
        return f"{asked.removesuffix(by)}{by}" if asked else self._identity

    @contextmanager
    def on_behalf_of(self, identity: str) -> Iterator[None]:
        """Within the block, the events that this thread writes also name who asked for them."""
        token = self._on_behalf.set("" if identity == self._identity else identity)
        try:
            yield
        finally:
            self._on_behalf.reset(token)

    @contextmanager
    def read(self) -> Iterator[Snapshot]:
        """One consistent snapshot, which takes no lock; keep it short."""
        with translated(self.url), self._reader.begin() as connection:
            yield Snapshot(connection, self.clock, archive=self.archive)

    def watched(
        self, source: str, relation: str | None = None, *, page: int = 1_000
    ) -> Iterator[list[SlotKey]]:
        """Every slot that the source was ever read for, a page at a time.

        Each page is read in a transaction of its own, so none is open while the caller asks the source.
        """
        after, full = 0, True
        while full:
            with self.read() as tx:
                pairs, after = tx.watched_page(source, after, page, relation)
            full = len(pairs) == page
            if pairs:
                yield pairs

    def migrate(self, revision: str = "head") -> None:
        """Creates or upgrades the tables, in one transaction; a newer ledger is left alone (NewerSchema)."""
        with translated(self.url):
            migrations.upgrade(self.url, self._busy, revision, self._seal_migrated)
        if revision in ("head", migrations.newest()):
            self._fill_tree()

    def _fill_tree(self) -> None:
        """Adds what an older ledger's tree lacks, a part in each transaction, so that others get their turn."""
        while self._tree_lacks() > 0:
            with self.write() as tx:
                Tree(tx.connection).grow(FILLED)

    def _tree_lacks(self) -> int:
        with self.read() as tx:
            return Tree(tx.connection).missing()

    def downgrade(self, revision: str) -> None:
        """Takes the tables back to an older revision (`base`: none); data without a place there is lost."""
        with translated(self.url):
            migrations.downgrade(self.url, self._busy, revision)

    def copy_to(self, file: Path) -> None:
        """Write one consistent state of the ledger into a new SQLite file; writers do not wait for it."""
        with translated(self.url):
            copies.copy_to_file(self.url, file, self._busy)

    def replace_with(self, file: Path, aside: Path | None = None) -> None:
        """Put the ledger in that SQLite file in this one's place, wholly or not at all.

        `aside`: where an SQLite ledger that was there goes.  Nobody else may use either meanwhile.
        """
        self.close()
        copies.replace_with_file(self.url, file, self._busy, aside)

    def compact(self) -> None:
        """Rewrite the database without what was deleted or overwritten, which its free pages still hold.

        Raises Unreachable where somebody else keeps it busy for too long.
        """
        with translated(self.url):
            copies.compact(self.url, self._busy)

    def tidy_archive(self) -> list[str]:
        """Delete the archive's files that the log does not name: replaced by an erasure, or left by a killed process.

        The caller leads.  Returns their names.
        """
        with self.read() as tx:
            cut = tx.cut()
        return self.archive.remove_all_but(() if cut is None else cut.names)

    @staticmethod
    def revision() -> str:
        """The revision of the tables that this code is written for."""
        return migrations.newest()

    def check_migrated(self) -> None:
        """Raises NotMigrated or NewerSchema unless the tables are this code's."""
        with self.read() as tx:
            migrations.check(tx.connection, shown(self.url))

    def acquire_lease(self, name: str, holder: str, ttl: timedelta | float) -> Lease:
        """See `LeaseTransitions.acquire_lease`; `ttl` in seconds or as a timedelta."""
        with self.write() as tx:
            tx.shorten_lease(name, _span(ttl))
        with self.write() as tx:
            return tx.acquire_lease(name, holder, _span(ttl))

    def renew_lease(self, lease: Lease, ttl: timedelta | float) -> Lease:
        with self.write() as tx:
            return tx.renew_lease(lease, _span(ttl))

    def release_lease(self, lease: Lease) -> None:
        with self.write() as tx:
            tx.release_lease(lease)

    @cached_property
    def audit(self) -> Audit:
        """Verifies, exports and anchors the event log."""
        return Audit(self._reader, self.url, self.clock, self.archive)

    def _seal_migrated(self, connection: Connection, before: str, after: str) -> None:
        """New seals for the rows that a migration rewrote or that are older than seals."""
        with Replay() as replay:
            replayed(connection, self.archive, replay)
            found = {source: unlike_seals(connection, replay, source) for source in SEALED}
        rows = {source.name: {one.key: one.seal for one in unlike} for source, unlike in found.items()}
        Transaction(connection, self.clock).seal_anew(rows, before, after)

    def close(self) -> None:
        """Closes pooled connections; the state may be used again afterwards."""
        for name in ("_writer", "_reader"):
            if name in self.__dict__:
                getattr(self, name).dispose()

    @cached_property
    def _writer(self) -> Engine:
        return database.write_engine(self.url, busy=self._busy)

    @cached_property
    def _reader(self) -> Engine:
        return database.read_engine(self.url, busy=self._busy)


def _span(ttl: timedelta | float) -> timedelta:
    return ttl if isinstance(ttl, timedelta) else timedelta(seconds=ttl)
