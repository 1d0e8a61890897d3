"""The events of Wikimedia's streams, reduced to what triggers a re-read.  Three schemas are understood:

* `mediawiki/wikibase/entity/rdf_change/2.0.0` (`rdf-streaming-updater.mutation.v2`): operations `import`, `diff`,
  `delete` and `reconcile`; one change may come in several events (`sequence` of `sequence_length`).  The RDF that they
  carry is not applied: a change makes us re-read the entity.  So `rdf_unlinked_shared_data` (values that other
  entities may still use) is never taken for a deletion.
* `mediawiki/page/change` (`mediawiki.page_change.v1`) of one wiki: edits, deletions, restorations.
* `mediawiki/recentchange` (`mediawiki.recentchange`) of one wiki: edits, and the log of deletions, without revisions.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from connectors.border import decode_json, shown, text_of, well_formed, whole_number
from connectors.dates import instant
from connectors.errors import SourceDataError
from connectors.http.sse import StreamEvent
from connectors.wikidata.positions import Offset
from connectors.wikidata.rows import MAX_VERSION

_log = logging.getLogger(__name__)
_MAX_BYTES = 16 * 2**20
"""Of one event: the RDF that it carries is a few megabytes at most."""
_ENTITY = re.compile(r"(?:[A-Za-z]+:)?([A-Z][0-9]{1,18})")
"""The title of an entity's page: `Q42`, `Property:P31`."""
_LATEST = 253_402_300_799
"""The last second of the year 9999."""
_UNKNOWN = 0
"""The revision of a deletion of which only the log tells."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """One event about one entity."""

    entity: str
    """The local id, `Q42`."""
    revision: int
    sequence: int
    operation: str
    at: datetime

    @property
    def deletes(self) -> bool:
        return self.operation == "delete"

    @property
    def readable_from(self) -> int:
        """The revision that a reading must have to be as new as this event.

        A deletion names the revision that was deleted, and a server that lags still shows it.
        """
        if not self.deletes:
            return self.revision
        return MAX_VERSION if self.revision == _UNKNOWN else self.revision + 1


@dataclass(frozen=True, slots=True)
class Announced:
    """An event of a stream: where it stands, and what it announces, if that concerns entities of the wiki."""

    offset: Offset | None
    mutation: Mutation | None


def announced(event: StreamEvent, wiki: str) -> Announced:
    """What an event announces: nothing for canaries, other wikis, and what cannot be understood.

    An event that cannot be understood is passed over with a warning: the next pass over the watch
    list finds whatever it was about.
    """
    offset = None
    try:
        fields = decode_json(event.data, "event", _MAX_BYTES)
        if not isinstance(fields, dict):
            raise SourceDataError(f"an event is {shown(fields)}, not an object")
        meta = fields.get("meta")
        offset = Offset.of(meta)
        if isinstance(meta, dict) and meta.get("domain") == "canary":
            return Announced(offset, None)
        if "page_change_kind" in fields:
            return Announced(offset, _page_change(fields, wiki))
        if "wiki" in fields and "type" in fields:
            return Announced(offset, _recent_change(fields, wiki))
        return Announced(offset, _rdf_change(fields))
    except SourceDataError as error:
        _log.warning(
            "event %s cannot be understood: %s", shown(event.id) if event.id else "without an id", error
        )
        return Announced(offset, None)


def _rdf_change(fields: Mapping[str, Any]) -> Mutation:
    return Mutation(
        entity=_text(fields, "entity_id"),
        revision=_number(fields, "rev_id"),
        sequence=_number(fields, "sequence", 0),
        operation=_text(fields, "operation"),
        at=instant(_text(fields, "dt")),
    )


def _page_change(fields: Mapping[str, Any], wiki: str) -> Mutation | None:
    if fields.get("wiki_id") != wiki:
        return None
    page, revision = (_object(fields, name) for name in ("page", "revision"))
    entity = _ENTITY.fullmatch(_text(page, "page_title"))
    if entity is None:
        return None
    operation = "delete" if fields["page_change_kind"] == "delete" else "diff"
    return Mutation(entity[1], _number(revision, "rev_id"), 0, operation, instant(_text(fields, "dt")))


def _recent_change(fields: Mapping[str, Any], wiki: str) -> Mutation | None:
    entity = _ENTITY.fullmatch(str(fields.get("title")))
    if fields["wiki"] != wiki or entity is None:
        return None
    seconds = whole_number(text_of(fields.get("timestamp"), "timestamp") or "", "timestamp", _LATEST)
    at = datetime.fromtimestamp(seconds, UTC)
    if fields["type"] in ("edit", "new"):
        return Mutation(entity[1], _number(_object(fields, "revision"), "new"), 0, "diff", at)
    if fields["type"] == "log" and fields.get("log_type") == "delete":
        operation = "delete" if fields.get("log_action") == "delete" else "diff"
        return Mutation(entity[1], _UNKNOWN, 0, operation, at)
    return None


def _object(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = fields.get(name)
    if not isinstance(value, dict):
        raise SourceDataError(f"{name} is {shown(value)}, not an object")
    return value


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise SourceDataError(f"{name} is {shown(value)}, not a string")
    return well_formed(value, name)


def _number(fields: Mapping[str, Any], name: str, default: int | None = None) -> int:
    return whole_number(text_of(fields.get(name, default), name) or "", name, MAX_VERSION)


def newest(mutations: Iterable[Mutation]) -> dict[str, Mutation]:
    """The last mutation of each entity, by (revision, sequence): streams repeat and reorder.

    One without a revision is placed by its time; of equal ones the later in the stream counts.
    """
    found: dict[str, Mutation] = {}
    for mutation in mutations:
        known = found.get(mutation.entity)
        if known is None:
            found[mutation.entity] = mutation
        elif mutation.revision == _UNKNOWN:
            if mutation.at >= known.at:
                found[mutation.entity] = replace(mutation, revision=known.revision)
        elif (mutation.revision, mutation.sequence) >= (known.revision, known.sequence):
            found[mutation.entity] = mutation
    return found
