"""The events of `rdf-streaming-updater.mutation.v2`, as far as a trigger needs them.

Schema `mediawiki/wikibase/entity/rdf_change/2.0.0`: operations `import`, `diff`, `delete` and
`reconcile`; one change may come in several events (`sequence` of `sequence_length`).  The RDF that
they carry is not applied: a change makes us re-read the entity.  So `rdf_unlinked_shared_data`
(values that other entities may still use) is never taken for a deletion.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from connectors.dates import instant
from connectors.errors import SourceDataError
from connectors.http.sse import Event

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Mutation:
    """One event about one entity."""

    entity: str
    """The local id, `Q42`."""
    revision: int
    sequence: int
    operation: str
    at: datetime


def mutation_of(event: Event) -> Mutation | None:
    """The mutation that an event tells of; None for canaries and for what cannot be understood.

    An event that cannot be understood is passed over with a warning: the next pass over the watch
    list finds whatever it was about.
    """
    try:
        told = json.loads(event.data)
        if told.get("meta", {}).get("domain") == "canary":
            return None
        return Mutation(
            entity=str(told["entity_id"]),
            revision=int(told["rev_id"]),
            sequence=int(told.get("sequence", 0)),
            operation=str(told["operation"]),
            at=instant(told["dt"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, SourceDataError) as error:
        _log.warning("event %s cannot be understood: %r", event.id or "without an id", error)
        return None


def newest(mutations: Iterable[Mutation]) -> dict[str, Mutation]:
    """The last mutation of each entity, by (revision, sequence): streams repeat and reorder."""
    found: dict[str, Mutation] = {}
    for mutation in sorted(mutations, key=lambda m: (m.revision, m.sequence)):
        found[mutation.entity] = mutation
    return found
