"""Creates connectors from settings, by `kind`.

The built-in kinds are listed here.  Installed packages add others through the entry-point group
`kbsync.connectors`: an entry point's name is the kind, and its object is the factory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from connectors.clock import SYSTEM_CLOCK, Clock
from connectors.errors import SourceSettingsError
from connectors.guesses import did_you_mean
from connectors.http.limits import PROCESS_LIMITERS, Limiters
from connectors.observations import Connector
from connectors.settings import Context
from connectors.third_party import CheckedConnector

ENTRY_POINT_GROUP = "kbsync.connectors"

Factory = Callable[[str, Mapping[str, Any], Context], Connector]
"""`factory(name, settings, context)`; raises SourceSettingsError for wrong settings."""

_BUILT_IN: Mapping[str, str] = {
    "files": "connectors.files:connect",
    "kafka": "connectors.kafka:connect",
    "neo4j": "connectors.cypher:connect",
    "sparql": "connectors.sparql:connect",
    "sql": "connectors.sql:connect",
    "wikidata": "connectors.wikidata:connect",
    "wikidata-stream": "connectors.wikidata:follow",
}
"""Kind → factory, imported on first use because each kind imports its own libraries."""


def connect(
    name: str,
    settings: Mapping[str, Any],
    *,
    directory: Path | None = None,
    default_relations: Iterable[str] = (),
    clock: Clock = SYSTEM_CLOCK,
    limiters: Limiters | None = None,
) -> Connector:
    """Create the connector that `settings` describe, without contacting the source.

    `settings["kind"]` selects the factory.  Relative paths in the settings start at `directory`
    (default: the working directory).  Raises SourceSettingsError naming the invalid key.
    """
    if limiters is None:
        limiters = PROCESS_LIMITERS if clock is SYSTEM_CLOCK else Limiters(clock)
    context = Context(directory or Path.cwd(), tuple(default_relations), clock, limiters)
    return factory_of(name, settings.get("kind"))(name, settings, context)


def _checked(factory: Factory, name: str, settings: Mapping[str, Any], context: Context) -> Connector:
    return CheckedConnector(name, factory(name, settings, context))


def kinds() -> tuple[str, ...]:
    """Every kind of source that this installation supports."""
    return tuple(sorted({*_BUILT_IN, *(point.name for point in entry_points(group=ENTRY_POINT_GROUP))}))


def factory_of(name: str, kind: object) -> Factory:
    """The factory of a kind.  Raises SourceSettingsError for an unknown kind, listing the known ones."""
    if isinstance(kind, str) and kind in _BUILT_IN:
        module, _, function = _BUILT_IN[kind].partition(":")
        built_in: Factory = getattr(import_module(module), function)
        return built_in
    for point in entry_points(group=ENTRY_POINT_GROUP):
        if point.name == kind:
            return partial(_checked, point.load())
    guess = did_you_mean(str(kind), kinds())
    raise SourceSettingsError(
        f"sources.{name}.kind: {kind!r} is not a kind of source; {guess}available: {', '.join(kinds())}"
    )
