"""Events whose words were erased: what is left of them, and how a later event vouches for it.

The hash of an event stays as it was, and with it the chain, the Merkle tree, every signed head and every proof
about other events.  It cannot be computed from the event any more.  Instead, an event `events.redacted` states the
digest of what is left of each, signed by the operator's key where the log has one: whoever can write SQL can
neither change what is left nor pass a change off as an erasure.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from state.hash_chain import canonical, exact
from state.lineage import Lineage
from state.names import SubjectNames

KIND = "events.redacted"
MARK = "redacted"
"""The member of a body that names the erasure (a number in the table `forgotten`)."""

_COVERED = ("seq", "at", "kind", "actor", "run", "fact", "body", "previous", "hash", "rows")
_KEPT_OF_FACTS = ("from", "to", "status", "decision", "decision_before")
"""What is left of the events of an erased fact: how it moved, without what it was."""


def is_redacted(body: str) -> bool:
    """Whether the body of an event is what an erasure has left of it."""
    return f'"{MARK}":' in body and MARK in json.loads(body)


@dataclass(frozen=True, slots=True)
class Erasure:
    """What is to be erased from events."""

    number: int
    names: SubjectNames
    facts: frozenset[int]
    """Facts that are erased: their events keep nothing but their moves."""
    seals: Mapping[str, Collection[str]]
    """Keys of rows, by table, that are themselves words: of entities, whose key is the id of the subject."""

    def of(self, event: Mapping[str, Any]) -> dict[str, Any] | None:
        """What is left of an event, None where nothing of it has to go."""
        body = None
        if event["fact"] in self.facts or self.names.may_be_in(event["body"]):
            body = self._body(event["fact"], json.loads(event["body"]))
        rows = self._rows(event["rows"])
        if body is None and rows == event["rows"]:
            return None
        left = json.loads(event["body"]) if body is None else body
        return {**event, "body": canonical({**left, MARK: self.number}), "rows": rows, "salt": None}

    def _body(self, fact: int | None, body: dict[str, Any]) -> dict[str, Any] | None:
        if fact in self.facts:
            return {name: body[name] for name in _KEPT_OF_FACTS if name in body}
        without = self.names.without(body)
        return None if without == body else without

    def _rows(self, rows: str | None) -> str | None:
        if rows is None or not any(f'"{name}":' in rows for name in self.seals):
            return rows
        sealed = json.loads(rows)
        left = {}
        for name, seals in sealed.items():
            gone = self.seals.get(name, ())
            if kept := {key: seal for key, seal in seals.items() if key not in gone}:
                left[name] = kept
        return rows if left == sealed else canonical(left) if left else None


def digest_of_event(event: Mapping[str, Any]) -> str:
    """SHA-256 over the canonical JSON of its columns, but for the salts where they are erased."""
    covered = {name: event.get(name) for name in _COVERED}
    if event.get("salt") is not None:
        covered["salt"] = event["salt"]
    return hashlib.sha256(exact(covered)).hexdigest()


def statement(number: int, events: Mapping[str, str]) -> str:
    """What the operator's key signs: which events were redacted, and the digest of what is left of each."""
    return f"redacted by kbsync\n{number}\n{canonical(events)}\n"


@dataclass
class Redactions:
    """Collected while a log is verified: events that are not their hash's, and the events that vouch for them."""

    _found: dict[int, str] = field(default_factory=dict)
    _stated: dict[int, str] = field(default_factory=dict)
    _unsigned: set[int] = field(default_factory=set)

    def expect(self, event: Mapping[str, Any]) -> bool:
        """Take note of an event whose hash is not that of its columns; False if it does not claim to be redacted."""
        try:
            if not is_redacted(event["body"]):
                return False
            self._found[event["seq"]] = digest_of_event(event)
        except (ValueError, TypeError):
            return False
        return True

    def event(self, row: Mapping[str, Any], lineage: Lineage) -> None:
        """The next event of the log; `lineage` has the keys up to it."""
        if row["kind"] != KIND:
            return
        try:
            body = json.loads(row["body"])
            events = {int(seq): str(digest) for seq, digest in body["events"].items()}
            signature = base64.b64decode(body.get("signature", ""), validate=True)
            text = statement(body["number"], body["events"])
        except (ValueError, TypeError, LookupError, AttributeError):
            return
        keys = lineage.trusted(row["seq"])
        signed = not lineage.keys or any(key.has_signed(text, signature) for key in keys)
        self._stated |= events
        self._unsigned = self._unsigned - events.keys() if signed else self._unsigned | events.keys()

    def first_bad(self) -> tuple[int, str] | None:
        """The first redacted event that is not vouched for, and why."""
        for seq, digest in sorted(self._found.items()):
            if self._stated.get(seq) != digest:
                return seq, f"event {seq} was changed: its hash does not match its content"
            if seq in self._unsigned:
                return seq, f"event {seq} was redacted without the signature of a key of this log"
        return None
