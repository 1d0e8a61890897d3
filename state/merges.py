"""What entities were merged into at their sources, so that a deny-list holds for what its entities became."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import select

from state.tables import Merges, table
from state.transaction import Reader, Writer, chunks

MERGES = table(Merges)


class MergeQueries(Reader):
    def heirs(self, ids: Iterable[str]) -> dict[str, str]:
        """What the entities were merged into, over any number of merges: its id → the one of `ids` that became it."""
        found: dict[str, str] = {}
        current = {id: id for id in ids}
        while current:
            following: dict[str, str] = {}
            for chunk in chunks(current):
                for row in self._rows(select(MERGES).where(MERGES.c.old.in_(chunk)).order_by(MERGES.c.old)):
                    if row.new not in found:
                        found[row.new] = following[row.new] = current[row.old]
            current = following
        return found


class MergeTransitions(MergeQueries, Writer):
    def put_merges(self, merged: Mapping[str, str], apart: Iterable[str], source: str) -> frozenset[str]:
        """Keep what `source` says of merges: entity → what it was merged into.

        `apart`: entities that the source describes by themselves, so that a merge which it reported is undone.
        Returns what other entities were merged into, or parted from, by this.
        """
        stored = {
            row.old: row
            for chunk in chunks({*merged, *apart})
            for row in self._rows(select(MERGES).where(MERGES.c.old.in_(chunk)))
        }
        undone = [old for old in apart if old in stored and stored[old].source == source]
        changed = {old: new for old, new in merged.items() if old not in stored or stored[old].new != new}
        for chunk in chunks([*undone, *(old for old in changed if old in stored)]):
            self._delete(MERGES, MERGES.c.old.in_(chunk))
        self._insert(
            MERGES, [{"old": old, "new": new, "source": source} for old, new in sorted(changed.items())]
        )
        return frozenset((*changed.values(), *(stored[old].new for old in undone)))
