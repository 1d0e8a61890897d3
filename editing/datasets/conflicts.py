"""The no-conflict constraint (Eqn. 5): no two facts with one subject and relation and different objects."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from editing.datasets.record import Record
from editing.requests import prompt_key


@dataclass(frozen=True, slots=True)
class Filtered:
    """Records that do not contradict each other, and how many were left out."""

    records: tuple[Record, ...]
    conflicts: int
    """Records of a slot that is stated with different objects; which one is right is not known, so all are left out."""
    duplicates: int
    """Further records of a slot with the same object."""


def without_contradictions(records: Sequence[Record]) -> Filtered:
    """The records whose slots have one object only, each slot once, in their order.

    A slot is a prompt as a model reads it: two relations that render to one prompt cannot be given different answers.
    """
    objects: dict[str, set[str]] = defaultdict(set)
    keys = [prompt_key(record.request.rendered) for record in records]
    for key, record in zip(keys, records, strict=True):
        objects[key].add(record.request.target)
    kept: dict[str, Record] = {}
    conflicts = 0
    for key, record in zip(keys, records, strict=True):
        if len(objects[key]) > 1:
            conflicts += 1
        else:
            kept.setdefault(key, record)
    return Filtered(tuple(kept.values()), conflicts, len(records) - conflicts - len(kept))
