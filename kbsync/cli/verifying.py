"""`verify`: whether a checkpoint, or a form of one, is what was signed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kbsync.cli.options import Globals, Json, globals_of
from kbsync.console import print_json, print_table, say

if TYPE_CHECKING:
    from kbsync.signing.verifying import VerifiedVersion


def register(app: typer.Typer) -> None:
    app.command()(verify)


def verify(
    context: typer.Context,
    directory: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR", help="A checkpoint, delta or adapter; default: what is live in the home."
        ),
    ] = None,
    key: Annotated[
        list[Path] | None,
        typer.Option(help="Public key (PEM) to trust instead of the ledger's; may be repeated."),
    ] = None,
    unsigned: Annotated[
        bool,
        typer.Option("--unsigned", help="Accept a directory without a signature or a bill of materials."),
    ] = False,
    json: Json = False,
) -> None:
    """Verify the signature, manifest, files, tensors and bill of materials of a version, and say what differs.

    Exit code 0: all of it is as it was signed. 65: something differs. 66: there is no such directory. 78: there is no
    key to verify with, or the package model-signing is missing. No ledger is needed where --key is given.
    """
    from kbsync.signing import verifying

    chosen = globals_of(context)
    place = directory if directory is not None else chosen.home().live
    found = verifying.verify(place, _keys(chosen, key or (), required=not unsigned), signed=not unsigned)
    if json:
        print_json({**_plain(found), "ok": found.ok})
    else:
        _show(found)
    if not found.ok:
        raise typer.Exit(65)


def _keys(chosen: Globals, files: list[Path] | tuple[Path, ...], *, required: bool) -> dict[str, str]:
    """The public keys that are trusted: those in the files, or else the ledger's.  Raises BadConfiguration."""
    from kbsync.errors import BadConfiguration
    from kbsync.signing import keys, verifying

    if files:
        texts = [keys.read_public(file) for file in files]
        return {keys.fingerprint_of(pem): pem for pem in texts}
    if not required and not chosen.home().database.exists():
        return {}
    with chosen.ledger() as app:
        trusted = verifying.trusted(app)
    if required and not trusted:
        raise BadConfiguration(
            "there is no key to verify with",
            "name a public key with --key, or create one with `kbsync keys create --for models`",
        )
    return trusted


def _plain(found: VerifiedVersion) -> dict[str, object]:
    from kbsync.console import plain

    return dict(plain(found))


def _show(found: VerifiedVersion) -> None:
    if found.ok:
        signed = f"signed with the key {found.key[:16]}…" if found.key else "not signed"
        say(
            f"{found.directory}: {found.kind} {found.digest[:12]} verifies, {signed}: "
            f"{found.files} files, {found.tensors} tensors"
        )
        return
    rows = [(one.part, one.name, one.what) for one in found.problems]
    print_table(f"{found.directory} does not verify", ("part", "name", "what is wrong"), rows)
