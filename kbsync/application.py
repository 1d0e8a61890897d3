"""One kbsync: its home, settings and clock, and what is opened from them when first needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, partial
from typing import Self

import structlog

from connectors.observations import Connector
from editing.spec import Case
from editing.special_tokens import special_tokens
from kbsync import identity
from kbsync.catalogue.relations import Catalogue, load_catalogue
from kbsync.errors import BadConfiguration, KbsyncError
from kbsync.executor import WORKER, Executor, LocalExecutor, Stopping
from kbsync.gates import Gate
from kbsync.home import Home
from kbsync.intake.pull import Intake
from kbsync.intake.source import Source
from kbsync.leadership import LEASE_NAME, LEASE_TTL, Leadership
from kbsync.settings.base_model import Base, Imported, import_base, looks_of
from kbsync.settings.canaries import read_canaries
from kbsync.settings.in_force import in_force
from kbsync.settings.sections import Settings
from state import State, Transaction, utc_now

log = structlog.get_logger()


@dataclass
class Application:
    """What every part of the daemon is handed; holds no state besides open handles."""

    home: Home
    settings: Settings
    now: Callable[[], datetime] = utc_now
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set by SIGTERM: long work ends at its next safe point."""
    safe_point: Callable[[], None] = lambda: None
    """Called by long work wherever it can be broken off without loss; whoever leads may raise there."""
    _imported: Imported | None = field(default=None, init=False)
    """How the files of `base` looked when this process imported it."""
    _leadership: Leadership | None = field(default=None, init=False)
    """While this process leads."""

    @cached_property
    def state(self) -> State:
        """The ledger, migrated."""
        self.home.prepare()
        if self.settings.state.url is None:
            self.home.prepare_database()
        url = self.settings.database_url(self.home)
        state = State.open(url, clock=self.now, identity=identity.of_process())
        state.migrate()
        return state

    @cached_property
    def catalogue(self) -> Catalogue:
        return load_catalogue(self.settings.relations)

    @cached_property
    def gates(self) -> tuple[Gate, ...]:
        return self.settings.gate_list()

    @cached_property
    def base(self) -> Base:
        """The base model, imported into the home on first use."""
        return self.import_base()

    def import_base(self) -> Base:
        """Import the base model, or verify what was imported: a damaged base is imported again."""
        path = self.settings.model.path
        if path is None:
            raise BadConfiguration(
                "no base model is configured", "set `path` in the [model] section of kbsync.toml"
            )
        looks = looks_of(path)
        base = import_base(path, self.home, self.settings.edit)
        self._imported = Imported(base.digest, str(path), looks)
        if self._imported != self.imported_base():
            self._imported.write(self.home.imported_base)
        return base

    def imported_base(self) -> Imported | None:
        """What is known of the last import of a base, without reading the model."""
        return Imported.read(self.home.imported_base)

    def look_at_base(self) -> None:
        """Let the base be imported again at its next use, where its files look different by now."""
        path = self.settings.model.path
        if path is not None and self._imported is not None and not self._imported.looks_like(path):
            self.__dict__.pop("base", None)
            self._imported = None

    @cached_property
    def canaries(self) -> tuple[Case, ...]:
        """The operator's own questions; raises BadData naming the line that is wrong."""
        return read_canaries(self.settings.canaries)

    @cached_property
    def sources(self) -> dict[str, Source]:
        """Every configured source by name; each is connected to when it is first asked."""
        deadline = self.settings.schedule.source_deadline
        return {
            name: Source(name, partial(self.connect, name), deadline, self.alive)
            for name in self.settings.sources
        }

    def connect(self, name: str) -> Connector:
        """A connector of one configured source; raises connectors.errors.SourceSettingsError."""
        from connectors.clock import Clock
        from connectors.registry import connect

        return connect(
            name,
            self.settings.sources[name],
            directory=self.settings.directory,
            default_relations=tuple(relation.id for relation in self.catalogue.enabled()),
            clock=Clock(now=self.now, sleep=self.sources[name].sleep),
        )

    def alive(self) -> None:
        """Called while sources are waited for: keeps the lease, feeds the watchdog, hears SIGTERM."""
        if self._leadership is not None:
            self._leadership.renew()
        if self.stopping.is_set():
            raise Stopping(
                "asked to stop while sources were read", "the next cycle goes on from their cursors"
            )

    def write(self, leadership: Leadership | None) -> AbstractContextManager[Transaction]:
        """A transaction of the leader; without one, of a command that leads nothing.

        Such a command may write what is its own single step (a decision of a reviewer): whatever the
        leader read before is compared again when it writes.
        """
        return self.state.write() if leadership is None else leadership.write()

    def intake(self, leadership: Leadership | None = None) -> Intake:
        """One cycle's way in for observations; its volume breaker counts over all sources."""
        return Intake(
            self.state,
            self.settings.policy,
            self.catalogue,
            self.now,
            alive=self.alive,
            write=partial(self.write, leadership),
            special_tokens=special_tokens(model) if (model := self.settings.model.path) else frozenset(),
        )

    def executor(self, alive: Callable[[], None]) -> Executor:
        """Where builds run; `alive` is called whenever a worker gives a sign of life."""
        settings = self.settings.executor
        return LocalExecutor(
            command=settings.command or WORKER,
            environment=settings.environment,
            heartbeat_timeout_s=settings.heartbeat_timeout.total_seconds(),
            stop_timeout_s=settings.stop_timeout.total_seconds(),
            stopping=self.stopping,
            alive=alive,
            idle=lambda: self.safe_point(),
        )

    @contextmanager
    def leading(self) -> Iterator[Leadership]:
        """Lead this home and this ledger for a while; raises HomeInUse or state.LeaseHeld if another does."""
        with self.home.prepare().locked("kbsync"):
            # We hold the home's lock, so whoever led from this home before is gone: no lease to wait for.
            lease = self.state.acquire_lease(LEASE_NAME, self.home.identity(), LEASE_TTL)
            leadership = Leadership(self.state, self.now, lease, safe_point=lambda: self.safe_point())
            self._leadership = leadership
            try:
                self._note_settings(leadership)
                leadership.correct_instants()
                yield leadership
            finally:
                self._leadership = None
                leadership.release()

    def _note_settings(self, leadership: Leadership) -> None:
        """An event where the last leader ran with others.

        Gates or canaries that cannot be read stop what needs them, not a rollback.
        """
        try:
            now = in_force(self.settings, self.gates, self.canaries)
        except KbsyncError as error:
            log.warning("settings.unreadable", reason=str(error))
            return
        with leadership.write() as tx:
            tx.put_in_force(now, "kbsync")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what was opened: connectors and the ledger's connections."""
        if "sources" in self.__dict__:
            for source in self.sources.values():
                source.close()
        if "state" in self.__dict__:
            self.state.close()
