"""Requests: what an operator asks of whoever leads.

A command writes one row and waits for its answer.  The leader carries it out, at least once: a request
that was begun by a process that died is begun again by the next leader.  It is answered exactly once.

    waiting ── working ── done         the answer is what the action returned
       ↑  │       │ └──── refused      the answer says why
       │  │       └─ back to waiting: something more urgent came first
       │  └──────── withdrawn          by an operator, before anybody began it
       └ asked
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from state.errors import ForbiddenTransition, NotFound, StaleTransition
from state.hash_chain import canonical
from state.records import Request, RequestState
from state.tables import Requests, table
from state.transaction import NewEvent, Reader, Writer, columns_of

REQUESTS = table(Requests)
_REQUEST = columns_of(REQUESTS, Request)

REQUEST_NEXT: dict[RequestState, tuple[RequestState, ...]] = {
    "waiting": ("working", "refused", "withdrawn"),
    "working": ("done", "refused", "waiting"),
    "done": (),
    "refused": (),
    "withdrawn": (),
}
"""Where a request may go from each state."""

OPEN_REQUESTS: tuple[RequestState, ...] = ("waiting", "working")


class RequestQueries(Reader):
    def request(self, id: int) -> Request:
        """Raises NotFound."""
        row = self._row(select(*_REQUEST).where(REQUESTS.c.id == id))
        if row is None:
            raise NotFound("request", id)
        return Request(*row)

    def requests(self, limit: int | None = None) -> tuple[Request, ...]:
        """Newest first."""
        rows = self._rows(select(*_REQUEST).order_by(REQUESTS.c.id.desc()).limit(limit))
        return tuple(Request(*row) for row in rows)

    def open_requests(self) -> tuple[Request, ...]:
        """Requests without an answer, oldest first."""
        still_open = REQUESTS.c.state.in_(OPEN_REQUESTS)
        rows = self._rows(select(*_REQUEST).where(still_open).order_by(REQUESTS.c.id))
        return tuple(Request(*row) for row in rows)


class RequestTransitions(RequestQueries, Writer):
    def ask(self, action: str, arguments: Mapping[str, Any], reason: str, actor: str) -> Request:
        """A new request; or the one that asks for the same and is still waiting.

        A command that was killed and is started again therefore does not ask twice.
        """
        text = canonical(arguments)
        for one in self.open_requests():
            if (one.action, one.arguments, one.state) == (action, text, "waiting"):
                return one
        id, now = self._next_id(REQUESTS), self.clock()
        made = Request(id, action, text, reason, actor, "waiting", 0, "{}", now, now, self.identity)
        self._insert(REQUESTS, [{column.name: getattr(made, column.name) for column in _REQUEST}])
        body = {"request": id, "action": action, "arguments": arguments, "reason": reason}
        self._log(actor, [NewEvent("request.asked", body)])
        return made

    def begin_request(self, id: int, actor: str) -> Request:
        """The leader takes it up, for the first time or after its predecessor died; counts the attempts."""
        old = self.request(id)
        if old.state != "working":
            self._check(old, "working")
        return self._move(old, "working", actor, attempts=old.attempts + 1)

    def postpone_request(self, id: int, actor: str) -> Request:
        """Something more urgent came first: it waits again, and this attempt does not count."""
        old = self.request(id)
        self._check(old, "waiting")
        return self._move(old, "waiting", actor, attempts=max(0, old.attempts - 1))

    def answer_request(self, id: int, to: RequestState, answer: Mapping[str, Any], actor: str) -> Request:
        """The end of a request, `done` or `refused`, with what its command prints.

        Raises ForbiddenTransition where it has ended already.
        """
        old = self.request(id)
        self._check(old, to)
        return self._move(old, to, actor, answer=canonical(answer))

    def withdraw_request(self, id: int, actor: str) -> Request:
        """Raises ForbiddenTransition where it was begun or has ended."""
        old = self.request(id)
        self._check(old, "withdrawn")
        return self._move(old, "withdrawn", actor)

    def _check(self, old: Request, to: RequestState) -> None:
        if to not in REQUEST_NEXT[old.state]:
            raise ForbiddenTransition("request", old.id, old.state, to, REQUEST_NEXT[old.state])

    def _move(self, old: Request, to: RequestState, actor: str, **values: Any) -> Request:
        values = {"state": to, "updated": self.clock(), **values}
        if not self._update(REQUESTS, (REQUESTS.c.id == old.id) & (REQUESTS.c.state == old.state), **values):
            raise StaleTransition("request", old.id, old.state, self.request(old.id).state, to)
        moved = self.request(old.id)
        body = {"request": old.id, "action": old.action, "from": old.state, "to": to}
        if "attempts" in values:
            body["attempt"] = moved.attempts
        if "answer" in values:
            body["answer"] = moved.answer
        self._log(actor, [NewEvent(f"request.{to}", body)])
        return moved
