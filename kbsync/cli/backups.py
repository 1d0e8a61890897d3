"""`backup`, `restore`: a home in one file, and back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from kbsync.cli.options import Actor, Json, globals_of
from kbsync.console import print_json, say


def register(app: typer.Typer) -> None:
    app.command()(backup)
    app.command()(restore)


def backup(
    context: typer.Context,
    target: Annotated[Path, typer.Argument(help="File to write, or a directory to put a dated file into.")],
    deltas: Annotated[
        bool,
        typer.Option(help="Include the optimised residuals; without them a restored home optimises again."),
    ] = True,
    statistics: Annotated[
        bool,
        typer.Option(help="Include the statistics of the base; they are large and can be computed again."),
    ] = False,
    json: Json = False,
) -> None:
    """Back up ledger, settings, anchors and residuals into one file; a daemon may run meanwhile."""
    from kbsync.service import backup as backups

    app = globals_of(context).ledger()
    try:
        file, contents = backups.backup(
            app, Path(os.path.expanduser(target)), deltas=deltas, statistics=statistics
        )
    finally:
        app.close()
    if json:
        print_json({"file": file, "contents": contents})
        return
    size = file.stat().st_size / 1e6
    say(f"{file}: {contents.head} events, {len(contents.files)} files, {size:.1f} MB")


def restore(
    context: typer.Context,
    backup: Annotated[Path, typer.Argument(help="A file that `kbsync backup` wrote.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a ledger that is there; it is moved aside.")
    ] = False,
    actor: Actor = "operator",
    json: Json = False,
) -> None:
    """Restore a backup into the home of --home, which must not be in use or, without --replace, hold a ledger."""
    from kbsync.service import backup as backups
    from state import utc_now

    options = globals_of(context)
    done = backups.restore(
        options.home(),
        Path(os.path.expanduser(backup)),
        config=options.config,
        replace=replace,
        actor=actor,
        now=utc_now(),
    )
    if json:
        print_json(done)
        return
    made = done.contents
    say(
        f"restored the ledger of {made.home} as of {made.made}: {made.head} events, {done.files} cached files"
    )
    if not done.settings:
        say("the settings that were there stay; the backup's are in the file")
    if done.aside is not None:
        say(f"the ledger that was there is {done.aside}")
    if done.decisions:
        say(
            f"decisions made after the backup keep {done.decisions} facts out here too: see `kbsync quarantine`"
        )
    if done.forgotten:
        say(f"{done.forgotten} subjects that were forgotten after the backup were erased here too")
    for witness, reason in done.undeclared.items():
        say(
            f"the restore could not be declared to {witness}: {reason}; `kbsync audit anchor --restored` does it"
        )
    if done.anchor is not None:
        say(
            f"keep {done.anchor} and start a new anchor file: what came after the backup is not in the log any more"
        )
    say(
        "run `kbsync config check`, then `kbsync sync`: it builds live again where its checkpoint is not there"
    )
