"""Requests: how a command asks the leader to do something; the leader is the daemon or the command itself.

A command writes a request into the ledger (`ask`) and waits for its answer (`wait_for`).  The daemon checks for
requests between its jobs, and several times a second while it waits for a worker, a source or a server.  An urgent
request interrupts that work, which is safe wherever SIGTERM would be; the work is resumed afterwards.  If no process
leads, the command becomes leader and carries the request out itself.

Either process may be killed at any time.  A request that was begun by a process that died is begun again by the
next leader; the request of a command that was killed is still carried out.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import structlog

from connectors.errors import ConnectorError
from editing.errors import EditingError
from editing.progress import TimedProgress, silent
from kbsync.application import Application
from kbsync.errors import KbsyncError, TryLater
from kbsync.executor import Stopping
from kbsync.home import HomeInUse
from kbsync.leadership import Leadership
from kbsync.service.actions import ACTIONS, Errand
from kbsync.service.cycle import notify_servers
from state import Transaction
from state.errors import LeaseHeld, StaleLeader, StateError
from state.instants import clock_is_set
from state.records import Request

log = structlog.get_logger()

ACTOR = "kbsync"
ENDED = ("done", "refused", "withdrawn")
MOST_ATTEMPTS = 3
"""Number of leaders that may die while carrying out one request before it is refused."""
LOOK_S = 0.3
"""Seconds between two checks of the ledger: of a command for its answer, of the leader for urgent requests."""
EXPECTED = (KbsyncError, ConnectorError, EditingError, StateError, OSError)
"""Exceptions with which an action refuses; any other exception is a defect and also ends the process."""


class Interrupted(KbsyncError):
    """Work was interrupted for a more urgent request of an operator; it is resumed afterwards."""


def ask(
    app: Application,
    action: str,
    resolve: Callable[[Transaction], Mapping[str, Any]],
    *,
    reason: str,
    actor: str,
) -> Request:
    """Write a request; `resolve` gives its arguments, in the same transaction, or refuses."""
    with app.state.write() as tx:
        return tx.ask(action, resolve(tx), reason, actor)


def wait_for(
    app: Application,
    id: int,
    *,
    progress: TimedProgress = silent,
    waiting: Callable[[], None] = lambda: None,
) -> Request:
    """The answered request; carries it out in this process as soon as no other process leads.

    `waiting` is called at every check while another process leads.
    """
    if not clock_is_set(app.now()):
        raise TryLater(
            f"the clock reads {app.now():%Y-%m-%d}, so it has not been set", "set it, then ask again"
        )
    while True:
        with app.state.read() as tx:
            found = tx.request(id)
        if found.state in ENDED:
            return found
        with ExitStack() as stack:
            try:
                leadership = stack.enter_context(app.leading())
            except (HomeInUse, LeaseHeld):
                waiting()
                time.sleep(LOOK_S)
                continue
            desk = Desk(app, leadership, progress)
            while (request := desk.next(only=id)) is not None:
                desk.carry_out(request)


def notify_servers_unless_led(app: Application) -> bool:
    """Notify the servers of what is live now; False if another process leads, which then does it."""
    with ExitStack() as stack:
        try:
            leadership = stack.enter_context(app.leading())
        except (HomeInUse, LeaseHeld):
            return False
        notify_servers(app, leadership, asked=True)
        return True


class Desk:
    """Carries out requests, as leader."""

    def __init__(self, app: Application, leadership: Leadership, progress: TimedProgress = silent) -> None:
        self.app, self.leadership, self.progress = app, leadership, progress
        self._looked = 0.0

    def next(self, only: int | None = None) -> Request | None:
        """The most urgent open request, the oldest of these first; `only`: only urgent ones and this one."""
        with self.app.state.read() as tx:
            found = [one for one in tx.open_requests() if only is None or one.id == only or _urgency(one)]
        return min(found, key=lambda one: (-_urgency(one), one.id), default=None)

    def carry_out(self, request: Request) -> bool:
        """Carry one request out and answer it; False if it was interrupted and waits again.

        Raises Stopping at SIGTERM, StaleLeader, and StateError if the answer cannot be written.
        """
        with self.leadership.write() as tx:
            request = tx.begin_request(request.id, ACTOR)
        try:
            with self.interruptible(_urgency(request)), self.app.state.on_behalf_of(request.asked_by):
                answer = self._act(request)
        except (Interrupted, Stopping) as error:
            with self.leadership.write() as tx:
                tx.postpone_request(request.id, ACTOR)
            if isinstance(error, Stopping):
                raise
            return False
        except StaleLeader:
            raise
        except EXPECTED as error:
            self._refuse(request, error)
            return True
        except Exception as error:
            self._refuse(request, error)
            raise
        with self.leadership.write() as tx:
            tx.answer_request(request.id, "done", answer, ACTOR)
        log.info("request.done", request=request.id, action=request.action)
        return True

    @contextmanager
    def interruptible(self, urgency: int = 0) -> Iterator[None]:
        """Within the block, a waiting request that is more urgent raises Interrupted at the next safe point."""
        before = self.app.safe_point

        def look() -> None:
            if time.monotonic() - self._looked < LOOK_S:
                return
            self._looked = time.monotonic()
            with self.app.state.read() as tx:
                waiting = [one for one in tx.open_requests() if _urgency(one) > urgency]
            if waiting:
                raise Interrupted(f"interrupted for request {waiting[0].id} ({waiting[0].action})")

        self.app.safe_point = look
        try:
            yield
        finally:
            self.app.safe_point = before

    def _act(self, request: Request) -> Mapping[str, Any]:
        if request.attempts > MOST_ATTEMPTS:
            raise KbsyncError(
                f"request {request.id} was given up: {MOST_ATTEMPTS} processes ended while they carried it out",
                "see the log of the daemon",
            )
        action = ACTIONS.get(request.action)
        if action is None:
            raise KbsyncError(
                f"this version of kbsync cannot {request.action}", "use one version for daemon and commands"
            )
        arguments = json.loads(request.arguments)
        return action.carry_out(Errand(self.app, self.leadership, request, arguments, self.progress))

    def _refuse(self, request: Request, error: Exception) -> None:
        log.warning("request.refused", request=request.id, action=request.action, reason=str(error))
        answer = {
            "kind": type(error).__name__,
            "message": str(error),
            "advice": getattr(error, "advice", None),
        }
        with self.leadership.write() as tx:
            tx.answer_request(request.id, "refused", answer, ACTOR)


def _urgency(request: Request) -> int:
    action = ACTIONS.get(request.action)
    return action.urgency if action is not None else 0
