"""What slots are rendered with: each relation's template, and the folding that made their prompt keys.

A catalogue that has another template now, or a newer folding, changes the prompts of slots that nothing
was read of; this is how that is noticed without looking at every slot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import func, select

from state.records import Fact, Rendering, Slot
from state.tables import Facts, Renderings, table
from state.transaction import SLOTS, Reader, Writer, columns_of

RENDERINGS, FACTS = table(Renderings), table(Facts)
_SLOT = columns_of(SLOTS, Slot)


class RenderingQueries(Reader):
    def renderings(self) -> dict[str, Rendering]:
        """What the slots of each relation are rendered with, as far as that was written down."""
        columns = columns_of(RENDERINGS, Rendering)
        return {row.relation: Rendering(*row) for row in self._rows(select(*columns))}

    def rendered_page(self, relations: Iterable[str], after: int, limit: int) -> list[Slot]:
        """At most `limit` rendered slots of these relations, by id, whose ids are above `after`."""
        of_them = SLOTS.c.relation.in_(sorted(relations))
        page = select(*_SLOT).where(of_them, SLOTS.c.prompt_key.is_not(None), SLOTS.c.id > after)
        return [Slot(*row) for row in self._rows(page.order_by(SLOTS.c.id).limit(limit))]

    def count_templates(self) -> dict[tuple[str, str], int]:
        """Wanted facts by relation and the template that they are pinned to."""
        columns = (SLOTS.c.relation, FACTS.c.template, func.count())
        counted = select(*columns).join_from(FACTS, SLOTS).where(FACTS.c.status == "wanted")
        rows = self._rows(counted.group_by(SLOTS.c.relation, FACTS.c.template))
        return {(row[0], row[1]): row[2] for row in rows}

    def pinned_elsewhere(self, relation: str, template: str, limit: int | None) -> tuple[Fact, ...]:
        """At most `limit` wanted facts of the relation that are pinned to another template than `template`."""
        statement = select(*columns_of(FACTS, Fact)).join_from(FACTS, SLOTS)
        chosen = statement.where(
            FACTS.c.status == "wanted", SLOTS.c.relation == relation, FACTS.c.template != template
        )
        return tuple(Fact(*row) for row in self._rows(chosen.order_by(FACTS.c.id).limit(limit)))


class RenderingTransitions(RenderingQueries, Writer):
    def put_renderings(self, renderings: Iterable[Rendering]) -> None:
        """Keeps what slots are rendered with from now on; it has no event: each slot's change has one."""
        for one in renderings:
            self._delete(RENDERINGS, RENDERINGS.c.relation == one.relation)
            self._insert(
                RENDERINGS,
                [
                    {
                        "relation": one.relation,
                        "template": one.template,
                        "folding": one.folding,
                        "pending": one.pending,
                    }
                ],
            )

    def rekey_facts(self, facts: Sequence[Fact], keys: Mapping[int, str]) -> None:
        """Gives facts the prompt keys of a newer folding; what they say to the model stays."""
        self._rewrite(
            FACTS, [{"id": fact.id, "prompt_key": keys[fact.id]} for fact in facts if fact.id in keys]
        )
