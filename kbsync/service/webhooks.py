"""Notifications in the form of Standard Webhooks 1.0.0: what happened, signed, sent at least once and in order.

The audit log is the outbox: an event is written in the transaction of what it reports, and a receiver's position in
the log moves on after its server has accepted the notification.  Whenever the process is killed, the next one sends
the same notification again under the same `webhook-id`.  Each receiver has a thread of its own, so that none waits for
another and no cycle waits for any.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog

from editing.errors import EditingError
from kbsync.application import Application
from kbsync.deployment.hooks import HookFailed
from kbsync.deployment.http import Server, require_ok
from kbsync.errors import BadConfiguration
from kbsync.service.webhook_position import Position
from kbsync.settings.webhooks import STALE, NotificationSettings
from state.errors import StateError
from state.hash_chain import instant
from state.instants import clock_is_set
from state.records import Event, Fact

log = structlog.get_logger()

LONGEST_WAIT = timedelta(hours=1)
SCANNED = 1_000
"""Events that are read from the log at once."""
GROUPED = 100
"""Events of one kind and one transaction that one notification reports."""
LOOK_S = 1.0
"""Seconds between two looks at the log."""
STOP_S = 2.0


@dataclass(frozen=True, slots=True)
class Notification:
    """One message to a receiver."""

    id: str
    """Unique, and the same at each attempt (`webhook-id`)."""
    kind: str
    body: bytes
    position: Position
    """Where the receiver is in the log after it."""


def signed_headers(keys: Sequence[bytes], id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of a notification: `v1` is HMAC-SHA256 of `id.timestamp.body`, once for each key."""
    message = f"{id}.{timestamp}.".encode() + body
    codes = (hmac.new(key, message, hashlib.sha256).digest() for key in keys)
    return {
        "Content-Type": "application/json",
        "User-Agent": "kbsync",
        "webhook-id": id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(code).decode()}" for code in codes),
    }


class Courier:
    """Sends notifications to one receiver."""

    def __init__(self, app: Application, name: str) -> None:
        self.app, self.name = app, name
        self.settings: NotificationSettings = app.settings.webhooks[name]
        self._file = app.home.webhook(name)

    def work(self, stop: threading.Event) -> None:
        """Send everything that is due, until there is nothing more or `stop` is set."""
        while not stop.is_set() and self.turn():
            pass

    def turn(self) -> bool:
        """Send the next notification if it is due; whether one was sent or left out, so that the next may be tried.

        A receiver that is new, or whose ledger was restored from a backup, hears of what happens from now on.
        """
        position = self.position()
        if position.due is not None and self.app.now() < position.due:
            return False
        found = self._next(position)
        if isinstance(found, Position):
            if found != position:
                found.write(self._file)
            return False
        return self._attempt(found, position)

    def position(self) -> Position:
        """How far this receiver is in the log."""
        with self.app.state.read() as tx:
            instance, head = tx.instance(), tx.head()
        newest = head.seq if head is not None else 0
        kept = Position.read(self._file)
        if kept is None or kept.instance != instance or kept.after > newest:
            kept = Position(instance, newest)
            kept.write(self._file)
        return kept.as_of(self.app.now())

    def send(self, notification: Notification) -> None:
        """One attempt; raises HookFailed and BadConfiguration."""
        timestamp = int(self.app.now().timestamp())
        headers = signed_headers(self.settings.keys(), notification.id, timestamp, notification.body)
        server = Server(self.settings.url, None, self.settings.timeout.total_seconds())
        require_ok(server.post(body=notification.body, headers=headers))

    def trial(self) -> Notification:
        """A notification of the kind `webhook.test`, which changes no position."""
        position = self.position()
        now = instant(self.app.now())
        return Notification(
            f"{position.instance}.test.{now}", "webhook.test", _body("webhook.test", now, {}), position
        )

    def _attempt(self, notification: Notification, position: Position) -> bool:
        now = self.app.now()
        try:
            self.send(notification)
        except (HookFailed, BadConfiguration) as error:
            failed = position.failed(str(error), now, self._wait(position.attempts))
            if now - (failed.since or now) < self.settings.give_up:
                log.warning("webhook.failed", webhook=self.name, attempt=failed.attempts, reason=str(error))
                failed.write(self._file)
                return False
            log.error("webhook.given_up", webhook=self.name, id=notification.id, reason=str(error))
        else:
            log.info("webhook.sent", webhook=self.name, id=notification.id, kind=notification.kind)
        notification.position.write(self._file)
        return True

    def _wait(self, attempts: int) -> timedelta:
        return min(LONGEST_WAIT, self.settings.backoff * (1 << min(attempts, 16)))

    def _next(self, position: Position) -> Notification | Position:
        """The next notification; or, if there is none, the position at which to look further."""
        stale = self._stale(position)
        if stale is not None:
            return stale
        while True:
            with self.app.state.read() as tx:
                events = tx.events(after=position.after, limit=SCANNED)
            wanted = [one for one in events if one.kind in self.settings.events]
            if wanted:
                return self._reporting(_same_transaction(wanted), position)
            if not events:
                return position
            position = position.at(events[-1].seq)

    def _reporting(self, events: Sequence[Event], position: Position) -> Notification:
        first = events[0]
        with self.app.state.read() as tx:
            facts = {fact.id: fact for fact in tx.facts(ids=[e.fact for e in events if e.fact is not None])}
        reported = [_reported(event, facts.get(event.fact or 0)) for event in events]
        body = _body(first.kind, instant(first.at), {"events": reported})
        return Notification(f"{position.instance}.{first.seq}", first.kind, body, position.at(events[-1].seq))

    def _stale(self, position: Position) -> Notification | None:
        """A source that became stale, and of which this receiver has not been notified since its last success."""
        if STALE not in self.settings.events or not clock_is_set(self.app.now()):
            return None
        with self.app.state.read() as tx:
            health = tx.source_health(self.app.settings.sources)
        for name, source in sorted(health.items()):
            last = source.succeeded
            if last is None or self.app.now() - last <= self.settings.stale:
                continue
            when = instant(last)
            if position.stale.get(name) != when:
                data = {"source": name, "last_success": when, "error": source.error}
                body = _body(STALE, instant(self.app.now()), data)
                id = f"{position.instance}.stale.{hashlib.sha256(name.encode()).hexdigest()[:12]}.{when}"
                return Notification(id, STALE, body, position.noted(name, when))
        return None


def _reported(event: Event, fact: Fact | None) -> dict[str, Any]:
    """What a notification says about one event; the fact that it is about in words, if there is one."""
    words = None if fact is None else f"{fact.subject_label}, {fact.relation}: {fact.target}"
    return {
        "event": event.seq,
        "actor": event.actor,
        "run": event.run,
        "fact": event.fact,
        "statement": words,
        "details": json.loads(event.body),
    }


def _body(kind: str, at: str, data: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "timestamp": at, "data": data}).encode("ascii")


def _same_transaction(events: Sequence[Event]) -> list[Event]:
    """The first event, and those after it of its kind and instant: a transaction's are reported together."""
    first = events[0]
    same = []
    for event in events[:GROUPED]:
        if (event.kind, event.at) != (first.kind, first.at):
            break
        same.append(event)
    return same


@contextmanager
def delivering(app: Application) -> Iterator[None]:
    """Send notifications for the duration of the block, a thread for each receiver.

    What is being sent when the block ends is given a moment, and sent again by the next process otherwise.
    """
    stop = threading.Event()
    with ExitStack() as stack:
        threads = []
        for name in app.settings.webhooks:
            own = stack.enter_context(Application(app.home, app.settings, now=app.now))
            run = (Courier(own, name), stop)
            threads.append(threading.Thread(target=_deliver, args=run, name=f"webhook-{name}", daemon=True))
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join(STOP_S)


def _deliver(courier: Courier, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            courier.work(stop)
        except (StateError, EditingError, OSError) as error:
            log.error("webhook.waits", webhook=courier.name, reason=str(error))
            stop.wait(10 * LOOK_S)
        stop.wait(LOOK_S)
