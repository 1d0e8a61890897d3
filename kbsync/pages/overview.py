"""`/`: whether anything is wrong, what is live, what waits, and how fresh each source is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from fastapi import APIRouter, Request
from starlette.responses import Response

from kbsync.application import Application
from kbsync.pages.access import Kbsync, Seen
from kbsync.pages.rendering import page
from kbsync.pages.shared import shared
from kbsync.queries.at_a_glance import Glance, at_a_glance
from kbsync.queries.counts import Census
from kbsync.queries.words import relation_labels

router = APIRouter()


class Glances:
    """The overview, read once for all who look at it at the same time.

    It is read again as soon as the audit log has a new event, and after `FRESH_S` in any case, since a link on the
    disk may change without one.  What has to be counted is `counter`'s.
    """

    FRESH_S = 5.0

    def __init__(
        self, app: Application, clock: Callable[[], float] = time.monotonic, counter: Census | None = None
    ) -> None:
        self._app, self._clock = app, clock
        self._counter = counter or Census(app)
        self._lock = threading.Lock()
        self._last: tuple[int, float, Glance] | None = None

    def now(self) -> Glance:
        """The overview of now; while it is read, the others who ask get the one before."""
        if self._last is not None and self._lock.locked():
            return self._last[2]
        with self._lock:
            with self._app.state.read() as tx:
                seq = tx.head_number()
            at = self._clock()
            if self._last is not None and self._last[0] == seq and at - self._last[1] < self.FRESH_S:
                return self._last[2]
            found = at_a_glance(self._app, self._counter.now())
            self._last = seq, at, found
            return found


@router.get("/")
@router.get("/status.json")
@shared
def overview(request: Request, app: Kbsync, visitor: Seen) -> Response:
    """The overview."""
    glances: Glances = request.app.state.glances
    form = {"labels": relation_labels(app)}
    return page(request, "overview.html", glance=glances.now(), form=form)
