"""`audit show|verify|export|anchor`: the log of everything that happened."""

from __future__ import annotations

import json as jsons
import sys
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kbsync.cli.listing import Newest, say_next
from kbsync.cli.option_groups import grouped
from kbsync.cli.options import Json, globals_of
from kbsync.cli.proving import bundle
from kbsync.console import print_json, print_table, say
from kbsync.visible import visible_json

if TYPE_CHECKING:
    from kbsync.application import Application
    from kbsync.proofs.witnesses import Witness
    from state.event_queries import EventFilter
    from state.records import Event, Verification


def register(app: typer.Typer) -> None:
    audit = typer.Typer(help="The append-only audit log.", no_args_is_help=True)
    audit.command("show")(show)
    audit.command("verify")(verify)
    audit.command("export")(export)
    audit.command("anchor")(anchor)
    audit.command("rejudge")(rejudge)
    audit.command("bundle")(bundle)
    app.add_typer(audit, name="audit")


@dataclass(frozen=True, slots=True)
class Searched:
    """Which events are shown."""

    since: Annotated[
        str | None, typer.Option(help="From then on: 2026-05-01, 2026-05-01T12:00 (UTC), or 3h ago as `3h`.")
    ] = None
    until: Annotated[str | None, typer.Option(help="Before then, written in the same way.")] = None
    kind: Annotated[str | None, typer.Option(help="Only this kind, or kinds such as `fact.*`.")] = None
    actor: Annotated[
        str | None, typer.Option(help="Only by this actor, or this user of the operating system.")
    ] = None
    run: Annotated[int | None, typer.Option(help="Only events of this run.")] = None
    fact: Annotated[int | None, typer.Option(help="Only events of this fact.")] = None
    subject: Annotated[str | None, typer.Option(help="Only events about this subject (its id).")] = None
    before: Annotated[int | None, typer.Option(help="Only events before this number: the next page.")] = None
    after: Annotated[int, typer.Option(help="Only events after this number.")] = 0

    def filter(self, now: datetime) -> EventFilter:
        """Raises UsageError for a time that cannot be read."""
        from kbsync.cli.instants import instant
        from state.event_queries import EventFilter

        return EventFilter(
            after=self.after,
            before=self.before,
            since=instant(self.since, now),
            until=instant(self.until, now),
            kind=self.kind,
            actor=self.actor,
            run=self.run,
            fact=self.fact,
            subject=self.subject,
        )


@grouped
def show(
    context: typer.Context,
    searched: Searched,
    limit: Newest = 50,
    archived: Annotated[
        bool,
        typer.Option("--archived", help="Those in the files of `[retention] archive`, which are read whole."),
    ] = False,
    json: Json = False,
) -> None:
    """Show events, newest first, a page at a time.

    docs/events.md says what each kind means.
    """
    from state.paging import filled

    with globals_of(context).ledger() as app:
        chosen = searched.filter(app.now())
        if archived:
            _show_archived(app, chosen, limit, json)
            return
        with app.state.read() as tx:
            cut = tx.cut()
            page = filled(
                lambda before, some: tx.events_page(replace(chosen, before=before), some),
                chosen.before,
                limit,
            )
            left = None if page.next is None else tx.events_page(replace(chosen, before=page.next), OLDER)
    if json:
        print_json(page.rows)
    else:
        print_table(
            "events, newest first",
            _COLUMNS,
            map(_row, page.rows),
        )
    if cut is not None and not json:
        say(f"events of before {cut.before[:10]} are archived, but for what is in use: --archived shows them")
    if left is not None:
        many = str(len(left.rows)) if left.next is None else f"more than {len(left.rows)}"
        say_next("--before", page.next, older=f"{many} older ones")


def _show_archived(app: Application, chosen: EventFilter, limit: int, json: bool) -> None:
    from state.archives.events import archived_events

    with app.state.read() as tx:
        found = archived_events(tx, chosen, limit)
    if json:
        print_json(found)
    else:
        print_table("archived events, newest first", _COLUMNS, map(_row, found))
    if len(found) == limit:
        say_next("--before", found[-1].seq, older="older ones")


_COLUMNS = ("no", "at", "kind", "actor", "user", "run", "fact", "what")
OLDER = 1_000
"""Older events that are counted exactly."""
LONGEST = 300
"""Characters of an event that a table shows; `--json` shows all."""
_SHOWN_ELSEWHERE = ("os_user", "key")
"""Parts of an event's body that have a column of their own, or mean nothing to people."""


def _row(event: Event) -> tuple[object, ...]:
    body = jsons.loads(event.body)
    rest = {name: value for name, value in body.items() if name not in _SHOWN_ELSEWHERE}
    details = jsons.dumps(rest, ensure_ascii=False)[:LONGEST]
    user = str(body.get("os_user", "")).partition(" (uid ")[0]
    return event.seq, event.at, event.kind, event.actor, user, event.run, event.fact, details


def verify(
    context: typer.Context,
    against: Annotated[
        Path | None,
        typer.Option(
            help="A witness's file: also finds a rewritten past or a cut tail. "
            "Default: all those of [state] anchor and witnesses."
        ),
    ] = None,
    tables: Annotated[
        bool, typer.Option("--tables", help="Also compare every row of the tables with the events.")
    ] = False,
    incremental: Annotated[
        bool,
        typer.Option(
            "--incremental",
            help="Begin at the newest signed head of the witnesses: quick, and finds everything but a change "
            "before it that leaves the tree as it was.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Check the chain of hashes, the Merkle tree, every witness and, with --tables, every row.

    A witness with an address is asked itself, too: it gets the head and cosigns it if it continues the last one.
    Ends with 78 if such a witness refuses the log or its key, with 65 if one does not hold.
    """
    from kbsync.errors import BadConfiguration, UsageError
    from kbsync.proofs.comparing import compare

    if tables and incremental:
        raise UsageError("--tables compares the whole log", "leave out --incremental")
    with globals_of(context).ledger() as app:
        compared = compare(app, against, tables=tables, incremental=incremental)
    if json:
        print_json(compared.found)
    _raise_unless(compared.found)
    for name, error in compared.silent.items():
        say(f"  {name} did not confirm the log: {error}")
    if not json:
        rows = " and every row matches them" if tables else ""
        kept = "".join(
            f"; anchors in {name} that agree: {count}" for name, count in compared.agreeing.items()
        )
        say(f"{compared.found.count} events verify{rows}{kept}")
        _say_archived(compared.found)
    for error in compared.silent.values():
        if isinstance(error, BadConfiguration):  # one that is away is asked again; this one refuses
            raise error


def _say_archived(found: Verification) -> None:
    """Name the files that were not there."""
    if found.archived:
        say(
            "verified from the signed cut on: what is archived in these files was verified before, and is not there"
        )
        for file in found.archived:
            say(f"  {file}")


def _raise_unless(found: Verification) -> None:
    """Raise BadData, with what differs printed, unless everything holds."""
    from kbsync.errors import BadData

    if found.differences:
        for one in found.differences:
            say(f"  {one}")
        raise BadData(
            f"rows that do not match the log: {found.unlike}",
            "find out who wrote to the database; put the rows back as the log has them (`kbsync audit show`), "
            "or restore a backup with `kbsync restore`",
        )
    if not found.ok:
        raise BadData(
            f"the audit log is not what was written: event {found.first_bad} ({found.reason})",
            "compare with an export or an anchor made before; events from that number on cannot be trusted",
        )


def export(
    context: typer.Context,
    format: Annotated[str, typer.Option(help="jsonl or csv.")] = "jsonl",
    out: Annotated[Path | None, typer.Option(help="File to write; default: stdout.")] = None,
) -> None:
    """Export all events, each with its hash, as JSONL or CSV.

    Code points that a terminal would obey or hide are written as JSON escapes. In JSONL that changes no value;
    in CSV the columns body and rows are JSON texts, of which the log has the RFC 8785 form.
    """
    from kbsync.errors import UsageError

    if format not in ("jsonl", "csv"):
        raise UsageError(f"{format!r} is not an export format", "choose jsonl or csv")
    with globals_of(context).ledger() as app:
        audit = app.state.audit
        write = (
            partial(audit.export_jsonl, shown=visible_json)
            if format == "jsonl"
            else partial(audit.export_csv, shown=_one_line)
        )
        if out is None:
            write(sys.stdout)
        else:
            temporary = out.with_name(f".{out.name}.part")
            with temporary.open("w", encoding="utf-8", newline="") as file:
                count = write(file)
            temporary.replace(out)
            say(f"{count} events written to {out}")


def _one_line(text: str) -> str:
    return visible_json(text).replace("\n", r"\n")


def anchor(
    context: typer.Context,
    out: Annotated[
        Path | None,
        typer.Argument(
            help="File outside the home, best where kbsync cannot rewrite it; default: every configured witness."
        ),
    ] = None,
    restored: Annotated[
        bool,
        typer.Option(
            "--restored", help="Declare, signed, that a restore lost what is witnessed beyond this log."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Append the head of the log to a file or to every witness, signed if there is a key (`kbsync keys`).

    `audit verify` compares the log with it and finds a rewritten past and a cut tail.
    """
    from kbsync.errors import UsageError
    from kbsync.proofs.witnesses import FileWitness, configured, publish

    with globals_of(context).ledger() as app:
        witnesses: list[Witness] = configured(app) if out is None else [FileWitness(out)]
        if not witnesses:
            raise UsageError("no witness is configured", "name a file, or set `witnesses` in [state]")
        heads = publish(app, witnesses, restored=restored)
    written = {witness.name: head for witness, head in zip(witnesses, heads, strict=True)}
    if json:
        print_json({"anchored": heads[0], "file": out} if out is not None else {"anchored": written})
        return
    for name, head in written.items():
        signed = ", signed" if head is not None and head.note else ""
        say(
            f"anchored event {head.seq} in {name}{signed}"
            if head
            else "the log is empty: nothing was written"
        )


def rejudge(
    context: typer.Context,
    run: Annotated[int, typer.Argument(help="Its number, as in `kbsync runs`.")],
    json: Json = False,
) -> None:
    """Judge a run again from its stored reports, with the gates as the log declares them.

    Ends with 65 if a verdict, or a report's digest, is not what the log says.
    """
    from kbsync.errors import BadData
    from kbsync.runs import judging

    with globals_of(context).ledger() as app:
        found = judging.rejudge(app, run)
    if json:
        print_json(found)
    wrong = [f"round {one.round}: {line}" for one in found for line in one.differences]
    for line in wrong:
        say(f"  {line}")
    if wrong:
        raise BadData(
            f"run {run} is not judged as its reports say: {len(wrong)} differences",
            "the report or the log was changed: `kbsync audit verify` tells which",
        )
    if not json:
        for one in found:
            say(
                f"round {one.round}: {one.gates} verdicts of event {one.event} are those of report {one.report[:12]}…"
            )
