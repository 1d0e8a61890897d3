"""`deployments`: which server serves what, and the outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from kbsync.cli.options import Json, globals_of
from kbsync.console import print_json, print_table, say

if TYPE_CHECKING:
    from kbsync.application import Application


def register(app: typer.Typer) -> None:
    app.command()(deployments)


def deployments(
    context: typer.Context,
    ask: Annotated[bool, typer.Option("--ask", help="Ask each server now what it serves.")] = False,
    limit: Annotated[
        int, typer.Option(min=1, help="Maximum number of outbox rows to show, newest first.")
    ] = 20,
    json: Json = False,
) -> None:
    """Show what each server serves, and the outbox: which hook was notified of which promotion."""
    from kbsync.deployment import served

    with globals_of(context).ledger() as app:
        servers = served.ask_now(app) if ask else served.served(app)
        outbox = served.history(app, limit)
    if json:
        print_json({"servers": servers, "outbox": outbox})
        return
    print_table(
        "servers",
        ("hook", "kind", "serves live", "observed", "state", "attempts", "next try", "detail"),
        ((s.hook, s.kind, s.matches, s.observed, s.state, s.attempts, s.next_try, s.detail) for s in servers),
    )
    print_table(
        "outbox",
        ("id", "promotion", "checkpoint", "hook", "state", "attempts", "observed", "updated", "detail"),
        (
            (o.id, o.promotion, o.checkpoint, o.hook, o.state, o.attempts, o.observed, o.updated, o.detail)
            for o in outbox
        ),
    )


def say_where_it_is_served(app: Application) -> None:
    """A line for each hook, for people who have just changed what is live."""
    from kbsync.deployment.served import LINK, served

    for one in served(app):
        if one.hook != LINK:
            say(f"{one.hook}: {one}")
