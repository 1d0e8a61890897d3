"""`/`: whether anything is wrong, what is live, what waits, and how fresh each source is."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from kbsync.pages.access import Kbsync, Seen
from kbsync.pages.rendering import page
from kbsync.pages.submissions import new_key
from kbsync.queries.at_a_glance import at_a_glance
from kbsync.queries.words import relation_labels

router = APIRouter()


@router.get("/")
@router.get("/status.json")
def overview(request: Request, app: Kbsync, visitor: Seen) -> Response:
    """The overview."""
    return page(
        request,
        "overview.html",
        glance=at_a_glance(app),
        form={"key": new_key(), "labels": relation_labels(app)},
    )
