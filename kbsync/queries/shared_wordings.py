"""Wordings that two of the relations in use share, for `config check`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kbsync.application import Application
from kbsync.catalogue.collisions import Collision, collisions


def relations_of(source: Mapping[str, Any]) -> list[str]:
    """The relations that the settings of one source name."""
    named = source.get("relations")
    listed = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    return [one for one in (*listed, source.get("relation")) if isinstance(one, str)]


def in_use(app: Application) -> set[str]:
    """Relations that the settings name, or that a source watches because its settings name none.

    The catalogue has more: they are no matter as long as no source states them.
    """
    settings = app.settings
    named = {
        *settings.relations,
        *(one for source in settings.sources.values() for one in relations_of(source)),
    }
    watches_all = any(
        str(source.get("kind", "")).startswith("wikidata") and not source.get("relations")
        for source in settings.sources.values()
    )
    return named | set(app.catalogue) if watches_all else named


def shared_wordings(app: Application) -> list[Collision]:
    """Raises BadConfiguration for a catalogue that cannot be read."""
    used = in_use(app)
    relations = [relation for relation in app.catalogue.enabled() if relation.id in used]
    return list(collisions(relations, app.settings.plan.variants))
