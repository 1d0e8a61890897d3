"""`keys`: the keys that sign the heads of the audit log, and those that sign versions of the model."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kbsync.cli.options import Actor, Json, Reason, globals_of
from kbsync.console import print_json, print_table, say

if TYPE_CHECKING:
    from kbsync.application import Application
    from state.lineage import LoggedKey
    from state.model_keys import ModelKey


class Purpose(StrEnum):
    """What a key signs."""

    LOG = "log"
    MODELS = "models"


For = Annotated[
    Purpose,
    typer.Option("--for", help="What the key signs: heads of the audit log, or versions of the model."),
]
Name = Annotated[
    str | None, typer.Option(help="Its name in signatures; default: `kbsync-` and a part of its digest.")
]
From = Annotated[
    Path | None,
    typer.Option(
        "--from",
        help="A private key (PEM) to use; default: a new one. ed25519 for the log, P-256, P-384 or P-521 for models.",
    ),
]


def register(app: typer.Typer) -> None:
    keys = typer.Typer(
        help="The keys that sign the heads of the audit log, and versions of the model.", no_args_is_help=True
    )
    keys.command("create")(create)
    keys.command("list")(list_)
    keys.command("show")(show)
    keys.command("rotate")(rotate)
    keys.command("revoke")(revoke)
    app.add_typer(keys, name="keys")


def create(
    context: typer.Context,
    purpose: For = Purpose.LOG,
    name: Name = None,
    file: From = None,
    actor: Actor = "operator",
    json: Json = False,
) -> None:
    """Create the key that signs the heads of the log, or versions of the model (`--for models`).

    The private half is a file in the home, readable by you only. Give auditors, and whoever verifies versions, the
    public half that this prints. docs/proofs.md and docs/signing.md explain what it is good for.
    """
    from kbsync.proofs import keys as log_keys
    from kbsync.signing import keys as model_keys

    with globals_of(context).ledger() as app:
        if purpose == Purpose.LOG:
            public = str(log_keys.create(app, name, file, actor).public)
        else:
            public = model_keys.create(app, name, file, actor).pem
    _print(public, json)


def rotate(
    context: typer.Context,
    purpose: For = Purpose.LOG,
    name: Name = None,
    file: From = None,
    actor: Actor = "operator",
    json: Json = False,
) -> None:
    """Replace the key that signs by a new one; what the old key signed stays valid.

    The old key of a log signs that the new one follows it.
    """
    from kbsync.proofs import keys as log_keys
    from kbsync.signing import keys as model_keys

    with globals_of(context).ledger() as app:
        if purpose == Purpose.LOG:
            public = str(log_keys.rotate(app, name, file, actor).public)
        else:
            public = model_keys.rotate(app, name, file, actor).pem
    _print(public, json)


def revoke(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Its name, as `kbsync keys list` shows it.")],
    reason: Reason,
    purpose: For = Purpose.LOG,
    actor: Actor = "operator",
    json: Json = False,
) -> None:
    """Revoke a key: what it signs from now on does not count, and its file is deleted from the home.

    If a key of the log may have been stolen, publish the head of the log with a new key at once: `kbsync keys create`,
    then `kbsync audit anchor`. Of a key for models, the signatures that it made before do not count either: create
    another one, and the next `kbsync sync` signs what is kept again.
    """
    from kbsync.proofs import keys as log_keys
    from kbsync.signing import keys as model_keys

    with globals_of(context).ledger() as app:
        if purpose == Purpose.LOG:
            revoked = str(log_keys.revoke(app, name, reason, actor).key)
        else:
            revoked = model_keys.revoke(app, name, reason, actor).name
    if json:
        print_json({"revoked": revoked})
    else:
        say(f"revoked {revoked}")


def show(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Its name; default: the key that signs now.")] = None,
    purpose: For = Purpose.LOG,
    json: Json = False,
) -> None:
    """Print the public half of a key, as auditors, witnesses and verifiers of versions need it."""
    from kbsync.proofs import keys as log_keys
    from kbsync.signing import keys as model_keys

    with globals_of(context).ledger() as app:
        origin = app.state.audit.origin()
        if purpose == Purpose.LOG:
            public = str(log_keys.named(app, name).key)
        else:
            public = model_keys.named(app, name).pem.rstrip("\n")
    if json:
        print_json({"key": public, "origin": origin})
        return
    typer.echo(public)
    if purpose == Purpose.LOG:
        say(f"the log's origin is {origin}")


def list_(context: typer.Context, json: Json = False) -> None:
    """List every key that the log states."""
    from kbsync.signing import keys as model_keys

    with globals_of(context).ledger() as app:
        rows = [_row(app, one) for one in app.state.audit.lineage().keys.values()]
        rows += [_model_row(app, one) for one in model_keys.known(app).keys.values()]
    if json:
        names = ("for", "name", "state", "created", "event", "private", "key")
        print_json([dict(zip(names, row, strict=True)) for row in rows])
        return
    print_table(
        "signing keys",
        ("for", "name", "state", "since", "event", "private half", "public half"),
        rows,
        empty="no key yet: `kbsync keys create`",
    )


def _row(app: Application, one: LoggedKey) -> tuple[object, ...]:
    from kbsync.proofs import keys

    where = "here" if keys.has_private(app, one.key) else "not here"
    return Purpose.LOG.value, one.key.name, one.state, one.at, one.created, where, str(one.key)


def _model_row(app: Application, one: ModelKey) -> tuple[object, ...]:
    from kbsync.signing import keys

    where = "here" if keys.has_private(app, one.fingerprint) else "not here"
    return Purpose.MODELS.value, one.name, one.state, one.at, one.created, where, one.fingerprint


def _print(key: str, json: bool) -> None:
    if json:
        print_json({"key": key})
        return
    typer.echo(key.rstrip("\n"))
    say(
        "this is its public half: give it to auditors, to the operators of witnesses, and to who verifies versions"
    )
