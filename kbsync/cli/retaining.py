"""`retention`: deleting what the settings do not keep any longer."""

from __future__ import annotations

from typing import Annotated

import typer

from kbsync.cli.options import Json, globals_of
from kbsync.console import print_json, print_table


def register(app: typer.Typer) -> None:
    app.command()(retention)


def retention(
    context: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be deleted; do nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Delete what is older than `[retention]` allows and nothing needs, and archive old events; each is an event.

    A daemon, and `kbsync sync`, apply each kind ten times in its period, and at most once a day. docs/operating.md says
    what is kept in any case.
    """
    from kbsync.service import retention as policy

    with globals_of(context).application() as app:
        if dry_run:
            found = policy.preview(app)
        else:
            with app.leading() as leadership:
                found = policy.apply(app, leadership)
    if json:
        print_json(found)
        return
    print_table(
        "retention: to be deleted" if dry_run else "retention: deleted",
        ("what", "kept for", "older than", "number", ""),
        [(one.what, one.period, one.before, one.count, one.reason) for one in found],
        empty="everything is kept: [retention] sets no period",
    )
