"""`audit show|verify|export|anchor`: the log of everything that happened."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from kbsync.cli.options import Json, globals_of
from kbsync.console import print_json, print_table, say


def register(app: typer.Typer) -> None:
    audit = typer.Typer(help="The append-only audit log.", no_args_is_help=True)
    audit.command("show")(show)
    audit.command("verify")(verify)
    audit.command("export")(export)
    audit.command("anchor")(anchor)
    app.add_typer(audit, name="audit")


def show(
    context: typer.Context,
    after: Annotated[int, typer.Option(help="Only events after this number.")] = 0,
    run: Annotated[int | None, typer.Option(help="Only events of this run.")] = None,
    fact: Annotated[int | None, typer.Option(help="Only events of this fact.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind; may end in *.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    json: Json = False,
) -> None:
    """Show events, oldest first."""
    app = globals_of(context).ledger()
    with app.state.read() as tx:
        found = tx.events(after=after, limit=limit, run=run, fact=fact, kind=kind)
    app.close()
    if json:
        print_json(found)
        return
    print_table(
        "events",
        ("no", "at", "kind", "actor", "run", "fact", "what"),
        ((e.seq, e.at, e.kind, e.actor, e.run, e.fact, e.body) for e in found),
    )


def verify(
    context: typer.Context,
    against: Annotated[
        Path | None,
        typer.Option(
            help="An anchor file: also finds a rewritten past or a cut tail. "
            "Default: the one of [state] anchor, where it exists."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Check the chain of hashes and every anchor; exit 65 and the first bad number if one does not hold."""
    from kbsync.errors import BadData
    from state.anchors import read_anchors

    app = globals_of(context).ledger()
    configured = app.settings.state.anchor
    file = against or (configured if configured is not None and configured.exists() else None)
    anchors = read_anchors(file) if file else ()
    found = app.state.audit.verify(*anchors)
    app.close()
    if json:
        print_json(found)
    if not found.ok:
        raise BadData(
            f"the audit log is not what was written: event {found.first_bad} ({found.reason})",
            "compare with an export or an anchor made before; events from that number on cannot be trusted",
        )
    if not json:
        compared = f"; anchors in {file} that agree: {len(anchors)}" if file else ""
        say(f"{found.count} events verify{compared}")


def export(
    context: typer.Context,
    format: Annotated[str, typer.Option(help="jsonl or csv.")] = "jsonl",
    out: Annotated[Path | None, typer.Option(help="File to write; default: stdout.")] = None,
) -> None:
    """Export all events, each with its hash, as JSONL or CSV."""
    from kbsync.errors import UsageError

    if format not in ("jsonl", "csv"):
        raise UsageError(f"{format!r} is no export format", "choose jsonl or csv")
    app = globals_of(context).ledger()
    write = app.state.audit.export_jsonl if format == "jsonl" else app.state.audit.export_csv
    if out is None:
        write(sys.stdout)
    else:
        temporary = out.with_name(f".{out.name}.part")
        with temporary.open("w", encoding="utf-8", newline="") as file:
            count = write(file)
        temporary.replace(out)
        say(f"{count} events written to {out}")
    app.close()


def anchor(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(help="File outside the home, best where kbsync cannot rewrite it.")],
) -> None:
    """Write the head of the log to a file; `audit verify --against` it finds a rewritten past."""
    app = globals_of(context).ledger()
    written = app.state.audit.write_anchor(out)
    app.close()
    say(f"anchored event {written.seq}" if written else "the log is empty: nothing was written")
