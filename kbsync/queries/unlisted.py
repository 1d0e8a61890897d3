"""Relations of wanted facts that are no longer in the catalogue."""

from __future__ import annotations

from kbsync.application import Application


def unlisted(app: Application) -> dict[str, int]:
    """The number of wanted facts of each such relation; they are built with their pinned templates."""
    with app.state.read() as tx:
        counts = tx.count_wanted()
    return {relation: count for relation, count in sorted(counts.items()) if relation not in app.catalogue}


def described(counts: dict[str, int]) -> str:
    """For people: `crm:owner (3), crm:boss (1)`, and what that means."""
    names = ", ".join(f"{relation} ({count})" for relation, count in counts.items())
    return f"{names}: wanted facts of relations in no catalogue, built with the templates they are pinned to"
