"""`/audit`: everything that happened, filtered, with the state of its proofs, and as a file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, get_args

from fastapi import APIRouter, HTTPException, Query, Request
from starlette.responses import Response, StreamingResponse

from kbsync.application import Application
from kbsync.console import plain
from kbsync.pages.access import Kbsync, Seen
from kbsync.pages.paging import Search, Text
from kbsync.pages.rendering import page
from kbsync.pages.shared import shared
from kbsync.pages.submissions import number
from kbsync.visible import visible, visible_json
from state.event_kinds import EventKind
from state.event_queries import EventFilter
from state.records import Event

router = APIRouter()
PAGE = 60
EXPORTED_AT_ONCE = 1_000
COLUMNS = ("seq", "at", "kind", "actor", "run", "fact", "body", "previous", "hash")
KINDS = get_args(EventKind)


class EventSearch(Search):
    """What events are filtered by."""

    kind: Text = ""
    """May end in `*`."""
    actor: Text = ""
    subject: Text = ""
    run: Text = ""
    fact: Text = ""
    since: Text = ""
    until: Text = ""

    def chosen(self) -> EventFilter:
        """Raises HTTPException for a time that cannot be read."""
        return EventFilter(
            after=self.after,
            before=self.before,
            since=_instant(self.since, "since"),
            until=_instant(self.until, "until"),
            kind=self.kind or None,
            actor=self.actor or None,
            run=number(self.run, "run") if self.run else None,
            fact=number(self.fact, "fact") if self.fact else None,
            subject=self.subject or None,
        )


def _instant(text: str, name: str) -> datetime | None:
    """`2026-05-01` or `2026-05-01T12:00`, in UTC."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise HTTPException(422, f"{name}: write a date or a time such as 2026-05-01T12:00") from error
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


@router.get("/audit")
@router.get("/audit.json")
@shared
def audit(request: Request, app: Kbsync, visitor: Seen, search: Annotated[EventSearch, Query()]) -> Response:
    """Events, newest first."""
    chosen = search.chosen()
    with app.state.read() as tx:
        found = tx.events_page(chosen, PAGE)
        head, checks, cut = tx.head(), tx.checks(), tx.cut()
    return page(
        request,
        "audit.html",
        events=found.rows,
        older=found.next,
        form={
            "bodies": [json.loads(event.body) for event in found.rows],
            "filters": search.filters,
            "kinds": KINDS,
        },
        head=head,
        proofs=[checks[name] for name in ("chain", "anchors", "tables") if name in checks],
        anchor=str(app.settings.state.anchor or ""),
        archived="" if cut is None else cut.before[:10],
    )


@router.get("/audit/events.jsonl")
def export_jsonl(app: Kbsync, visitor: Seen, search: Annotated[EventSearch, Query()]) -> Response:
    """The filtered events as JSON lines, newest first."""
    found = _all(app, search.chosen())
    lines = (f"{visible_json(json.dumps(_row(one), ensure_ascii=False))}\n" for one in found)
    return _download(lines, "application/jsonl", "events.jsonl")


@router.get("/audit/events.csv")
def export_csv(app: Kbsync, visitor: Seen, search: Annotated[EventSearch, Query()]) -> Response:
    """The filtered events as CSV (RFC 4180), newest first."""
    return _download(_sheet(_all(app, search.chosen())), "text/csv; charset=utf-8", "events.csv")


def _download(lines: Iterator[str], kind: str, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(lines, media_type=kind, headers=headers)


def _all(app: Application, chosen: EventFilter) -> Iterator[Event]:
    """Every event of the filter, a page and a transaction at a time."""
    while True:
        with app.state.read() as tx:
            found = tx.events_page(chosen, EXPORTED_AT_ONCE)
        yield from found.rows
        if found.next is None:
            return
        chosen = replace(chosen, before=found.next)


def _row(event: Event) -> dict[str, object]:
    row = plain(event)
    return {**{name: row[name] for name in COLUMNS}, "at": f"{event.at:%Y-%m-%dT%H:%M:%S.%fZ}"}


def _sheet(events: Iterator[Event]) -> Iterator[str]:
    yield _csv_line({name: name for name in COLUMNS})
    for event in events:
        yield _csv_line(_row(event))


def _csv_line(row: dict[str, object]) -> str:
    """One line; a cell that a spreadsheet would run as a formula begins with an apostrophe."""
    line = io.StringIO()
    csv.writer(line).writerow([_cell(row[name]) for name in COLUMNS])
    return line.getvalue()


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = visible(value, len(value))
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
