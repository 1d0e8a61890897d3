"""The survey for the review pages: made at once for a small ledger, for a large one in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import structlog

from kbsync.application import Application
from kbsync.home import Home
from kbsync.queries.counts import SMALL, Census
from kbsync.queries.survey import Survey, survey
from kbsync.settings.sections import Settings

log = structlog.get_logger()

BEHIND = 10
"""How much nicer than the pages the process is that makes a survey."""


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
            self._last = self._clock(), head, _made_elsewhere(self._app)
        except (EOFError, OSError) as error:
            log.warning("survey.failed", reason=str(error) or "the process that makes it ended")
        finally:
            self._busy.release()


def _made_elsewhere(app: Application) -> Survey:
    """The survey, made by a process that ends with this one, whether or not it is done.

    Raises EOFError if it ends without a survey.
    """
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_survey, args=(sending, app.home, app.settings), daemon=True)
    process.start()
    sending.close()
    try:
        found: Survey = receiving.recv()
    finally:
        receiving.close()
        process.join()
    return found


def _survey(sending: Connection, home: Home, settings: Settings) -> None:
    """In the other process, behind whatever else the machine has to do."""
    os.nice(BEHIND)
    with Application(home, settings) as app:
        sending.send(survey(app))
