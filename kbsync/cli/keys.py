"""`keys`: the keys that sign the heads of the audit log, and those that sign versions of the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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


@dataclass(frozen=True, slots=True)
class KeyKind:
    """How the commands treat the keys of one purpose."""

    module: Any
    """It creates, rotates, revokes and names them."""
    known: Iterable[LoggedKey | ModelKey]
    ids: Iterable[Any]
    """By which the module knows each of `known`, in their order."""
    listed: Iterable[str]
    """What lists show of each one's public half."""


def _kind(app: Application, purpose: Purpose) -> KeyKind:
    match purpose:
        case Purpose.LOG:
            from kbsync.proofs import keys as log_keys

            logged = list(app.state.audit.lineage().keys.values())
            ids = [one.key for one in logged]
            return KeyKind(log_keys, logged, ids, [one.public for one in logged])
        case Purpose.MODELS:
            from kbsync.signing import keys as model_keys

            found = list(model_keys.known(app).keys.values())
            names = [one.fingerprint for one in found]
            return KeyKind(model_keys, found, names, names)


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
    with globals_of(context).ledger() as app:
        kind = _kind(app, purpose)
        kind.module.create(app, name, file, actor)
        public = kind.module.named(app, None).public
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
    with globals_of(context).ledger() as app:
        kind = _kind(app, purpose)
        kind.module.rotate(app, name, file, actor)
        public = kind.module.named(app, None).public
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
    with globals_of(context).ledger() as app:
        revoked = _kind(app, purpose).module.revoke(app, name, reason, actor).name
    if json:
        print_json({"revoked": revoked})
    else:
        say(f"revoked {revoked}")


def show(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Its name; default: the key that signs now.")] = None,
    purpose: For = Purpose.LOG,
    witness: Annotated[
        bool,
        typer.Option(
            "--witness", help="As those need it whose logs this kbsync is a witness of: [state] witness_keys."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Print the public half of a key, as auditors, witnesses and verifiers of versions need it."""
    from kbsync.errors import UsageError
    from state.cosignatures import WitnessKey

    if witness and purpose != Purpose.LOG:
        raise UsageError("a witness cosigns with the key of the log", "leave out --for models or --witness")
    with globals_of(context).ledger() as app:
        origin = app.state.audit.origin()
        found = _kind(app, purpose).module.named(app, name)
        public = str(WitnessKey.of(found.key)) if witness else found.public
    if json:
        print_json({"key": public, "origin": origin})
        return
    typer.echo(public)
    if purpose == Purpose.LOG:
        say(f"the log's origin is {origin}")


def list_(context: typer.Context, json: Json = False) -> None:
    """List every key that the log states."""
    with globals_of(context).ledger() as app:
        rows = [row for purpose in Purpose for row in _rows(app, purpose)]
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


def _rows(app: Application, purpose: Purpose) -> Iterator[tuple[object, ...]]:
    kind = _kind(app, purpose)
    for one, id, public in zip(kind.known, kind.ids, kind.listed, strict=True):
        where = "here" if kind.module.has_private(app, id) else "not here"
        yield purpose.value, one.name, one.state, one.at, one.created, where, public


def _print(key: str, json: bool) -> None:
    if json:
        print_json({"key": key})
        return
    typer.echo(key)
    say(
        "this is its public half: give it to auditors, to the operators of witnesses, and to who verifies versions"
    )
