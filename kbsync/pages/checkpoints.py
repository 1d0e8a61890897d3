"""`/checkpoints`: what was built from what, and what changed between any two."""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from editing.errors import EditingError
from editing.storage.norms import MatrixNorms
from kbsync.application import Application
from kbsync.errors import TryLater, UsageError
from kbsync.pages.access import Kbsync, Seen
from kbsync.pages.paging import LARGEST, Search
from kbsync.pages.rendering import page
from kbsync.pages.shared import shared
from kbsync.queries.checkpoint_changes import checkpoint_changes
from kbsync.queries.checkpoint_history import promotions
from kbsync.queries.elsewhere import weights_elsewhere
from kbsync.queries.kept import kept_checkpoint
from kbsync.queries.words import relation_labels
from kbsync.runs import review
from state.paging import cut

router = APIRouter()
PAGE = 30


class Two(Search):
    """Two checkpoints to compare."""

    a: Annotated[int, Field(ge=1, le=LARGEST)]
    b: Annotated[int, Field(ge=1, le=LARGEST)]


@router.get("/checkpoints")
@router.get("/checkpoints.json")
@shared
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
        lineage = promotions(tx)
        blocks = {block.view: block for block in tx.blocked_views()}
    shown = cut(found, PAGE, lambda one: one.id)
    return page(
        request,
        "checkpoints.html",
        status,
        checkpoints=shown.rows,
        older=shown.next,
        live=live,
        previous=previous,
        views=views,
        lineage=lineage,
        blocks=blocks,
        form={"refused": refused, "reason": reason, "approvals": begun},
    )


@router.get("/checkpoints/compare")
@router.get("/checkpoints/compare.json")
@shared
def compare(request: Request, app: Kbsync, visitor: Seen, two: Annotated[Two, Query()]) -> Response:
    """What changes from checkpoint `a` to checkpoint `b`."""
    changes = checkpoint_changes(app, two.a, two.b)
    return page(request, "compare.html", changes=changes, form={"labels": relation_labels(app)})


@router.get("/checkpoints/weights")
@router.get("/checkpoints/weights.json")
def weights(request: Request, app: Kbsync, visitor: Seen, two: Annotated[Two, Query()]) -> Response:
    """The norms of the edited matrices; the comparison loads them once it is shown, since they take a moment."""
    measured: WeightNorms = request.app.state.weights
    try:
        norms, why = measured.of(two.a, two.b), ""
    except (UsageError, TryLater, EditingError) as error:
        norms, why = (), str(error)
    part = bool(request.headers.get("hx-request"))
    return page(request, "weights.html", a=two.a, b=two.b, norms=norms, why=why, form={"part": part})


class WeightNorms:
    """The norms of pairs of checkpoints, measured once: a checkpoint's weights never change."""

    KEPT = 200

    def __init__(self, app: Application) -> None:
        self._app = app
        self._found: OrderedDict[tuple[str, str], tuple[MatrixNorms, ...]] = OrderedDict()

    def of(self, a: int, b: int) -> tuple[MatrixNorms, ...]:
        """Raises what `weights_elsewhere` raises."""
        name = (kept_checkpoint(self._app, a)[0].digest, kept_checkpoint(self._app, b)[0].digest)
        found = self._found.get(name)
        if found is None:
            found = self._found[name] = weights_elsewhere(self._app, a, b)
            while len(self._found) > self.KEPT:
                self._found.popitem(last=False)
        return found
