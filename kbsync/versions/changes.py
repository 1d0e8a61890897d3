"""What differs between two versions: facts with their sources, and answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from kbsync.application import Application
from kbsync.versions.building import Views
from kbsync.versions.naming import Version
from state.records import Fact, SlotKey

MOST_ASKED = 500
"""Prompts of changed facts that are asked, besides the canaries."""


@dataclass(frozen=True, slots=True)
class FactChange:
    """A slot for which two versions state different values, or the same in other words."""

    subject: str
    relation: str
    before: Fact | None
    after: Fact | None

    @property
    def kind(self) -> Literal["added", "removed", "changed"]:
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "changed"

    @property
    def fact(self) -> Fact:
        """What the later version states; of a removed fact, what it no longer states."""
        fact = self.after or self.before
        assert fact is not None
        return fact


@dataclass(frozen=True, slots=True)
class AnswerChange:
    """A prompt that two versions answer differently."""

    prompt: str
    expected: str | None
    """What a canary expects, or what the later version was edited with."""
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class AnswerChanges:
    """Of all prompts that were asked, those with different answers."""

    asked: int
    changed: tuple[AnswerChange, ...]


def fact_changes(before: Version, after: Version) -> tuple[FactChange, ...]:
    """What changes from one version to another, in the order in which it came about."""
    had, has = {fact.key for fact in before.facts}, {fact.key for fact in after.facts}
    left = _by_slot(fact for fact in before.facts if fact.key not in has)
    came = _by_slot(fact for fact in after.facts if fact.key not in had)
    changes = (FactChange(*slot, left.get(slot), came.get(slot)) for slot in {*left, *came})
    return tuple(sorted(changes, key=_when))


def answer_changes(
    app: Application, views: Views, before: Version, after: Version, changes: Sequence[FactChange]
) -> AnswerChanges:
    """The canaries and the prompts of changed facts that the versions answer differently.

    A version whose directory is not kept is built from the cache to be asked.
    """
    expected = _expected(app, changes)
    answers = [views.answers(version, list(expected)) for version in (before, after)]
    rows = zip(expected.items(), *answers, strict=True)
    changed = (AnswerChange(prompt, target, a, b) for (prompt, target), a, b in rows if a != b)
    return AnswerChanges(len(expected), tuple(changed))


def _expected(app: Application, changes: Sequence[FactChange]) -> Mapping[str, str | None]:
    """Prompt → what the later version should say; canaries first, of which None expects the base's answer."""
    stated = {c.fact.prompt: c.after.target if c.after else None for c in changes[:MOST_ASKED]}
    return {case.prompt: case.target for case in app.canaries} | stated


def _by_slot(facts: Iterable[Fact]) -> dict[SlotKey, Fact]:
    return {(fact.subject, fact.relation): fact for fact in facts}


def _when(change: FactChange) -> tuple[object, ...]:
    """Facts in the order in which the ledger got them; what only left, when it left."""
    fact = change.fact
    at = fact.created if change.after is not None else fact.since
    return at, fact.id, fact.key
