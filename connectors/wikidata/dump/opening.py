"""Opens a dump for a source: with the settings of a configured one, or with Wikidata's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from connectors.dates import instant
from connectors.errors import SourceDataError, SourceSettingsError
from connectors.settings import parse
from connectors.wikidata import watch
from connectors.wikidata.cursor import after_import
from connectors.wikidata.dump.entities import EntityShape
from connectors.wikidata.dump.file import DumpFile
from connectors.wikidata.dump.reading import Dump, DumpPlace, DumpScope
from connectors.wikidata.settings import WatchSettings, WikidataSettings, vocabulary_of
from connectors.wikidata.stream import StreamSettings
from connectors.wikidata.stream_cursor import after_list
from connectors.wikidata.vocabulary import Vocabulary

_LANGUAGES = ("en", "mul")
WRITING = timedelta(days=7)
"""What is assumed to have been the longest time between the reading of a dump's first and last entity."""


def settings_of(name: str, settings: Mapping[str, Any]) -> WatchSettings | None:
    """The settings of a configured source that a dump may be imported for; None: it is of another kind.

    Raises SourceSettingsError for wrong settings.
    """
    kinds: dict[object, type[WatchSettings]] = {
        "wikidata": WikidataSettings,
        "wikidata-stream": StreamSettings,
    }
    kind = kinds.get(settings.get("kind"))
    return None if kind is None else parse(kind, name, settings)


def subjects_of(settings: WatchSettings, directory: Path) -> tuple[str, ...] | None:
    """The subjects that the settings name; None: a query selects them.  Raises SourceSettingsError."""
    if settings.selects:
        return None
    file = settings.subjects_file
    return tuple(watch.listed(settings.subjects, file and directory / file))


def open_dump(
    source: str,
    path: Path,
    settings: WatchSettings | None,
    relations: Sequence[str],
    watched: Iterable[str] | None,
    now: Callable[[], datetime],
) -> Dump:
    """The dump at `path` for the source of this name; without settings, it is one of Wikidata.

    Raises SourceSettingsError for a path, a relation or a subject that cannot be used.
    """
    vocabulary = settings.vocabulary() if settings else vocabulary_of()
    prefix = settings.entity_prefix if isinstance(settings, StreamSettings) else "wd"
    languages = settings.languages if settings else _LANGUAGES
    chosen = frozenset(_curie(id, prefix, vocabulary) for id in watched) if watched is not None else None
    usable = tuple(sorted({relation for relation in relations if vocabulary.has(relation)}))
    if not usable:
        raise SourceSettingsError(f"none of the relations {', '.join(relations)} is one of this Wikibase")
    return Dump(
        source,
        DumpFile(path),
        vocabulary,
        EntityShape(vocabulary, languages, prefix),
        DumpScope(usable, languages, chosen),
        now,
    )


def subjects_in(path: Path) -> tuple[str, ...]:
    """The ids of a file with one per line, where # begins a comment.

    Raises SourceSettingsError for a file that cannot be read, or that has none.
    """
    found = watch.from_file(path)
    if not found:
        raise SourceSettingsError(f"{path} names no entity; it has to have one id per line, such as Q42")
    return found


def cursor_after(
    settings: WatchSettings, revisions: Iterable[tuple[str, int]], place: DumpPlace, now: datetime
) -> str:
    """The cursor with which the source goes on after the dump.

    Its next poll compares the version of every watched subject with `revisions`, (id, revision) of what was imported,
    and reads those that differ: so nothing is missed, however old the dump is.
    """
    latest = min(instant(place.latest), now) if place.latest else now
    cursor = after_import(revisions, latest - WRITING).dump()
    return after_list(cursor) if isinstance(settings, StreamSettings) else cursor


def _curie(id: str, prefix: str, vocabulary: Vocabulary) -> str:
    curie = id if ":" in id else f"{prefix}:{id}"
    try:
        vocabulary.namespaces.expand(curie)
    except SourceDataError as error:
        raise SourceSettingsError(f"the watch list: {error}") from error
    return curie
