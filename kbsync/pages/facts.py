"""`/facts`: what is, was or may be wanted; and the history of one fact."""

from __future__ import annotations

from typing import Annotated, cast, get_args

from fastapi import APIRouter, HTTPException, Query, Request
from starlette.responses import Response

from kbsync.pages.access import Kbsync, Seen
from kbsync.pages.paging import Id, Search, Text
from kbsync.pages.rendering import page
from kbsync.pages.shared import shared
from kbsync.queries.quarantine import dossier
from kbsync.queries.revisions import revision_link
from kbsync.queries.stated import stated
from kbsync.queries.timeline import timeline
from kbsync.queries.words import relation_labels
from state.fact_queries import FactFilter
from state.records import FactStatus

router = APIRouter()
STATUSES = get_args(FactStatus)
PAGE = 50


class FactSearch(Search):
    """What facts are looked for by."""

    q: Text = ""
    """A subject's id, or the beginning of its label."""
    status: Text = ""
    relation: Text = ""
    source: Text = ""
    code: Text = ""


@router.get("/facts")
@router.get("/facts.json")
@shared
def facts(request: Request, app: Kbsync, visitor: Seen, search: Annotated[FactSearch, Query()]) -> Response:
    """Facts by number, filtered; those whose subject's label was searched for, by label."""
    if search.status and search.status not in STATUSES:
        raise HTTPException(422, f"{search.status!r} is not a status of a fact")
    subject, label = _sought(search.q)
    chosen = FactFilter(
        cast(FactStatus, search.status) if search.status else None,
        search.relation or None,
        subject,
        search.source or None,
        search.code or None,
        label=label,
    )
    with app.state.read() as tx:
        found = tx.facts_page(chosen, search.after, PAGE)
    return page(
        request,
        "facts.html",
        facts=found.rows,
        more=found.next,
        counts=request.app.state.counts.now().facts,
        form={
            "filters": search.filters,
            "statuses": STATUSES,
            "labels": relation_labels(app),
            "sources": sorted(app.settings.sources),
        },
    )


def _sought(text: str) -> tuple[str | None, str | None]:
    """(subject's id, beginning of its label) that a search means: `wd:Q38` or `Ital`."""
    text = text.strip()
    if not text:
        return None, None
    prefix, colon, rest = text.partition(":")
    if colon and prefix and rest and " " not in text:
        return text, None
    return None, text


@router.get("/facts/{id}")
@router.get("/facts/{id}.json")  # matched first
@shared
def fact(request: Request, app: Kbsync, visitor: Seen, id: Id) -> Response:
    """One fact: why it has its status, what was answered, what contradicts it, and everything that happened to it."""
    found, history = dossier(app, id), timeline(app, id, request.app.state.reports)
    with app.state.read() as tx:
        now_stated = stated(tx, found.stated)
    return page(
        request,
        "fact.html",
        found=found,
        stated=now_stated,
        history=history,
        form={
            "link": lambda source, subject, revision: revision_link(app, source, subject, revision),
            "labels": relation_labels(app),
        },
    )
