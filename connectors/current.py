"""Which statements of a slot hold now: best rank, not ended, not in the future.

Wikidata's `wdt:` triples are no help: an ended statement stays "truthy" as long as nobody gave
another one the preferred rank.  This is for probes and neighbours; what becomes a *fact* is decided
by the admission policy of whoever uses this room.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from connectors.observations import Entity, Observation, Statement, Triple


def current_values(statements: Iterable[Statement], now: datetime) -> tuple[Entity, ...]:
    """The values that hold at `now`: the preferred ones if any, else the normal ones."""
    holding = [
        statement
        for statement in statements
        if statement.rank != "deprecated"
        and (statement.start is None or statement.start <= now)
        and (statement.end is None or statement.end > now)
    ]
    preferred = [statement for statement in holding if statement.rank == "preferred"]
    return tuple(statement.object for statement in preferred or holding if statement.object is not None)


def current_triples(observations: Iterable[Observation], now: datetime) -> list[Triple]:
    """What holds at `now`, of slots with exactly one value that has a label."""
    triples = []
    for observation in observations:
        values = current_values(observation.statements, now)
        if len(values) == 1 and values[0].label:
            triples.append(Triple(observation.subject, observation.relation, values[0]))
    return triples
