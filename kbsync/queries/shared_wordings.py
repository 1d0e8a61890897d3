"""Find wordings shared by two relations that are in use, for `config check`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kbsync.application import Application
from kbsync.catalogue.collisions import Collision, collisions


def relations_of(source: Mapping[str, Any]) -> list[str]:
    """The relations named in one source's settings."""
    named = source.get("relations")
    listed = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    return [one for one in (*listed, source.get("relation")) if isinstance(one, str)]


def in_use(app: Application) -> set[str]:
    """Relations named in the settings, or watched by a source whose settings name none.

    Other relations of the catalogue do not matter as long as no source states them.
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
    """Wordings shared by two relations in use.  Raises BadConfiguration if the catalogue cannot be read."""
    used = in_use(app)
    relations = [relation for relation in app.catalogue.enabled() if relation.id in used]
    return list(collisions(relations, app.settings.plan.variants))
