"""What every source states, in the same types whatever kind of source it is.

Connectors emit *observations*, never diffs: a slot (one subject, one relation) as the source
has it now, with all its statements.  Wikidata has no statement-level timestamp, so the only
honest unit is the whole slot (compare `state`, which diffs).
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
"""Prefix of the id of a value that is no entity; the rest of the id is its text."""


@dataclass(frozen=True, slots=True)
class Entity:
    """A thing with a CURIE (`wd:Q30`), its label, and the other names it goes by."""

    id: str
    label: str | None = None
    aliases: tuple[str, ...] = ()
    living: bool | None = None
    """True for a human without a date of death, False for one who died or is no human, None unknown."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One value that a source holds for a slot."""

    id: str
    kind: Kind
    object: Entity | None
    """The value; a literal is an Entity whose id is `lit:<text>`.  None for no-value and some-value."""
    rank: Rank = "normal"
    start: Interval | None = None
    """When it began to hold, as precisely as the source says; a datetime is taken as an exact instant."""
    end: Interval | None = None
    """When it ceased to hold, likewise."""
    references: int = 0

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            if isinstance(date := getattr(self, name), datetime):
                object.__setattr__(self, name, Interval.at(date))


@dataclass(frozen=True, slots=True)
class Observation:
    """A slot as one source has it at one revision: all its statements, sorted by id."""

    source: str
    subject: Entity
    relation: str
    statements: tuple[Statement, ...]
    revision: int
    """Grows with every change of the subject at this source (a source without revisions counts instants)."""
    modified: datetime | None
    """When the source changed the subject, by the source's own clock (UTC); None where it has none."""
    observed: datetime
    """When it was read, by ours (UTC)."""
    gone: bool = False
    """True: the source no longer has the subject at all.  It then has no revision either: `revision` is not
    looked at, the ledger takes the absence as newer than everything it has of the slot.  A later observation
    is current again even under the revision that the subject had before (undeleted, a merge undone)."""


@dataclass(frozen=True, slots=True)
class Poll:
    """One committed step: store the observations and the cursor in one transaction."""

    observations: tuple[Observation, ...]
    cursor: str | None
    redirects: tuple[tuple[str, str], ...] = ()
    """(old id, new id) of subjects merged at the source: the fact moves, it does not change."""
    labels: tuple[Entity, ...] = ()
    """Entities in use as objects whose label or aliases were re-read."""
    rejected: int = 0
    """Rows of this reading that could not be used, counted in one of its steps."""
    reject: str = ""
    """Where the first of them is, and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Triple:
    """A neighbour or probe: a fact of some subject, with labels; only the current best value."""

    subject: Entity
    relation: str
    object: Entity


@dataclass(frozen=True, slots=True)
class Health:
    """What `kbsync doctor` shows of a source."""

    ok: bool
    detail: str
    lag_s: float | None = None
    extra: dict[str, str] = field(default_factory=dict)
    lasting: bool = False
    """Of what is not well: whether it stays so until somebody changes a setting or a right."""


@runtime_checkable
class Connector(Protocol):
    """A source of facts.  Implementations hold no state of their own beyond open connections.

    Every method may raise `connectors.errors.SourceUnavailable` (try later) or
    `SourceDataError` (the answer is not what the source promised), or another of that tree; nothing was
    then consumed and the caller's cursor is still right.
    """

    name: str

    def poll(self, cursor: str | None) -> Iterator[Poll]:
        """Changed slots since `cursor` in steps that can each be committed; None reads everything.

        Reading everything leaves out slots that hold nothing; any later step reports emptied ones.
        Nothing changed and no row rejected: no step.  A step is delivered again if its cursor was not committed.
        """
        ...

    def snapshot(self, slots: Iterable[tuple[str, str]]) -> Iterator[Poll]:
        """Re-read the given (subject id, relation) slots; these steps carry no cursor to store."""
        ...

    def neighbours(self, relation: str, object_id: str | None, limit: int) -> tuple[Triple, ...]:
        """Subjects that share `relation` and the object (any object when None)."""
        ...

    def facts_of(self, subject_id: str, limit: int) -> tuple[Triple, ...]:
        """The subject's current facts in the relations this source is configured for."""
        ...

    def check(self) -> Health:
        """Reach the source once, cheaply: what it answers, or why it does not."""
        ...

    def close(self) -> None: ...
