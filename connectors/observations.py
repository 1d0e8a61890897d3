"""The data types that connectors of every kind yield.

Connectors yield *observations*, never diffs.  An observation is the current state of a slot (one
subject, one relation) at the source, with all its statements.  Wikidata has no statement-level
timestamps, so the whole slot is the smallest reliable unit; `state` computes the differences.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol, runtime_checkable

from connectors.dates import Interval

Rank = Literal["preferred", "normal", "deprecated"]
Kind = Literal["entity", "literal", "novalue", "somevalue"]

SlotKey = tuple[str, str]
"""(subject id, relation): what names a slot."""

LITERAL = "lit:"
"""Prefix of the id of a value that is not an entity; the rest of the id is the value's text."""


@dataclass(frozen=True, slots=True)
class Entity:
    """An entity: its CURIE (`wd:Q30`), its label and its aliases."""

    id: str
    label: str | None = None
    aliases: tuple[str, ...] = ()
    living: bool | None = None
    """True for a human without a date of death, False for a dead human or a non-human, None if unknown."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One value that a source holds for a slot."""

    id: str
    kind: Kind
    object: Entity | None
    """The value; a literal is an Entity with the id `lit:<text>`.  None for no-value and some-value."""
    rank: Rank = "normal"
    start: Interval | None = None
    """When the statement began to hold, at the source's precision; a datetime is an exact instant."""
    end: Interval | None = None
    """When the statement stopped holding, likewise."""
    references: int = 0

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            if isinstance(date := getattr(self, name), datetime):
                object.__setattr__(self, name, Interval.at(date))


@dataclass(frozen=True, slots=True)
class Observation:
    """The state of a slot at one source and one revision: all its statements, sorted by id."""

    source: str
    subject: Entity
    relation: str
    statements: tuple[Statement, ...]
    revision: int
    """Increases with every change of the subject at this source; taken from the clock without revisions."""
    modified: datetime | None
    """When the subject was changed, by the source's clock (UTC); None if the source does not say."""
    observed: datetime
    """When the slot was read, by kbsync's clock (UTC)."""
    gone: bool = False
    """True if the source no longer has the subject.  Such a subject has no revision: `revision` is ignored,
    and the ledger treats the absence as newer than everything it has stored for the slot.  A later
    observation becomes current again even with the subject's old revision, as after an undeletion or an
    undone merge."""


@dataclass(frozen=True, slots=True)
class Poll:
    """One step of a poll; the caller stores its observations and its cursor in one transaction."""

    observations: tuple[Observation, ...]
    cursor: str | None
    redirects: tuple[tuple[str, str], ...] = ()
    """(old id, new id) of subjects merged at the source: their facts move, but do not change."""
    labels: tuple[Entity, ...] = ()
    """Entities used as objects whose label or aliases were re-read."""
    merged_objects: tuple[tuple[str, str], ...] = ()
    """(old id, new id) of subjects and objects of this step that others were merged into at the source: what was
    decided about the old one holds for the new one.  May be reported more than once."""
    rejected: int = 0
    """Number of rows of this reading that could not be used, reported in one of its steps."""
    reject: str = ""
    """The location of the first rejected row, and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Triple:
    """A neighbour or probe: a subject's current value for a relation, with labels."""

    subject: Entity
    relation: str
    object: Entity


@dataclass(frozen=True, slots=True)
class Health:
    """The health of a source, as `kbsync doctor` shows it."""

    ok: bool
    detail: str
    lag_s: float | None = None
    extra: dict[str, str] = field(default_factory=dict)
    lasting: bool = False
    """Whether a problem persists until somebody changes a setting or an access right."""


@runtime_checkable
class Connector(Protocol):
    """A source of facts.  Implementations keep no state beyond open connections.

    Every method may raise `connectors.errors.SourceUnavailable` (try later), `SourceDataError` (the
    response is not what the source promised), or another error of that module.  Nothing is consumed
    then, and the caller's cursor is still valid.
    """

    name: str

    def poll(self, cursor: str | None) -> Iterator[Poll]:
        """Yield the slots changed since `cursor`, in steps that can each be committed; None reads everything.

        A reading of everything omits empty slots; later steps report emptied ones.  If nothing changed
        and no row was rejected, there is no step.  A step whose cursor was not committed is delivered again.
        """
        ...

    def snapshot(self, slots: Iterable[tuple[str, str]]) -> Iterator[Poll]:
        """Re-read the given (subject id, relation) slots; these steps have no cursor."""
        ...

    def neighbours(self, relation: str, object_id: str | None, limit: int) -> tuple[Triple, ...]:
        """Facts of subjects that have the object for `relation` (any object if None)."""
        ...

    def facts_of(self, subject_id: str, limit: int) -> tuple[Triple, ...]:
        """The subject's current facts in the relations this source is configured for."""
        ...

    def check(self) -> Health:
        """Contact the source once, with a cheap request, and report its health."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class Rewindable(Protocol):
    """A connector that can go back to an instant; the others can only read everything again."""

    def rewind(self, cursor: str, to: datetime | None) -> str:
        """The cursor from which everything that changed since `to` (everything, if None) is read again.

        What is known to be gone stays known.  Raises SourceDataError for a cursor of another connector.
        """
        ...
