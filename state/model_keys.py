"""The keys that sign versions of the model, as the events about them state.

These are elliptic-curve keys, as the OpenSSF model-signing format requires, and not the keys that sign the log.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from state.key_history import KeyHistory
from state.records import Event

KINDS = "model_key.*"


@dataclass(slots=True)
class ModelKey(KeyHistory):
    """A public key and its history."""

    fingerprint: str
    """SHA-256 of the PEM text, by which signatures name the key."""
    name: str
    pem: str

    @property
    def public(self) -> str:
        """The public half as text, PEM."""
        return self.pem.rstrip("\n")


@dataclass(slots=True)
class ModelKeys:
    """All keys of a ledger, in the order in which they were created."""

    keys: dict[str, ModelKey] = field(default_factory=dict)
    """By fingerprint."""

    @classmethod
    def of(cls, events: Iterable[Event]) -> Self:
        """`events`: those of the kinds `model_key.*`, oldest first."""
        made = cls()
        for event in events:
            body = json.loads(event.body)
            fingerprint = body["fingerprint"]
            if event.kind == "model_key.revoked":
                made.keys[fingerprint].revoked = event.seq
                continue
            if event.kind == "model_key.rotated":
                made.keys[body["previous"]].retired = event.seq
            made.keys[fingerprint] = ModelKey(
                fingerprint, body["name"], body["key"], created=event.seq, at=event.at.isoformat()
            )
        return made

    def active(self) -> ModelKey | None:
        """The key that signs now."""
        return next((one for one in self.keys.values() if one.state == "signs"), None)

    def trusted(self) -> dict[str, ModelKey]:
        """The keys whose signatures are valid, by fingerprint."""
        return {name: one for name, one in self.keys.items() if one.state != "revoked"}
