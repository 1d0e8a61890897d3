"""Find wordings that two relations share: an edit of one relation would then answer the other's questions.

An edit of "The seat of Acme is" for one relation also answers the question of another relation with the same
wording.  If the objects differ, one of the two facts fails its gate although its edit is not at fault.
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
    """Whether facts of one relation are edited with it; otherwise both relations are judged by it."""

    def __str__(self) -> str:
        if self.taught:
            return f"{self.one} is edited with {self.wording!r}, which {self.other} has too"
        return f"{self.one} and {self.other} are both judged by {self.wording!r}"


def collisions(relations: Iterable[Relation], variants: int = 0) -> Iterator[Collision]:
    """Every wording that two of the relations share.

    `variants`: number of further templates that facts are edited with (`[plan] variants`).  Inverse templates
    are included for relations with `edit_inverse`, because an inverse prompt of an object equals the prompt of
    a subject with the same name.
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
    """Each wording of a relation once, and whether facts are edited with it."""
    inverse = relation.inverse if relation.edit_inverse else ()
    taught = {*relation.templates[: 1 + variants], *inverse[:1]}
    for wording in dict.fromkeys((*relation.templates, *inverse)):
        yield wording, wording in taught
