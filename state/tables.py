"""The ledger's tables, as SQLModel classes.

Three groups: what the sources said (`entities`, `slots`, `observations`, `readings`, `cursors`,
`sources`),
what is wanted and built of it (`facts`, `views`, `runs`, `checkpoints` and their satellites), and
what happened (`events`).  The rest of the room works on the Core tables behind these classes
(`table(Facts)`): batches of thousands of rows do not pass through mapped objects.

States are strings with a CHECK, so that a database browser shows words and a new state is a
migration.  Ids are given out by the writer (writers take turns, see `database.py`), never by
sequences, so they are dense and a bulk insert knows them beforehand.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, cast, get_args

from sqlalchemy import CheckConstraint, Index, MetaData, Table, Text, false, text
from sqlmodel import Field, SQLModel

from state import records
from state.columns import Big, UTCDateTime

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Row(SQLModel):
    """Base of all tables: metadata of their own, with names that migrations can rely on."""

    metadata: ClassVar[MetaData] = MetaData(naming_convention=NAMING)


def table(row: type[Row]) -> Table:
    """The Core table behind a class."""
    return cast(Table, row.__table__)  # type: ignore[attr-defined]


def one_of(column: str, literal: Any) -> CheckConstraint:
    """A CHECK that `column` holds one of a Literal's words."""
    words = ", ".join(f"'{word}'" for word in get_args(literal))
    return CheckConstraint(f"{column} IN ({words})", name=column)


_field: Any = Field
"""SQLModel types `sa_type` as a class; a type with a variant is an instance."""


def key(*, foreign: str | None = None) -> Any:
    """A 64-bit primary key that the writer chooses."""
    extra = {"foreign_key": foreign} if foreign else {}
    return _field(sa_type=Big, primary_key=True, sa_column_kwargs={"autoincrement": False}, **extra)


def big(*, foreign: str | None = None, index: bool = False, nullable: bool = False) -> Any:
    extra = {"foreign_key": foreign} if foreign else {}
    return _field(sa_type=Big, index=index, nullable=nullable, **extra)


def when(*, nullable: bool = False) -> Any:
    return _field(sa_type=UTCDateTime, nullable=nullable)


def long() -> Any:
    """Text without a length: JSON, messages."""
    return Field(sa_type=Text)


# What the sources said


class Entities(Row, table=True):
    __tablename__ = "entities"
    id: str = Field(primary_key=True)
    label: str | None
    aliases: str = long()
    living: bool | None


class Cursors(Row, table=True):
    __tablename__ = "cursors"
    source: str = Field(primary_key=True)
    cursor: str | None = Field(sa_type=Text)
    updated: datetime = when()


class Sources(Row, table=True):
    """How reading each source goes, beside its cursor."""

    __tablename__ = "sources"
    source: str = Field(primary_key=True)
    succeeded: datetime | None = when(nullable=True)
    failed: datetime | None = when(nullable=True)
    kind: str
    error: str = long()
    failures: int
    retry: datetime | None = when(nullable=True)
    reconciled: int | None = big(nullable=True)


class Slots(Row, table=True):
    """Every slot ever named; the rest of the ledger refers to it by id, so its text is indexed once.

    Label, template and prompt key are null until the slot is rendered (an observation may come first).
    """

    __tablename__ = "slots"
    __table_args__ = (Index("uq_slots_slot", "subject", "relation", unique=True),)
    id: int = key()
    subject: str
    relation: str
    subject_label: str | None
    template: str | None
    prompt_key: str | None = Field(index=True)


class Renderings(Row, table=True):
    """What the slots of each relation are rendered with."""

    __tablename__ = "renderings"
    relation: str = Field(primary_key=True)
    template: str
    folding: str
    pending: bool


class Observations(Row, table=True):
    """Every state of a slot at a source, ever: the history that admission judges.

    `repeats`: later revisions that are known to have said the same (`revision_spans.py`).
    """

    __tablename__ = "observations"
    id: int = key()
    source: str
    slot: int = big(foreign="slots.id", index=True)
    revision: int = big()
    modified: datetime | None = when(nullable=True)
    observed: datetime = when()
    statements: str = long()
    repeats: str = Field(sa_type=Text, sa_column_kwargs={"server_default": "[]"})


class Readings(Row, table=True):
    """Where each source stands with each slot: the newest revision read, and its observation.

    `gone`: the source no longer has the subject.  `lift`: what is added to the source's revision numbers
    since the subject was gone and came back.
    """

    __tablename__ = "readings"
    __table_args__ = (
        Index("uq_readings_slot", "slot", "source", unique=True),
        Index("ix_readings_source", "source", "id"),
    )
    id: int = key()
    source: str
    slot: int = big(foreign="slots.id")
    revision: int = big()
    observation: int = big(foreign="observations.id")
    gone: bool = Field(sa_column_kwargs={"server_default": false()})
    lift: int = Field(sa_type=Big, sa_column_kwargs={"server_default": "0"})


# What is wanted


class Facts(Row, table=True):
    __tablename__ = "facts"
    __table_args__ = (
        one_of("status", records.FactStatus),
        one_of("decision", records.Decision),
        Index("uq_facts_slot", "slot", "key", unique=True),
        Index(  # Eqn. 5: at most one object a slot
            "uq_facts_wanted",
            "slot",
            unique=True,
            sqlite_where=text("status = 'wanted'"),
            postgresql_where=text("status = 'wanted'"),
        ),
        Index(  # to be admitted again at that time, whatever their status
            "ix_facts_held",
            "held_until",
            sqlite_where=text("held_until IS NOT NULL"),
            postgresql_where=text("held_until IS NOT NULL"),
        ),
        Index("ix_facts_status", "status", "id"),
    )
    id: int = key()
    key: str
    slot: int = big(foreign="slots.id")
    subject_label: str
    object: str = Field(index=True)
    target: str
    template: str
    prompt_key: str = Field(index=True)
    status: str
    reason: str = long()
    reason_code: str = Field(sa_column_kwargs={"server_default": ""})
    source: str
    revision: int = big()
    statement: str
    held_until: datetime | None = when(nullable=True)
    priority: int
    decision: str | None
    decided: datetime | None = when(nullable=True)
    created: datetime = when()
    updated: datetime = when()
    since: datetime = _field(sa_type=UTCDateTime, sa_column_kwargs={"server_default": "1970-01-01"})


class Probes(Row, table=True):
    __tablename__ = "probes"
    __table_args__ = (CheckConstraint("kind IN ('neighbour', 'same_subject', 'alias')", name="kind"),)
    fact: int = key(foreign="facts.id")
    position: int = Field(primary_key=True)
    kind: str
    prompt: str = long()
    target: str = long()


class Views(Row, table=True):
    __tablename__ = "views"
    id: int = key()
    digest: str = Field(unique=True)
    size: int = big()
    created: datetime = when()


class ViewFacts(Row, table=True):
    __tablename__ = "view_facts"
    __table_args__ = (Index("ix_view_facts_fact", "fact", "view"), {"sqlite_with_rowid": False})
    view: int = key(foreign="views.id")
    fact: int = key(foreign="facts.id")


class BaseAnswers(Row, table=True):
    """What the base says of a fact without any edit; `known` facts take no capacity."""

    __tablename__ = "base_answers"
    base: str = Field(primary_key=True)
    fact: int = key(foreign="facts.id")
    known: bool
    answer: str = long()


# What is built


class Runs(Row, table=True):
    __tablename__ = "runs"
    __table_args__ = (one_of("state", records.RunState),)
    id: int = key()
    state: str = Field(index=True)
    view: str = Field(foreign_key="views.digest", index=True)
    base: str
    trigger: str = long()
    round: int
    attempts: int
    checkpoint: int | None = big(nullable=True)
    reason: str = long()
    created: datetime = when()
    updated: datetime = when()
    review_until: datetime | None = when(nullable=True)


class Rounds(Row, table=True):
    __tablename__ = "rounds"
    run: int = key(foreign="runs.id")
    round: int = Field(primary_key=True)
    view: str = Field(foreign_key="views.digest", index=True)
    started: datetime = when()


class Attempts(Row, table=True):
    __tablename__ = "attempts"
    __table_args__ = (one_of("outcome", records.AttemptOutcome),)
    id: int = key()
    run: int = big(foreign="runs.id", index=True)
    round: int
    worker: str = long()
    outcome: str
    evidence: str = long()
    started: datetime = when()
    ended: datetime | None = when(nullable=True)


class GateResults(Row, table=True):
    __tablename__ = "gate_results"
    __table_args__ = (CheckConstraint("NOT passed OR value IS NOT NULL", name="number"),)
    run: int = key(foreign="runs.id")
    round: int = Field(primary_key=True)
    name: str = Field(primary_key=True)
    value: float | None
    bound: float | None
    threshold: float
    n: int
    passed: bool
    detail: str = long()


class Checkpoints(Row, table=True):
    __tablename__ = "checkpoints"
    __table_args__ = (
        one_of("status", records.CheckpointStatus),
        Index(
            "uq_checkpoints_live",
            "status",
            unique=True,
            sqlite_where=text("status = 'live'"),
            postgresql_where=text("status = 'live'"),
        ),
    )
    id: int = key()
    status: str
    view: str = Field(foreign_key="views.digest", index=True)
    base: str
    run: int = big(foreign="runs.id", index=True)
    path: str
    digest: str
    pinned: bool
    created: datetime = when()
    promoted: datetime | None = when(nullable=True)
    promotion: int | None = Field(sa_type=Big, unique=True, nullable=True)
    collected: datetime | None = when(nullable=True)
    recipe: str = Field(sa_type=Text, sa_column_kwargs={"server_default": ""})


class BlockedViews(Row, table=True):
    __tablename__ = "blocked_views"
    view: str = Field(primary_key=True, foreign_key="views.digest")
    reason: str = long()
    actor: str
    since: datetime = when()


class Deployments(Row, table=True):
    """The outbox: written with the promotion, worked off by the daemon at least once."""

    __tablename__ = "deployments"
    __table_args__ = (
        one_of("state", records.DeploymentState),
        Index("uq_deployments_hook", "promotion", "hook", unique=True),
        Index("ix_deployments_state", "state", "id"),
    )
    id: int = key()
    promotion: int = big()
    checkpoint: int = big(foreign="checkpoints.id")
    hook: str
    state: str
    attempts: int
    observed: str
    detail: str = long()
    created: datetime = when()
    updated: datetime = when()


# What happened, and who may act


class Events(Row, table=True):
    """Append-only, held by triggers; `at`, `body` and `rows` are the very text that the hash covers.

    `rows`: the seals of the rows written since the event before (`seals.py`); null where there are none.
    """

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_run", "run", "seq"),
        Index("ix_events_fact", "fact", "seq"),
        Index(  # looked up at every start of a leader
            "ix_events_settings",
            "kind",
            "seq",
            sqlite_where=text("kind = 'settings.changed'"),
            postgresql_where=text("kind = 'settings.changed'"),
        ),
        Index(  # asked before anything is served
            "ix_events_promoted",
            "kind",
            "seq",
            sqlite_where=text("kind = 'checkpoint.promoted'"),
            postgresql_where=text("kind = 'checkpoint.promoted'"),
        ),
    )
    seq: int = key()
    at: str
    kind: str
    actor: str
    run: int | None = big(nullable=True)
    fact: int | None = big(nullable=True)
    body: str = long()
    previous: str
    hash: str
    rows: str | None = Field(sa_type=Text, nullable=True)


class Ledger(Row, table=True):
    """The one row about this ledger itself."""

    __tablename__ = "ledger"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)
    id: int = key()
    instance: str
    created: datetime = when()


class Checks(Row, table=True):
    """The last result of each thing that is proven on a schedule: the log, the tables, the bytes."""

    __tablename__ = "checks"
    name: str = Field(primary_key=True)
    ok: bool
    detail: str = long()
    since: datetime = when()
    at: datetime = when()


class Leases(Row, table=True):
    __tablename__ = "leases"
    name: str = Field(primary_key=True)
    holder: str
    generation: int = big()
    expires: datetime = when()


class Requests(Row, table=True):
    """What operators ask of whoever leads, and the answers."""

    __tablename__ = "requests"
    __table_args__ = (
        one_of("state", records.RequestState),
        Index("ix_requests_state", "state", "id"),
    )
    id: int = key()
    action: str
    arguments: str = long()
    reason: str = long()
    actor: str
    state: str
    attempts: int
    answer: str = long()
    created: datetime = when()
    updated: datetime = when()
    asked_by: str = Field(sa_column_kwargs={"server_default": ""})


class Pauses(Row, table=True):
    """At most one row: present while an operator has paused the daemon."""

    __tablename__ = "pauses"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)
    id: int = key()
    reason: str = long()
    actor: str
    since: datetime = when()
