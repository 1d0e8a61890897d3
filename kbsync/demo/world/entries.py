"""The rows of the world's files, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from connectors.observations import Rank
from kbsync.errors import BadData

Do = Literal["add", "succeed", "end", "replace"]
ExpectedVerdict = Literal["unchanged", "accepted", "retracted", "quarantined"]


class WorldError(BadData):
    """A file of the demo's world violates its declared format; the message names file and line."""


@dataclass(frozen=True, slots=True)
class WorldEntity:
    """An entity of the world, with its English label and its aliases."""

    id: str
    label: str
    type: str
    """`country`, `state`, `city`, `person`, `company`, `club`, `venue`, …"""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RelationWording:
    """The wordings of one relation (`wdt:P36`)."""

    id: str
    label: str
    subject_type: str
    open: tuple[str, ...]
    """Templates with words between subject and object; the first is edited with."""
    close: tuple[str, ...]
    """Templates with nothing but punctuation between them."""
    inverse: tuple[str, ...]
    """Sentences around {object} and {subject}, the object first; for training text."""

    @property
    def templates(self) -> tuple[str, ...]:
        """The templates in the catalogue's format: `{}` for the subject, the object last, the one for editing first."""
        return (*self.open, *self.close)


@dataclass(frozen=True, slots=True)
class WorldFact:
    subject: str
    relation: str
    object: str
    start: date | None = None

    @property
    def slot(self) -> tuple[str, str]:
        return self.subject, self.relation


@dataclass(frozen=True, slots=True)
class WorldMove:
    """One edit of the knowledge base, at a time of the world's own clock (UTC)."""

    at: datetime
    do: Do
    subject: str
    relation: str
    object: str
    rank: Rank = "normal"
    ended: date | None = None
    """With `succeed`: the last day of the statement before, where that was not the day of the move."""
    reference: bool = True

    @property
    def slot(self) -> tuple[str, str]:
        return self.subject, self.relation


@dataclass(frozen=True, slots=True)
class TrueChange:
    """A true change of a single-valued relation: what came last, and when the object of 2021 ended."""

    day: date
    subject: str
    relation: str
    object: str
    ended: date

    @property
    def slot(self) -> tuple[str, str]:
        return self.subject, self.relation


@dataclass(frozen=True, slots=True)
class AwkwardCase:
    """An awkward case: a slot, its story, the moves that produce it, and the verdict expected from admission."""

    kind: str
    subject: str
    relation: str
    story: str
    expect: ExpectedVerdict
    moves: tuple[WorldMove, ...]
    also: str | None = None
    """A second relation of the subject that changes too."""
    rival: str | None = None
    """The other entity with the subject's label."""

    @property
    def slot(self) -> tuple[str, str]:
        return self.subject, self.relation


@dataclass(frozen=True, slots=True)
class Trial:
    """One change of the demo's second act: sound, or hopeless for a small model (and then invented)."""

    hopeless: bool
    move: WorldMove
