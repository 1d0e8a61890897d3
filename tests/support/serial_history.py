"""Whether a log could have been written by one command after the other.

`violations` reads the audit log in order, as a leader with one pair of hands would have written it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kbsync.runs.planning import WITHDRAWAL
from state.records import Event

ENDS = ("request.done", "request.refused", "request.withdrawn")
TAKEN_UP = {"rollback": "rollback", "approve": "approve-run", "sync": "sync"}
"""The action of the request that a command leaves; the other commands write by themselves."""
UNASKED = ("schedule", WITHDRAWAL, "test")
"""What plans runs although nobody asked: the daemon's cycle, twice where something was withdrawn, and a test that
prepares a world."""
WRITES = {
    "pause": "daemon.paused",
    "resume": "daemon.resumed",
    "retract": "fact.rejected",
    "release": "view.released",
}
"""The event that a command writes by itself."""


@dataclass(frozen=True)
class Asked:
    """One command of a schedule."""

    word: str
    """What it was: a key of `TAKEN_UP` or `WRITES`."""
    reason: str
    """Its own, by which its events are found; empty for commands that take none."""
    code: int | None
    """Its exit code; -9 where it was killed."""
    after: tuple[str, ...]
    """Reasons of the commands that had ended by themselves when this one was started.

    What a killed command asked for is carried out later.
    """


@dataclass
class _Reading:
    """What is known after some of the events."""

    found: list[str] = field(default_factory=list)
    working: dict[int, str] = field(default_factory=dict)
    """Requests that somebody has in hand, and their actions."""
    begun: dict[int, int] = field(default_factory=dict)
    """Request → number of the event with which it was taken up last."""
    rollbacks: dict[int, int] = field(default_factory=dict)
    """Request → how often something was promoted for it."""
    live: int | None = None
    paused: bool = False
    no_cycle_at_work: bool = False
    """Whether a pause found no scheduled cycle at work, or the cycle that it found is over."""


def violations(events: Iterable[Event]) -> list[str]:
    """What no history of one command after the other would have written; nothing where there is none."""
    seen = _Reading()
    for event in events:
        _read(event, json.loads(event.body), seen)
    if seen.working:
        seen.found.append(f"in hand for ever: {seen.working}")
    return seen.found


def _read(event: Event, body: Mapping[str, Any], seen: _Reading) -> None:
    kind = event.kind
    if kind == "lease.acquired":
        # Whoever led before is dead: what it had in hand is begun again, and no cycle of it goes on.
        seen.working.clear()
        seen.no_cycle_at_work = True
    elif kind == "request.working":
        if seen.working:
            seen.found.append(f"event {event.seq} begins request {body['request']} beside {seen.working}")
        seen.working[body["request"]] = body["action"]
        seen.no_cycle_at_work = True
        seen.begun[body["request"]] = event.seq
    elif kind in ("request.waiting", *ENDS):
        if seen.working.pop(body["request"], None) is None and kind in ("request.waiting", "request.done"):
            seen.found.append(f"event {event.seq} ends a request that nobody had in hand")
    elif kind in ("daemon.paused", "daemon.resumed"):
        seen.paused, seen.no_cycle_at_work = kind == "daemon.paused", bool(seen.working)
    elif kind == "run.planned":
        _planned(event, body, seen)
    elif kind == "run.staged" and body["from"] == "awaiting_review":
        if "approve-run" not in seen.working.values():
            seen.found.append(f"event {event.seq} approves a run that nobody approved")
    elif kind == "checkpoint.promoted":
        _promoted(event, body, seen)


def _planned(event: Event, body: Mapping[str, Any], seen: _Reading) -> None:
    if not seen.working and body["trigger"] not in UNASKED:
        seen.found.append(f"event {event.seq} plans a run for {body['trigger']}, which nobody has in hand")
    # The cycle that was at work when the daemon was paused is finished, with all its runs; none is begun.
    if body["trigger"] == "schedule" and seen.paused and seen.no_cycle_at_work:
        seen.found.append(f"event {event.seq} plans a scheduled run while the daemon is paused")


def _promoted(event: Event, body: Mapping[str, Any], seen: _Reading) -> None:
    if body["previous"] != seen.live:
        seen.found.append(f"event {event.seq} takes the place of {body['previous']}, but {seen.live} is live")
    seen.live = body["checkpoint"]
    if not body["reason"].startswith("rollback: "):
        return
    for request, action in seen.working.items():
        if action == "rollback":
            seen.rollbacks[request] = seen.rollbacks.get(request, 0) + 1
            if seen.rollbacks[request] > 1:
                seen.found.append(f"event {event.seq} carries request {request} out once more")
            return
    seen.found.append(f"event {event.seq} is a rollback that nobody had in hand")


def broken_promises(commands: Sequence[Asked], events: Sequence[Event]) -> list[str]:
    """Where a command's exit code and the log differ, or the log's order and the order of the commands."""
    found: list[str] = []
    begun, ended, done = _by_reason(events)
    asked = {json.loads(event.body)["reason"] for event in events if event.kind == "request.asked"}
    for one in commands:
        if not one.reason:
            continue
        # Where two ask for the same, they share one request and its reason; pausing twice writes one event.
        if one.code == 0 and one.reason not in done and (one.word == "retract" or one.reason in asked):
            found.append(f"{one.word} ({one.reason}) exited with 0, and the log does not say so")
        if one.word in WRITES and one.code not in (0, -9) and one.reason in done:
            found.append(f"{one.word} ({one.reason}) exited with {one.code}, and the log says it was done")
        for before in one.after:
            if one.reason in begun and before in ended and begun[one.reason] < ended[before]:
                found.append(f"{one.word} ({one.reason}) was begun before {before} had ended")
    return found


def _by_reason(events: Sequence[Event]) -> tuple[dict[str, int], dict[str, int], set[str]]:
    """When each command was begun last and when it ended, as numbers of events; and which were done."""
    reasons: dict[int, str] = {}
    begun: dict[str, int] = {}
    ended: dict[str, int] = {}
    done: set[str] = set()
    for event in events:
        body = json.loads(event.body)
        if event.kind == "request.asked":
            reasons[body["request"]] = body["reason"]
        elif event.kind == "request.working":
            begun[reasons[body["request"]]] = event.seq
        elif event.kind in ENDS:
            ended[reasons[body["request"]]] = event.seq
            if event.kind == "request.done":
                done.add(reasons[body["request"]])
        elif event.kind in WRITES.values() and body.get("reason"):
            begun[body["reason"]] = ended[body["reason"]] = event.seq
            done.add(body["reason"])
    return begun, ended, done
