"""`/feed.json` and `/feed.atom`: what became live, newest first, for feed readers.

JSON Feed 1.1; Atom (RFC 4287), paged as in RFC 5005.
"""

from __future__ import annotations

import json
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response

from kbsync.application import Application
from kbsync.pages.access import Kbsync, Seen
from kbsync.pages.paging import Search
from kbsync.queries.words import relation_labels
from kbsync.visible import visible
from state.event_queries import EventFilter
from state.ledger import Snapshot
from state.paging import cut
from state.records import Event, Fact

router = APIRouter()
ENTRIES = 30
NAMED = 50
"""Facts of one promotion that an entry lists."""
ATOM = "http://www.w3.org/2005/Atom"
TITLE = "kbsync: what became live"


@dataclass(frozen=True, slots=True)
class Promotion:
    """One entry: a checkpoint became live."""

    id: str
    """A URN that stays the same whatever the address of the pages."""
    path: str
    at: datetime
    actor: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Feed:
    """One page of promotions."""

    address: str
    """Of the pages, without a trailing slash."""
    entries: tuple[Promotion, ...]
    older: int | None
    """Where the next page begins, if there is one."""
    now: datetime

    def next(self, name: str) -> str | None:
        return None if self.older is None else f"{self.address}/{name}?before={self.older}"


@router.get("/feed.json")
def json_feed(request: Request, app: Kbsync, visitor: Seen, search: Annotated[Search, Query()]) -> Response:
    """Promotions as a JSON Feed."""
    feed = _feed(request, app, search)
    items = [
        {
            "id": one.id,
            "url": feed.address + one.path,
            "title": one.title,
            "content_text": one.text,
            "date_published": one.at.isoformat(),
            "authors": [{"name": one.actor}],
        }
        for one in feed.entries
    ]
    found = {
        "version": "https://jsonfeed.org/version/1.1",
        "title": TITLE,
        "home_page_url": f"{feed.address}/",
        "feed_url": f"{feed.address}/feed.json",
        "items": items,
    }
    older = feed.next("feed.json")
    return JSONResponse(
        found | ({"next_url": older} if older else {}), media_type="application/feed+json; charset=utf-8"
    )


@router.get("/feed.atom")
def atom_feed(request: Request, app: Kbsync, visitor: Seen, search: Annotated[Search, Query()]) -> Response:
    """Promotions as an Atom feed."""
    feed = _feed(request, app, search)
    root = ET.Element("feed", xmlns=ATOM)
    updated = max((one.at for one in feed.entries), default=feed.now)
    _add(root, id=_urn(feed.address), title=TITLE, updated=updated.isoformat())
    links = {
        "self": f"{feed.address}/feed.atom",
        "alternate": f"{feed.address}/",
        "next": feed.next("feed.atom"),
    }
    for relation, address in links.items():
        if address is not None:
            ET.SubElement(root, "link", rel=relation, href=address)
    for one in feed.entries:
        entry = ET.SubElement(root, "entry")
        _add(entry, id=one.id, title=one.title, updated=one.at.isoformat(), published=one.at.isoformat())
        _add(ET.SubElement(entry, "author"), name=one.actor)
        ET.SubElement(entry, "link", rel="alternate", href=feed.address + one.path)
        ET.SubElement(entry, "content", type="text").text = one.text
    content = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return Response(content, media_type="application/atom+xml; charset=utf-8")


def _add(parent: ET.Element, **texts: str) -> None:
    for name, text in texts.items():
        ET.SubElement(parent, name).text = text


def _feed(request: Request, app: Application, search: Search) -> Feed:
    oidc = app.settings.pages.oidc
    address = oidc.address if oidc is not None else str(request.base_url).rstrip("/")
    labels = relation_labels(app)
    with app.state.read() as tx:
        chosen = EventFilter(kind="checkpoint.promoted", before=search.before, after=search.after)
        shown = cut(tx.recent_events(chosen, ENTRIES + 1), ENTRIES, lambda event: event.seq)
        entries = tuple(_promotion(tx, event, labels) for event in shown.rows)
    return Feed(address, entries, shown.next, app.now())


def _promotion(tx: Snapshot, event: Event, labels: Mapping[str, str]) -> Promotion:
    body = json.loads(event.body)
    checkpoint, reason = body["checkpoint"], str(body.get("reason", ""))
    scopes = tx.events(run=event.run, kind="run.scope") if event.run is not None else []
    is_rollback = reason.startswith("rollback")
    scope = json.loads(scopes[-1].body) if scopes and not is_rollback else {}
    new, removed = (tx.facts(ids=scope.get(name, ())) for name in ("new", "removed"))
    title = f"Checkpoint {checkpoint} is live"
    if is_rollback:
        title += f": {visible(reason, 200)}"
    elif new or removed:
        title += f": {len(new)} {'fact' if len(new) == 1 else 'facts'} added, {len(removed)} removed"
    lines = [*_lines("+", new, labels), *_lines("−", removed, labels)]
    text = "\n".join(lines) or f"Why: {visible(reason)}"
    path = f"/runs/{event.run}" if event.run is not None else "/checkpoints"
    return Promotion(_urn(event.hash), path, event.at, visible(event.actor) or "kbsync", title, text)


def _lines(sign: str, facts: tuple[Fact, ...], labels: Mapping[str, str]) -> list[str]:
    """A line for each fact, and how many more there are."""
    lines = [
        f"{sign} {visible(one.subject_label)}, {visible(labels.get(one.relation, one.relation))}: {visible(one.target)}"
        for one in facts[:NAMED]
    ]
    return lines + ([f"{sign} … and {len(facts) - NAMED} more"] if len(facts) > NAMED else [])


def _urn(name: str) -> str:
    return uuid.uuid5(uuid.NAMESPACE_URL, f"kbsync:{name}").urn
