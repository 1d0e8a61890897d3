"""`/checkpoints`: what was built from what, and what changed between any two."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from kbsync.pages.access import Kbsync, Seen
from kbsync.pages.paging import LARGEST, Search, page_of
from kbsync.pages.rendering import page
from kbsync.pages.submissions import new_key
from kbsync.queries.checkpoint_changes import checkpoint_changes
from kbsync.queries.words import relation_labels
from kbsync.runs import review

router = APIRouter()
PAGE = 30


class Two(Search):
    """Two checkpoints to compare."""

    a: Annotated[int, Field(ge=1, le=LARGEST)]
    b: Annotated[int, Field(ge=1, le=LARGEST)]


@router.get("/checkpoints")
@router.get("/checkpoints.json")
def checkpoints(request: Request, app: Kbsync, visitor: Seen, search: Annotated[Search, Query()]) -> Response:
    """Checkpoints, newest first, and which of them may be live again."""
    return list_page(request, app, search)


def list_page(
    request: Request, app: Kbsync, search: Search, status: int = 200, refused: str = "", reason: str = ""
) -> Response:
    """The list; after a refused action with what was wrong, and the reason that was typed."""
    with app.state.read() as tx:
        found = tx.checkpoints_before(search.before, PAGE + 1)
        live, previous = tx.live(), tx.previous()
        views = tx.views(one.view for one in found)
        begun = [] if live is None else review.begun_rollbacks(tx, live, app.settings.review.approvals)
        blocks = {block.view: block for block in tx.blocked_views()}
    shown, last = page_of(found, PAGE)
    return page(
        request,
        "checkpoints.html",
        status,
        checkpoints=shown,
        older=last.id if last else None,
        live=live,
        previous=previous,
        views=views,
        blocks=blocks,
        form={"key": new_key(), "refused": refused, "reason": reason, "approvals": begun},
    )


@router.get("/checkpoints/compare")
@router.get("/checkpoints/compare.json")
def compare(request: Request, app: Kbsync, visitor: Seen, two: Annotated[Two, Query()]) -> Response:
    """What changes from checkpoint `a` to checkpoint `b`."""
    changes = checkpoint_changes(app, two.a, two.b)
    return page(request, "compare.html", changes=changes, form={"labels": relation_labels(app)})
