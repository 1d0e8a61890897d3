"""Requests that pages write into the ledger: carried out by whoever leads, or by this process if nobody does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from kbsync.application import Application
from kbsync.errors import KbsyncError
from kbsync.service.requests import ask, wait_for
from state import Transaction
from state.errors import StateError

log = structlog.get_logger()

Resolve = Callable[[Transaction], Mapping[str, Any]]
"""Gives the arguments of a request, or refuses (`kbsync.service.requests.ask`)."""


class Errands:
    """Waits for requests in threads of its own, one at a time, so that no page does."""

    def __init__(self, app: Application, *, here: bool) -> None:
        """`here`: this process may lead; without it, the daemon of this very process does."""
        self._app, self._here = app, here
        self._one = threading.Lock()
        self._threads: list[threading.Thread] = []

    def ask(self, action: str, resolve: Resolve, *, reason: str, actor: str) -> int:
        """Write a request into the ledger and have it carried out, by the daemon or here; its number."""
        request = ask(self._app, action, resolve, reason=reason, actor=actor).id
        if self._here:
            self._carry_out(request)
        return request

    def _carry_out(self, request: int) -> None:
        thread = threading.Thread(target=self._wait, args=(request,), name=f"request-{request}", daemon=True)
        self._threads = [one for one in self._threads if one.is_alive()] + [thread]
        thread.start()

    def finish(self, seconds: float) -> None:
        """Wait for what is being carried out, at most so long; the next leader carries out what is left."""
        self._app.stopping.set()
        for thread in self._threads:
            thread.join(seconds)

    def _wait(self, request: int) -> None:
        with self._one:
            try:
                wait_for(self._app, request)
            except (KbsyncError, StateError, OSError) as error:
                log.error("request.left", request=request, reason=str(error))
