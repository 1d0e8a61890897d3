"""What differs between two checkpoints: facts, and the settings that they were built with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kbsync.application import Application
from state.records import Checkpoint, Fact, SlotKey

MOST = 500
"""Changes that are listed."""


@dataclass(frozen=True, slots=True)
class SlotChange:
    """A slot for which the two checkpoints state different values."""

    subject: str
    subject_label: str
    relation: str
    before: Fact | None
    after: Fact | None


@dataclass(frozen=True, slots=True)
class CheckpointChanges:
    """From one checkpoint to another."""

    before: Checkpoint
    after: Checkpoint
    same_base: bool
    sizes: tuple[int, int]
    """Facts of either view."""
    slots: tuple[SlotChange, ...]
    """The first `MOST` of them."""
    count: int
    recipe: tuple[tuple[str, str, str], ...]
    """(setting, before, after) of what they were built with."""


def checkpoint_changes(app: Application, before: int, after: int) -> CheckpointChanges:
    """What changes from checkpoint `before` to `after`.  Raises state.errors.NotFound."""
    with app.state.read() as tx:
        old, new = tx.checkpoint(before), tx.checkpoint(after)
        left = {(f.subject, f.relation): f for f in tx.facts_not_in(old.view, new.view)}
        came = {(f.subject, f.relation): f for f in tx.facts_not_in(new.view, old.view)}
        sizes = tx.view(old.view).size, tx.view(new.view).size
    changes = sorted((_change(pair, left.get(pair), came.get(pair)) for pair in {*left, *came}), key=_order)
    return CheckpointChanges(
        old,
        new,
        old.base == new.base,
        sizes,
        tuple(changes[:MOST]),
        len(changes),
        tuple(_recipe_changes(old.recipe, new.recipe)),
    )


def _change(pair: SlotKey, before: Fact | None, after: Fact | None) -> SlotChange:
    labelled = after or before
    assert labelled is not None
    subject, relation = pair
    return SlotChange(subject, labelled.subject_label, relation, before, after)


def _order(change: SlotChange) -> tuple[str, str, str]:
    return change.subject_label.casefold(), change.relation, change.subject


def _recipe_changes(before: str, after: str) -> Iterator[tuple[str, str, str]]:
    old, new = dict(_flat(_read(before))), dict(_flat(_read(after)))
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            yield name, _shown(old.get(name)), _shown(new.get(name))


def _read(recipe: str) -> Mapping[str, Any]:
    return json.loads(recipe) if recipe else {}


def _flat(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        where = f"{above}.{name}" if above else name
        if isinstance(inner, Mapping):
            yield from _flat(inner, where)
        else:
            yield where, inner


def _shown(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)
