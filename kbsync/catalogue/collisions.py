"""Wordings that two relations share: what one is taught, the other is judged by.

An edit of "The seat of Acme is" for one relation answers the question of another relation that has the same
wording.  Where the objects differ, one of the two fails its gate for no fault of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from editing.requests import prompt_key
from kbsync.catalogue.relations import Relation


@dataclass(frozen=True, slots=True)
class Collision:
    """One wording of two relations."""

    wording: str
    one: str
    other: str
    taught: bool
    """Whether facts of one of them are edited with it; else both are judged by it."""

    def __str__(self) -> str:
        if self.taught:
            return f"{self.one} is edited with {self.wording!r}, which {self.other} has too"
        return f"{self.one} and {self.other} are both judged by {self.wording!r}"


def collisions(relations: Iterable[Relation], variants: int = 0) -> Iterator[Collision]:
    """Every wording that two of the relations share.

    `variants`: further templates that facts are edited with (`[plan] variants`).  Inverse templates count where
    a relation is edited the other way round: around the object, they ask what a template asks around a
    subject of that name.
    """
    seen: dict[str, list[tuple[Relation, bool]]] = {}
    for relation in relations:
        for wording, taught in _wordings(relation, variants):
            earlier = seen.setdefault(prompt_key(wording), [])
            for other, also in earlier:
                first, second = (relation, other) if taught else (other, relation)
                yield Collision(wording, first.id, second.id, taught or also)
            earlier.append((relation, taught))


def _wordings(relation: Relation, variants: int) -> Iterator[tuple[str, bool]]:
    """Each wording of a relation once, with whether it is edited with."""
    inverse = relation.inverse if relation.edit_inverse else ()
    taught = {*relation.templates[: 1 + variants], *inverse[:1]}
    for wording in dict.fromkeys((*relation.templates, *inverse)):
        yield wording, wording in taught
