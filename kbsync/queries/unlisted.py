"""Relations of wanted facts that are no longer in the catalogue."""

from __future__ import annotations

from kbsync.application import Application
from state import Snapshot


def unlisted(app: Application, tx: Snapshot) -> dict[str, int]:
    """The number of wanted facts of each such relation; they are built with their pinned templates."""
    counts = {one: tx.count_wanted_of(one) for one in tx.relations() if one not in app.catalogue}
    return {relation: count for relation, count in sorted(counts.items()) if count}


def described(counts: dict[str, int]) -> str:
    """For people: `crm:owner (3), crm:boss (1)`, and what that means."""
    names = ", ".join(f"{relation} ({count})" for relation, count in counts.items())
    return f"{names}: wanted facts of relations in no catalogue, built with the templates they are pinned to"
