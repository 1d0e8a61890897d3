"""Wikidata, or any other Wikibase, over SPARQL: kind `wikidata`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connectors.settings import Context, parse
from connectors.sparql_client import Credentials, SparqlClient
from connectors.wikidata.connector import WikidataConnector
from connectors.wikidata.settings import WikidataSettings

__all__ = ["WikidataConnector", "WikidataSettings", "connect"]


def connect(name: str, settings: Mapping[str, Any], context: Context) -> WikidataConnector:
    """The factory of kind `wikidata`.  Raises SourceSettingsError."""
    parsed = parse(WikidataSettings, name, settings)
    credentials = Credentials(parsed.user, parsed.password) if parsed.user and parsed.password else None
    client = SparqlClient(parsed.requester(parsed.endpoint, context), credentials)
    return WikidataConnector(name, parsed, client, context)
