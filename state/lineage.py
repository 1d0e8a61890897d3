"""What a log states of itself: the keys that sign its heads, and the ledgers that it was restored from.

A restore begins another log (`origin`), whose beginning is that of the log before, up to the backup.  Heads of
the earlier log beyond that point are of events that are lost.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from state.errors import Damaged
from state.key_history import KeyHistory
from state.notes import PublicKey

KINDS = ("key.created", "key.rotated", "key.revoked", "ledger.restored")
"""The kinds of events that it is made of."""


def origin_of(instance: str) -> str:
    """The name of a ledger's log in its heads."""
    return f"kbsync/{instance}"


def rotation(previous: PublicKey, key: PublicKey) -> str:
    """What the previous key signs to vouch for its successor."""
    return f"kbsync key rotation\n{previous}\n{key}\n"


@dataclass(slots=True)
class LoggedKey(KeyHistory):
    """A public key as its events describe it."""

    key: PublicKey
    vouched_by: PublicKey | None = None
    """The key before it, where that key has signed the rotation."""

    @property
    def name(self) -> str:
        return self.key.name

    @property
    def public(self) -> str:
        """The public half as text, `NAME+HASH+BASE64`."""
        return str(self.key)


@dataclass(slots=True)
class Lineage:
    """Collected from the events, in their order."""

    keys: dict[str, LoggedKey] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    """By the origin of each earlier log: how many of its events are in this one."""
    last: str | None = None
    """The instance that the last restore began."""

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> Self:
        made = cls()
        for row in rows:
            made.event(row)
        return made

    def event(self, row: Mapping[str, Any]) -> None:
        """The next event; one that no writer of ours can have made adds nothing (the tables' proof names it)."""
        if row["kind"] not in KINDS:
            return
        try:
            self._event(row, json.loads(row["body"]))
        except (LookupError, ValueError, TypeError, AttributeError, Damaged):
            return

    def _event(self, row: Mapping[str, Any], body: Mapping[str, Any]) -> None:
        seq = row["seq"]
        match row["kind"]:
            case "ledger.restored":
                self.limits[origin_of(body["before"])] = min(int(body["head"]), seq - 1)
                self.last = body["instance"]
            case "key.revoked":
                self.keys[body["key"]].revoked = seq
            case "key.rotated":
                key, previous = PublicKey.parse(body["key"]), PublicKey.parse(body["previous"])
                signature = base64.b64decode(body["signature"], validate=True)
                vouched = previous.has_signed(rotation(previous, key), signature)
                self.keys[str(previous)].retired = seq
                self.keys[str(key)] = LoggedKey(key, previous if vouched else None, created=seq, at=row["at"])
            case "key.created":
                key = PublicKey.parse(body["key"])
                self.keys[str(key)] = LoggedKey(key, created=seq, at=row["at"])

    def active(self) -> LoggedKey | None:
        """The key that signs now."""
        usable = [one for one in self.keys.values() if one.state == "signs"]
        return usable[-1] if usable else None

    def trusted(self, size: int) -> list[PublicKey]:
        """The keys whose signature counts on a head of that size."""
        return [one.key for one in self.keys.values() if one.revoked is None or size < one.revoked]

    def descends(self, key: PublicKey, from_: Iterable[PublicKey]) -> bool:
        """Whether `key` is one of `from_`, or was vouched for by a chain of rotations that begins at one."""
        ancestors, seen, found = set(from_), set(), key
        while found not in ancestors:
            logged = self.keys.get(str(found))
            if logged is None or logged.vouched_by is None or found in seen:
                return False
            seen.add(found)
            found = logged.vouched_by
        return True
