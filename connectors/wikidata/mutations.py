"""The events of `rdf-streaming-updater.mutation.v2`, reduced to what triggers a re-read.

Schema `mediawiki/wikibase/entity/rdf_change/2.0.0`: operations `import`, `diff`, `delete` and
`reconcile`; one change may come in several events (`sequence` of `sequence_length`).  The RDF that
they carry is not applied: a change makes us re-read the entity.  So `rdf_unlinked_shared_data`
(values that other entities may still use) is never taken for a deletion.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from connectors.border import decode_json, shown, text_of, well_formed, whole_number
from connectors.dates import instant
from connectors.errors import SourceDataError
from connectors.http.sse import StreamEvent
from connectors.wikidata.rows import MAX_VERSION

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


def mutation_of(event: StreamEvent) -> Mutation | None:
    """The mutation that an event announces; None for canaries and for what cannot be understood.

    An event that cannot be understood is passed over with a warning: the next pass over the watch
    list finds whatever it was about.
    """
    try:
        fields = decode_json(event.data, "event", _MAX_BYTES)
        if not isinstance(fields, dict):
            raise SourceDataError(f"an event is {shown(fields)}, not an object")
        meta = fields.get("meta")
        if isinstance(meta, dict) and meta.get("domain") == "canary":
            return None
        return Mutation(
            entity=_text(fields, "entity_id"),
            revision=_number(fields, "rev_id"),
            sequence=_number(fields, "sequence", 0),
            operation=_text(fields, "operation"),
            at=instant(_text(fields, "dt")),
        )
    except SourceDataError as error:
        _log.warning(
            "event %s cannot be understood: %s", shown(event.id) if event.id else "without an id", error
        )
        return None


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise SourceDataError(f"{name} is {shown(value)}, not a string")
    return well_formed(value, name)


def _number(fields: Mapping[str, Any], name: str, default: int | None = None) -> int:
    return whole_number(text_of(fields.get(name, default), name) or "", name, MAX_VERSION)


def newest(mutations: Iterable[Mutation]) -> dict[str, Mutation]:
    """The last mutation of each entity, by (revision, sequence): streams repeat and reorder."""
    found: dict[str, Mutation] = {}
    for mutation in sorted(mutations, key=lambda m: (m.revision, m.sequence)):
        found[mutation.entity] = mutation
    return found
