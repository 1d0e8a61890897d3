"""`import`: a first import from a published dump, instead of asking an endpoint for millions of entities."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kbsync.cli.options import Json, globals_of
from kbsync.console import live_progress, print_json, say

if TYPE_CHECKING:
    from connectors.wikidata.settings import WatchSettings
    from kbsync.application import Application
    from kbsync.intake.importing import ImportReport


def register(app: typer.Typer) -> None:
    app.command("import")(import_dump)


def import_dump(
    context: typer.Context,
    dump: Annotated[
        Path, typer.Argument(help="A JSON dump of a Wikibase: plain, .gz or .bz2.", metavar="DUMP")
    ],
    watch: Annotated[
        Path | None,
        typer.Option(
            help="File with the entities to import, one id per line; # starts a comment. Default: the subjects of the "
            "source, or every entity with one of its relations."
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            help="The source of kind wikidata or wikidata-stream to import for. Default: the only one, or `wikidata` "
            "where none is configured."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Read statements and labels from a published JSON dump of Wikidata or another Wikibase into the ledger.

    Interrupted, the same command continues where it was. The source's next poll then reads what changed since the dump
    was written. It is a first import: the volume breaker does not apply, and nothing is built; `kbsync sync` does that.
    """
    from connectors.wikidata.dump.opening import open_dump, subjects_in, subjects_of
    from kbsync.intake.importing import DumpImport

    with globals_of(context).application(required=False) as app:
        name, settings = _source(app, source)
        listed = subjects_of(settings, app.settings.directory) if settings else None
        watched = subjects_in(watch) if watch is not None else listed
        relations = (settings.relations if settings else ()) or tuple(
            relation.id for relation in app.catalogue.enabled()
        )
        opened = open_dump(name, dump, settings, relations, watched, app.now)
        with live_progress() as progress, app.leading() as leadership:
            done = DumpImport(app.state, app.intake(leadership), opened, settings, progress).run()
    if json:
        print_json(done)
    else:
        show(done, configured=settings is not None)


def _source(app: Application, name: str | None) -> tuple[str, WatchSettings | None]:
    """The name of the source to import for, and its settings if it is configured.

    Raises UsageError if it is of another kind, or if there are several and none was named.
    """
    from connectors.wikidata.dump.opening import settings_of
    from kbsync.errors import UsageError

    parsed = {
        one: settings_of(one, {key: value for key, value in given.items() if key != "schedule"})
        for one, given in app.settings.sources.items()
    }
    fitting = {one: settings for one, settings in parsed.items() if settings is not None}
    if name is None and len(fitting) > 1:
        raise UsageError(
            f"the settings have several sources that a dump can be imported for: {', '.join(sorted(fitting))}",
            "name one with --source",
        )
    chosen = name or next(iter(fitting), "wikidata")
    if chosen in parsed and chosen not in fitting:
        raise UsageError(
            f"the source {chosen} is of kind {app.settings.sources[chosen].get('kind')}",
            "name a source of kind wikidata or wikidata-stream with --source",
        )
    return chosen, fitting.get(chosen)


def show(done: ImportReport, *, configured: bool) -> None:
    """The import, for people."""
    if done.already:
        say("this dump was imported for this watch list before: nothing to do")
        return
    if done.resumed:
        say("continued an import that was interrupted; what is counted as read and judged is from there on")
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(done.intake.verdicts.items()))
    say(f"{done.entities} entities in the dump, {done.watched} of them watched")
    say(f"{done.source}: {done.intake.observations} slots read{f': {counts}' if counts else ''}")
    if done.intake.rejected:
        say(f"{done.source}: {done.intake.rejected} lines rejected: {done.intake.reject}")
    if done.taken_over:
        say(
            f"the next poll of {done.source} compares the versions of all watched subjects with the dump's, and reads "
            "those that changed since it was written"
        )
        if done.outlived:
            say(f"the dump ends at {done.latest}, before what the stream keeps: it is followed from then on")
    elif configured:
        say(f"{done.source} was read before, so its polls continue from where they were")
    else:
        say(
            f"no source named {done.source} is configured: add [sources.{done.source}] with kind wikidata or "
            "wikidata-stream and the same watch list to follow changes"
        )
