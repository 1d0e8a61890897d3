"""The survey for the review pages: made at once for a small ledger, for a large one in a process of its own."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import structlog

from kbsync.application import Application
from kbsync.errors import KbsyncError
from kbsync.home import Home
from kbsync.queries.counts import SMALL, Census
from kbsync.queries.survey import Survey, survey
from kbsync.settings.sections import Settings
from state import StateError

log = structlog.get_logger()


class Surveys:
    """One survey for all who look at it.

    With many wanted facts it takes a minute or more.  It is then made in another process, so that the pages stay
    quick, and again when something has happened, at most every `OFTEN_S`.
    """

    OFTEN_S = 300.0

    def __init__(
        self, app: Application, counter: Census, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app, self._counter, self._clock = app, counter, clock
        self._busy = threading.Lock()
        self._last: tuple[float, int, Survey] | None = None
        """When it was made, the newest event then, and the survey."""

    def now(self) -> Survey | None:
        """The newest survey; None while the first one is made."""
        counts = self._counter.now()
        if counts.facts.get("wanted", 0) <= SMALL:
            return survey(self._app)
        last = self._last
        is_due = last is None or (self._clock() - last[0] > self.OFTEN_S and last[1] != counts.head)
        if is_due and self._busy.acquire(blocking=False):
            threading.Thread(target=self._make, args=(counts.head,), name="survey", daemon=True).start()
        return None if last is None else last[2]

    def _make(self, head: int) -> None:
        try:
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                found = pool.submit(_survey, self._app.home, self._app.settings).result()
            self._last = self._clock(), head, found
        except (BrokenProcessPool, KbsyncError, StateError, OSError) as error:
            log.warning("survey.failed", reason=str(error))
        finally:
            self._busy.release()


def _survey(home: Home, settings: Settings) -> Survey:
    """In the other process."""
    with Application(home, settings) as app:
        return survey(app)
