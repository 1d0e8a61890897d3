"""`apply`: the model that a delta makes of its base."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kbsync.cli.options import Json, globals_of
from kbsync.console import print_json, say


def register(app: typer.Typer) -> None:
    app.command("apply")(apply_)


def apply_(
    context: typer.Context,
    delta: Annotated[Path, typer.Argument(help="delta.safetensors, or the folder that has it.")],
    to: Annotated[
        Path,
        typer.Option("--to", metavar="BASE", help="The unedited model's directory, or an imported base."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Where the model appears; must not exist. Default: beside BASE.")
    ] = None,
    json: Json = False,
) -> None:
    """Apply a delta to its base: a complete Hugging Face directory, the same that was judged.

    The base is compared with the digest in the delta, and every changed tensor with its own. No ledger is needed; the
    base is imported once into the home, and models made of it share its files. Exit code 65: the delta is damaged, or
    belongs to another base; nothing is written. `kbsync verify DELTA` checks who signed it.
    """
    from kbsync.standalone.applying import apply

    found = apply(globals_of(context).home(), delta, to, out)
    if json:
        print_json(found)
        return
    share = 100 * found.delta_bytes / found.model_bytes
    say(f"{found.tensors} tensors verified and applied; the delta has {share:.1f} % of the model's bytes")
    say(f"written to {found.directory}, digest {found.digest}")
