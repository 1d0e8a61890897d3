"""`prove`: one file that shows, to people without kbsync, how something came into the model or that it did not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kbsync.cli.options import Json, globals_of
from kbsync.console import print_json, say

if TYPE_CHECKING:
    from kbsync.proofs.evidence import Kind


def register(app: typer.Typer) -> None:
    app.command()(prove)


def bundle(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="ZIP file to write.")],
    run: Annotated[int | None, typer.Option(help="Everything about this run.")] = None,
    fact: Annotated[int | None, typer.Option(help="Everything about this fact.")] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="All events from then on: 2026-05-01, or 3h ago as `3h`.")
    ] = None,
    to: Annotated[str | None, typer.Option(help="Before then, written in the same way.")] = None,
    json: Json = False,
) -> None:
    """Write events, proofs, reports, answers and witnessed heads into one archive, for people without kbsync.

    It has a page to begin at, `index.html`, and `verify_proof.py` to check it with.
    """
    from kbsync.cli.instants import instant
    from kbsync.errors import UsageError
    from kbsync.proofs import bundle as bundles
    from state.event_queries import EventFilter

    given = {"run": run, "fact": fact, "time": from_ or to}
    if sum(value is not None for value in given.values()) != 1:
        raise UsageError("a bundle is of one thing", "name --run, or --fact, or --from and --to")
    with globals_of(context).ledger() as app:
        chosen = EventFilter(
            since=instant(from_, app.now()), until=instant(to, app.now()), run=run, fact=fact
        )
        title = next(f"{name} {value}" for name, value in given.items() if value is not None)
        if from_ or to:
            title = f"the time from {from_ or 'the beginning'} to {to or 'now'}"
        files = bundles.bundle(app, chosen, title, out)
    if json:
        print_json({"file": out, "sha256": files})
        return
    say(f"{out}: {len(files) + 1} files; begin at index.html in it")


def prove(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(help="fact, run or checkpoint; with --absent, fact or subject.")],
    id: Annotated[str, typer.Argument(help="Its number, as in `kbsync facts`; a subject's id.")],
    out: Annotated[Path, typer.Option(help="File to write.")],
    checkpoint: Annotated[
        int | None, typer.Option(help="The checkpoint that is meant; default: the live one.")
    ] = None,
    absent: Annotated[
        bool, typer.Option("--absent", help="Prove that the checkpoint was not built with it.")
    ] = False,
    json: Json = False,
) -> None:
    """Write the proof of a fact, a run or a checkpoint into one file, signed (`kbsync keys`).

    It holds every step from the source's statement to what servers were seen to serve, each with its event and the
    proof that the event is in the log. `verify_proof.py` checks it without kbsync; docs/proofs.md explains it.
    """
    from editing.durable import write_file
    from kbsync.errors import UsageError
    from kbsync.proofs import evidence

    if kind not in ("fact", "run", "checkpoint", "subject"):
        raise UsageError(f"{kind!r} cannot be proven", "name a fact, a run or a checkpoint")
    known: Kind = kind  # type: ignore[assignment]
    with globals_of(context).ledger() as app:
        make = evidence.prove_absent if absent else evidence.prove
        found = make(app, known, id, checkpoint)
    write_file(out, evidence.written(found))
    if json:
        print_json({"file": out, "key": found["key"], "events": len(found["steps"])})
        return
    say(
        f"{out}: {len(found['steps'])} events; check it with `python verify_proof.py {out} --key {found['key']}`"
    )
