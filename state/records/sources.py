"""What the sources stated, and how reading them goes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Recorded = Literal["new", "duplicate", "late"]
GONE = -1
"""The revision of an observation about a subject that the source no longer has, when it is recorded."""


@dataclass(frozen=True, slots=True)
class StoredEntity:
    id: str
    label: str | None
    aliases: tuple[str, ...] = ()
    living: bool | None = None


@dataclass(frozen=True, slots=True)
class StoredObservation:
    """A slot as one source had it from one revision on; `statements` is canonical JSON of the statements."""

    source: str
    subject: str
    relation: str
    revision: int
    modified: datetime | None
    observed: datetime
    statements: str
    id: int | None = None


@dataclass(frozen=True, slots=True)
class SourceHealth:
    """How reading one source goes."""

    source: str
    succeeded: datetime | None = None
    """When it was last read to its end, whether or not anything had changed."""
    failed: datetime | None = None
    kind: str = ""
    """The class of the last error; empty if there was none."""
    error: str = ""
    failures: int = 0
    """Errors in a row since the last success."""
    retry: datetime | None = None
    """After errors: when it is asked again."""
    reconciled: int | None = None
    """How far a full re-read has come; None: none is under way."""
    rejected: int = 0
    """Rows of the latest reading that could not be used."""
    reject: str = ""
    """Where the first of them is, and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class ForgottenSubject:
    """A subject that was forgotten; the ledger recognises it by keyed digests and has no name for it."""

    number: int
    salt: str
    digests: str
    """JSON array of hexadecimal digests."""
    reason: str
    actor: str
    since: datetime
    released: datetime | None
    """Since when it may be learnt again."""


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased in the ledger, as counts, and what follows from it."""

    number: int
    """Of the row that recognises the subject."""
    facts: int
    observations: int
    """Deleted, or without the statements that named the subject."""
    events: int
    views: tuple[str, ...]
    """Digests of the views that had one of the facts."""
    slots: tuple[tuple[str, str], ...]
    """Slots of other subjects that a statement was taken out of: they have to be admitted again."""
    shared: int
    """Names that something else in the ledger has as well: they stay where they are not about the subject."""
