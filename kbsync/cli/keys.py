"""`keys`: the keys that sign the heads of the audit log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kbsync.cli.options import Actor, Json, Reason, globals_of
from kbsync.console import print_json, print_table, say

if TYPE_CHECKING:
    from kbsync.application import Application
    from state.lineage import LoggedKey

Name = Annotated[
    str | None, typer.Option(help="Its name in signatures; default: `kbsync-` and a part of its digest.")
]
From = Annotated[
    Path | None, typer.Option("--from", help="An ed25519 private key (PEM) to use; default: a new one.")
]


def register(app: typer.Typer) -> None:
    keys = typer.Typer(help="The keys that sign the heads of the audit log.", no_args_is_help=True)
    keys.command("create")(create)
    keys.command("list")(list_)
    keys.command("show")(show)
    keys.command("rotate")(rotate)
    keys.command("revoke")(revoke)
    app.add_typer(keys, name="keys")


def create(
    context: typer.Context,
    name: Name = None,
    file: From = None,
    actor: Actor = "operator",
    json: Json = False,
) -> None:
    """Create the key that signs the heads of the log; the private half is a file in the home, readable by you only.

    Give auditors the public half that this prints. docs/proofs.md explains what it is good for.
    """
    from kbsync.proofs import keys

    with globals_of(context).ledger() as app:
        made = keys.create(app, name, file, actor)
    _print(str(made.public), json)


def rotate(
    context: typer.Context,
    name: Name = None,
    file: From = None,
    actor: Actor = "operator",
    json: Json = False,
) -> None:
    """Replace the key that signs by a new one; the old key signs that the new one follows it."""
    from kbsync.proofs import keys

    with globals_of(context).ledger() as app:
        made = keys.rotate(app, name, file, actor)
    _print(str(made.public), json)


def revoke(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Its name, as `kbsync keys list` shows it.")],
    reason: Reason,
    actor: Actor = "operator",
    json: Json = False,
) -> None:
    """Revoke a key: what it signs from now on does not count, and its file is deleted from the home.

    If it may have been stolen, publish the head of the log with a new key at once: `kbsync keys create`,
    then `kbsync audit anchor`.
    """
    from kbsync.proofs import keys

    with globals_of(context).ledger() as app:
        found = keys.revoke(app, name, reason, actor)
    if json:
        print_json({"revoked": str(found.key)})
    else:
        say(f"revoked {found.key}")


def show(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Its name; default: the key that signs now.")] = None,
    json: Json = False,
) -> None:
    """Print the public half of a key, as auditors and witnesses need it, and the log's origin."""
    from kbsync.proofs import keys

    with globals_of(context).ledger() as app:
        found, origin = keys.named(app, name), app.state.audit.origin()
    if json:
        print_json({"key": str(found.key), "origin": origin})
        return
    typer.echo(str(found.key))
    say(f"the log's origin is {origin}")


def list_(context: typer.Context, json: Json = False) -> None:
    """List every key the log has had."""
    with globals_of(context).ledger() as app:
        rows = [_row(app, one) for one in app.state.audit.lineage().keys.values()]
    if json:
        names = ("name", "state", "created", "event", "private", "key")
        print_json([dict(zip(names, row, strict=True)) for row in rows])
        return
    print_table(
        "signing keys",
        ("name", "state", "since", "event", "private half", "public half"),
        rows,
        empty="no key yet: `kbsync keys create`",
    )


def _row(app: Application, one: LoggedKey) -> tuple[object, ...]:
    from kbsync.proofs import keys

    where = "here" if keys.has_private(app, one.key) else "not here"
    return one.key.name, one.state, one.at, one.created, where, str(one.key)


def _print(key: str, json: bool) -> None:
    if json:
        print_json({"key": key})
        return
    typer.echo(key)
    say("this is its public half: give it to auditors, and to the operators of witnesses")
