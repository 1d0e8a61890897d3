"""`pack`: what is wanted and live does not state, as text for a retriever."""

from __future__ import annotations

import json as jsons
import sys
from pathlib import Path
from typing import Annotated

import typer

from kbsync.cli.options import Json, globals_of
from kbsync.console import print_json, say


def register(app: typer.Typer) -> None:
    app.command()(pack)


def pack(
    context: typer.Context,
    out: Annotated[Path | None, typer.Option(help="File to write; default: stdout.")] = None,
    json: Json = False,
) -> None:
    """Write the retrieval pack as of now: every wanted fact that live was not seen to state, a line of JSON each.

    The pack in a checkpoint is that of its build. Facts that became wanted since, and wait for the next version, are
    only in this one. docs/checkpoints.md says how to use it.
    """
    from editing.storage.pack import write_entries
    from kbsync.runs.packs import pack_now
    from kbsync.visible import visible_json

    with globals_of(context).ledger() as app:
        if out is not None:
            found = list(pack_now(app))
            write_entries(found, out)
            if json:
                print_json({"file": out, "facts": len(found)})
            else:
                say(f"{len(found)} facts written to {out}")
        elif json:
            print_json(list(pack_now(app)))
        else:
            for entry in pack_now(app):
                sys.stdout.write(visible_json(jsons.dumps(entry, ensure_ascii=False)) + "\n")
