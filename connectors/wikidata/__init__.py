"""Wikidata, or any other Wikibase: polled (kind `wikidata`) or followed (kind `wikidata-stream`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connectors.http.limits import Budget
from connectors.http.sparql_client import SparqlClient
from connectors.settings import Context, parse
from connectors.wikidata.changed import ChangedReader
from connectors.wikidata.connector import WikidataConnector
from connectors.wikidata.dump.entities import EntityShape
from connectors.wikidata.entity_api import EntityApi
from connectors.wikidata.entity_data import EntityData
from connectors.wikidata.settings import WatchSettings, WikidataSettings
from connectors.wikidata.split_graph import SplitGraph
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
    return StreamConnector(
        name, parsed, watch_list, stream, _changed_reader(parsed, watch_list, context), context
    )


def _changed_reader(
    settings: StreamSettings, watch_list: WikidataConnector, context: Context
) -> ChangedReader:
    entity_data, api, vocabulary = None, None, settings.vocabulary()
    if settings.entity_data:
        entity_data = EntityData(settings.requester(settings.entity_data, context), watch_list.reader)
    elif settings.api:
        shape = EntityShape(vocabulary, settings.languages, settings.entity_prefix)
        requester = settings.requester(settings.api, context, _NO_QUERIES)
        api = EntityApi(requester, shape, vocabulary, watch_list.reader, settings.maxlag)
    return ChangedReader(watch_list, entity_data, api)


def _watching(name: str, settings: WatchSettings, context: Context) -> WikidataConnector:
    first = SparqlClient(settings.requester(settings.endpoint, context), settings.credentials)
    # The credentials are the first endpoint's: others might be somebody else's.
    others = [SparqlClient(settings.requester(one, context)) for one in settings.more_endpoints]
    return WikidataConnector(name, settings, SplitGraph([first, *others]), context)
