"""Wikidata, or any other Wikibase: polled (kind `wikidata`) or followed (kind `wikidata-stream`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connectors.http.limits import Budget
from connectors.http.sparql_client import SparqlClient
from connectors.settings import Context, parse
from connectors.wikidata.connector import WikidataConnector
from connectors.wikidata.entity_data import EntityData
from connectors.wikidata.settings import WatchSettings, WikidataSettings
from connectors.wikidata.stream import StreamConnector, StreamSettings

__all__ = ["StreamConnector", "StreamSettings", "WikidataConnector", "WikidataSettings", "connect", "follow"]

_NO_QUERIES = Budget(query_seconds_per_minute=float("inf"))
"""A stream is open for as long as it flows; that is no query time."""


def connect(name: str, settings: Mapping[str, Any], context: Context) -> WikidataConnector:
    """The factory of kind `wikidata`.  Raises SourceSettingsError."""
    return _watching(name, parse(WikidataSettings, name, settings), context)


def follow(name: str, settings: Mapping[str, Any], context: Context) -> StreamConnector:
    """The factory of kind `wikidata-stream`.  Raises SourceSettingsError."""
    parsed = parse(StreamSettings, name, settings)
    watch_list = _watching(name, parsed, context)
    stream = parsed.requester(parsed.stream, context, _NO_QUERIES)
    entity_data = None
    if parsed.entity_data:
        entity_data = EntityData(parsed.requester(parsed.entity_data, context), watch_list.reader)
    return StreamConnector(name, parsed, watch_list, stream, entity_data, context)


def _watching(name: str, settings: WatchSettings, context: Context) -> WikidataConnector:
    client = SparqlClient(settings.requester(settings.endpoint, context), settings.credentials)
    return WikidataConnector(name, settings, client, context)
