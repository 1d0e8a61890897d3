"""`/quarantine`: what waits for a person, one or many at a time, with what speaks for and against it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from kbsync.admission.codes import UNAPPROVABLE
from kbsync.application import Application
from kbsync.approvals import approvals
from kbsync.intake.quarantine import of_fact
from kbsync.pages.access import Kbsync, Seen
from kbsync.pages.paging import Id, Search, Text
from kbsync.pages.rendering import page
from kbsync.pages.shared import shared
from kbsync.queries.quarantine import Dossier, Rival, Selection, dossier, waiting_page
from kbsync.queries.revisions import revision_link
from kbsync.queries.stated import stated
from kbsync.queries.words import relation_labels
from state.records import Fact

router = APIRouter()
PAGE = 30


class WaitingSearch(Search):
    """What the waiting facts are filtered by."""

    relation: Text = ""
    source: Text = ""
    code: Text = ""
    gate: Text = ""
    stale: bool = False


@router.get("/quarantine")
@router.get("/quarantine.json")
@shared
def quarantine(
    request: Request, app: Kbsync, visitor: Seen, search: Annotated[WaitingSearch, Query()]
) -> Response:
    """Facts that wait for a reviewer."""
    return list_page(request, app, search)


def list_page(
    request: Request, app: Kbsync, search: WaitingSearch, status: int = 200, refused: Sequence[str] = ()
) -> Response:
    """The list; after a refused decision about several with what was wrong."""
    chosen = Selection(
        None,
        search.gate or None,
        search.relation or None,
        search.source or None,
        search.code or None,
        search.stale,
    )
    found = waiting_page(app, chosen, search.after, PAGE)
    return page(
        request,
        "quarantine.html",
        status,
        waiting=found.rows,
        more=found.next,
        form={
            "filters": search.filters,
            "labels": relation_labels(app),
            "gates": [one.name for one in app.gates if one.judges_facts],
            "sources": sorted(app.settings.sources),
            "refused": refused,
        },
    )


@router.get("/quarantine/{id}")
@router.get("/quarantine/{id}.json")  # matched first
@shared
def review(request: Request, app: Kbsync, visitor: Seen, id: Id) -> Response:
    """One fact with its rivals side by side, its evidence, and the decisions that can be made."""
    return review_page(request, app, dossier(app, id))


def review_page(
    request: Request, app: Kbsync, found: Dossier, status: int = 200, refused: str = "", reason: str = ""
) -> Response:
    """The page of one decision; after a refusal with what was wrong, and the reason that was typed."""
    others = {(one.fact.subject, one.fact.relation) for one in choices(found)}
    own = (found.fact.subject, found.fact.relation)
    with app.state.read() as tx:
        theirs = [one for seen in tx.current(others - {own}).values() for one in seen]
        evidence = stated(tx, [*found.stated, *theirs])
    return page(
        request,
        "review.html",
        status,
        found=found,
        stated=evidence,
        form={
            "choices": choices(found),
            "unapprovable": UNAPPROVABLE,
            "labels": relation_labels(app),
            "link": lambda source, subject, revision: revision_link(app, source, subject, revision),
            "refused": refused,
            "reason": reason,
            "approvals": _approvals(app, found.fact),
        },
    )


def _approvals(app: Application, fact: Fact) -> str:
    """Who has approved the fact, where others still have to; else empty."""
    needed = app.settings.review.approvals
    if needed == 1 or fact.status not in ("held", "quarantined"):
        return ""
    with app.state.read() as tx:
        given = approvals(tx, of_fact(fact), needed)
    return str(given) if given.by else ""


def choices(found: Dossier) -> list[Rival]:
    """Other values of the same slot or prompt between which a reviewer chooses: what is open or was held before."""
    return [one for one in found.rivals if one.fact.status in ("wanted", "held", "quarantined")]
