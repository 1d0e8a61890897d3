"""What becomes of a signing key: it is created, another takes its place, or it is revoked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(slots=True, kw_only=True)
class KeyHistory:
    """The events of a key, by their numbers."""

    created: int
    at: str
    """The time of its creation."""
    retired: int | None = None
    """The event since which another key signs; what it signed before stays valid."""
    revoked: int | None = None
    """The event since which no signature of it counts: a thief could have made it at any time."""

    @property
    def state(self) -> Literal["signs", "retired", "revoked"]:
        if self.revoked is not None:
            return "revoked"
        return "signs" if self.retired is None else "retired"
