"""The events of `rdf-streaming-updater.mutation.v2`, as far as a trigger needs them.

Schema `mediawiki/wikibase/entity/rdf_change/2.0.0`: operations `import`, `diff`, `delete` and
`reconcile`; one change may come in several events (`sequence` of `sequence_length`).  The RDF that
they carry is not applied: a change makes us re-read the entity.  So `rdf_unlinked_shared_data`
(values that other entities may still use) is never taken for a deletion.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from connectors.border import decode_json, escaped, shown, text_of, whole_number
from connectors.dates import instant
from connectors.errors import SourceDataError
from connectors.http.sse import Event

_log = logging.getLogger(__name__)
_MAX_BYTES = 16 * 2**20
"""Of one event: the RDF that it carries is a few megabytes at most."""


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
    """The mutation that an event announces; None for canaries and for what cannot be understood.

    An event that cannot be understood is passed over with a warning: the next pass over the watch
    list finds whatever it was about.
    """
    try:
        change = decode_json(event.data, "event", _MAX_BYTES)
        if change.get("meta", {}).get("domain") == "canary":
            return None
        return Mutation(
            entity=_text(change["entity_id"], "entity_id"),
            revision=whole_number(_text(change["rev_id"], "rev_id"), "rev_id"),
            sequence=whole_number(_text(change.get("sequence", 0), "sequence"), "sequence"),
            operation=_text(change["operation"], "operation"),
            at=instant(_text(change["dt"], "dt")),
        )
    except (KeyError, TypeError, AttributeError, SourceDataError) as error:
        id = shown(event.id) if event.id else "without an id"
        _log.warning("event %s cannot be understood: %s", id, escaped(repr(error)))
        return None


def _text(value: object, what: str) -> str:
    text = text_of(value, what)
    if text is None:
        raise SourceDataError(f"{what} is null")
    return text


def newest(mutations: Iterable[Mutation]) -> dict[str, Mutation]:
    """The last mutation of each entity, by (revision, sequence): streams repeat and reorder."""
    found: dict[str, Mutation] = {}
    for mutation in sorted(mutations, key=lambda m: (m.revision, m.sequence)):
        found[mutation.entity] = mutation
    return found
