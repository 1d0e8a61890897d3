"""`webhooks`: who is notified, how far each receiver is, and a trial."""

from __future__ import annotations

from typing import Annotated

import typer

from kbsync.cli.options import Json, globals_of
from kbsync.console import print_json, print_table, say


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Who is notified of what needs a person, as Standard Webhooks.", invoke_without_command=True
    )
    group.callback()(webhooks)
    group.command("test")(try_out)
    app.add_typer(group, name="webhooks")


def webhooks(context: typer.Context, json: Json = False) -> None:
    """List the receivers of notifications and how far each is; the daemon sends."""
    if context.invoked_subcommand is not None:
        return
    from kbsync.service.webhook_position import Position

    with globals_of(context).ledger() as app, app.state.read() as tx:
        head = tx.head()
        rows = []
        for name, settings in app.settings.webhooks.items():
            at = Position.read(app.home.webhook(name))
            behind = None if at is None or head is None else max(0, head.seq - at.after)
            failing = ("", None, "") if at is None else (at.attempts or "", at.due, at.error)
            rows.append((name, settings.url, None if at is None else at.after, behind, *failing))
    names = ("name", "url", "event", "behind", "failures", "next attempt", "error")
    if json:
        print_json([dict(zip(names, row, strict=True)) for row in rows])
        return
    print_table("webhooks", names, rows, empty="no receiver: write a [webhooks.NAME] into the settings")


def try_out(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Its name in the settings, `[webhooks.NAME]`.")],
    json: Json = False,
) -> None:
    """Send a receiver a notification of the kind `webhook.test`, now, and print what came of it."""
    from connectors.guesses import did_you_mean
    from kbsync.deployment.hooks import HookFailed
    from kbsync.errors import TryLater, UsageError
    from kbsync.service.webhooks import Courier

    with globals_of(context).application() as app:
        if name not in app.settings.webhooks:
            guess = did_you_mean(name, app.settings.webhooks)
            raise UsageError(
                f"there is no [webhooks.{name}] in the settings", f"{guess}`kbsync webhooks` lists them"
            )
        courier = Courier(app, name)
        trial = courier.trial()
        try:
            courier.send(trial)
        except HookFailed as error:
            raise TryLater(str(error), error.advice) from error
    print_json({"sent": trial.id}) if json else say(f"{courier.settings.url} accepted {trial.id}")
