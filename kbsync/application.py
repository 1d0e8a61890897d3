"""One kbsync instance: its home, settings and clock, and the resources that are opened on first use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Self

import structlog

from connectors.observations import Connector
from editing.spec import Case
from editing.special_tokens import special_tokens
from kbsync import identity, telemetry
from kbsync.announced import Announced, AnnouncedBase, ModelToImport
from kbsync.catalogue.relations import Catalogue, load_catalogue
from kbsync.environments import STORE_PREFIXES
from kbsync.errors import BadConfiguration, KbsyncError
from kbsync.executor import WORKER, Executor, LocalExecutor, Stopping
from kbsync.gates import Gate
from kbsync.home import Home
from kbsync.intake.pull import Intake
from kbsync.intake.source import Source
from kbsync.leadership import LEASE_NAME, LEASE_TTL, Leadership
from kbsync.settings.base_model import Base, Imported, edit_settings_of, import_base, named_device
from kbsync.settings.canaries import read_canaries
from kbsync.settings.in_force import in_force
from kbsync.settings.refusals import read_refusals
from kbsync.settings.sections import Settings
from state import State, Transaction, utc_now

log = structlog.get_logger()


@dataclass
class Application:
    """The context passed to every part of the daemon; it holds no state besides open handles."""

    home: Home
    settings: Settings
    now: Callable[[], datetime] = utc_now
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set by SIGTERM: long work ends at its next safe point."""
    safe_point: Callable[[], None] = lambda: None
    """Called by long work wherever it can be interrupted without loss; the leader may raise an exception there."""
    importer: Callable[[ModelToImport], str | None] = lambda model: None
    """Imports a base in another process, which has torch in memory, and returns its digest; None if it could not."""
    _imported: Imported | None = field(default=None, init=False)
    """How the files of `base` looked when this process imported it."""
    _leadership: Leadership | None = field(default=None, init=False)
    """The lease, while this process is the leader."""

    def __post_init__(self) -> None:
        self.home = replace(self.home, shared=self.settings.model.shared)

    @cached_property
    def state(self) -> State:
        """The ledger, migrated to the current schema."""
        self.home.prepare()
        if self.settings.state.url is None:
            self.home.prepare_database()
        url = self.settings.database_url(self.home)
        state = State.open(url, clock=self.now, identity=identity.of_process(), archive=self.home.archive)
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
        """Import the base model, or verify the imported one; a damaged base is imported again."""
        path = self.settings.model.path
        if path is None:
            raise BadConfiguration(
                "no base model is configured", "set `path` in the [model] section of kbsync.toml"
            )
        before, now = self.imported_base(), Imported.of(path, self.settings.edit)
        base = before.base(path, self.home, self.settings.edit) if before is not None else None
        if base is None and path.is_dir():
            digest = self.importer(self._model_to_import(path))
            base = replace(now, digest=digest).base(path, self.home, self.settings.edit) if digest else None
        if base is None:
            base = import_base(path, self.home, self.settings.edit)
        self._imported = replace(now, digest=base.digest)
        if self._imported != before:
            self._imported.write(self.home.imported_base)
        return base

    def _model_to_import(self, path: Path) -> ModelToImport:
        """What has to be imported, if `path` is a model directory; raises BadConfiguration."""
        chosen = self.settings.edit.over(edit_settings_of(path))
        names = ("architecture_blocks", "architecture_writer", "architecture_norm")
        architecture = {name: getattr(chosen, name) for name in names}
        return ModelToImport(path, self.home.base, architecture, named_device(self.settings.model.device))

    def announced(self) -> Announced | None:
        """The base that the next spec will name, as far as can be told without reading the model."""
        path, imported = self.settings.model.path, self.imported_base()
        if path is None or not path.is_dir():
            return None
        if imported is None:
            try:
                return self._model_to_import(path)
            except BadConfiguration:
                return None  # whoever imports the base meets the same error
        if not imported.looks_like(path):
            return None
        device = named_device(self.settings.model.device)
        return AnnouncedBase(self.home.base / imported.digest, imported.digest, device)

    def imported_base(self) -> Imported | None:
        """The record of the last import of a base, without reading the model."""
        return Imported.read(self.home.imported_base)

    def look_at_base(self) -> None:
        """Import the base again at its next use if its files have changed."""
        path = self.settings.model.path
        if path is not None and self._imported is not None and not self._imported.looks_like(path):
            self.__dict__.pop("base", None)
            self._imported = None

    @cached_property
    def canaries(self) -> tuple[Case, ...]:
        """The operator's own questions; raises BadData that names the wrong line."""
        return read_canaries(self.settings.canaries)

    @cached_property
    def refusals(self) -> tuple[str, ...]:
        """The prompts that the base refuses and candidates must refuse; raises BadData for another file."""
        return read_refusals(self.settings.refusals.prompts)

    @property
    def asked_of_all(self) -> tuple[Case, ...]:
        """What every candidate is asked besides what its facts bring along."""
        return (*self.canaries, *(Case(prompt) for prompt in self.refusals))

    @cached_property
    def sources(self) -> dict[str, Source]:
        """Every configured source by name; each connects on first use."""
        deadline = self.settings.schedule.source_deadline
        return {
            name: Source(name, partial(self.connect, name), deadline, self.alive)
            for name in self.settings.sources
        }

    def connect(self, name: str) -> Connector:
        """Create the connector of one configured source; raises connectors.errors.SourceSettingsError."""
        from connectors.clock import Clock
        from connectors.registry import connect

        return connect(
            name,
            {key: value for key, value in self.settings.sources[name].items() if key != "schedule"},
            directory=self.settings.directory,
            default_relations=tuple(relation.id for relation in self.catalogue.enabled()),
            clock=Clock(now=self.now, sleep=self.sources[name].sleep),
        )

    def alive(self) -> None:
        """Called while waiting for sources: renews the lease, notifies the watchdog, reacts to SIGTERM."""
        if self._leadership is not None:
            self._leadership.renew()
        if self.stopping.is_set():
            raise Stopping(
                "asked to stop while sources were read", "the next cycle goes on from their cursors"
            )

    def write(self, leadership: Leadership | None) -> AbstractContextManager[Transaction]:
        """A transaction of the leader or, if `leadership` is None, of a command without a lease.

        Such a command may write a single step of its own (a reviewer's decision), because the leader compares
        what it has read before with the ledger again when it writes.
        """
        return self.state.write() if leadership is None else leadership.write()

    def intake(self, leadership: Leadership | None = None) -> Intake:
        """The intake of one cycle; its volume breaker counts over all sources."""
        made = Intake(
            self.state,
            self.settings.policy,
            self.catalogue,
            self.now,
            alive=self.alive,
            write=partial(self.write, leadership),
            special_tokens=special_tokens(model) if (model := self.settings.model.path) else frozenset(),
        )
        made.approvals = self.settings.review.approvals
        return made

    def executor(self, alive: Callable[[], None]) -> Executor:
        """The executor that runs builds; `alive` is called whenever a worker gives a sign of life."""
        settings = self.settings.executor
        return LocalExecutor(
            command=settings.command or (settings.ray.command() if settings.kind == "ray" else WORKER),
            environment=settings.environment,
            prefixes=STORE_PREFIXES if settings.kind == "ray" and settings.ray.storage is not None else (),
            heartbeat_timeout_s=settings.heartbeat_timeout.total_seconds(),
            stop_timeout_s=settings.stop_timeout.total_seconds(),
            stopping=self.stopping,
            alive=alive,
            idle=lambda: self.safe_point(),
        )

    @contextmanager
    def leading(self) -> Iterator[Leadership]:
        """Lead this home and ledger within the block; raises HomeInUse or state.LeaseHeld if another process does."""
        with telemetry.tracing(self.settings.tracing.endpoint), self.home.prepare().locked("kbsync"):
            # This process holds the home's lock, so no earlier leader of this home is alive: its lease can be replaced.
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
        """Write an event if the settings differ from those of the last leader.

        Gates or canaries that cannot be read must not prevent what does not need them, such as a rollback.
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
        """Close the connectors and the ledger's connections, as far as they were opened."""
        if "sources" in self.__dict__:
            for source in self.sources.values():
                source.close()
        if "state" in self.__dict__:
            self.state.close()
