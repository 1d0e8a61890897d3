"""What live was edited with that follows from facts and is in no source."""

from __future__ import annotations

import json
from dataclasses import dataclass

from editing.requests import prompt_key
from state import Snapshot
from state.records import Checkpoint

_WHOLE = {"kind", "prompt", "target", "parents"}
"""Members of a statement in the event from which nothing was erased."""


@dataclass(frozen=True, slots=True)
class Derived:
    """One statement, and the facts that it follows from."""

    kind: str
    prompt: str
    target: str
    parents: tuple[int, ...]


def derived_in(tx: Snapshot, live: Checkpoint | None) -> tuple[Derived, ...]:
    """Everything derived that `live` was edited with."""
    if live is None:
        return ()
    last = tx.run(live.run).round
    bodies = (json.loads(event.body) for event in tx.events(run=live.run, kind="run.derived"))
    return tuple(
        Derived(one["kind"], one["prompt"], one["target"], tuple(one["parents"]))
        for body in bodies
        if body.get("round") == last
        for one in body.get("derived", ())
        if one.keys() >= _WHOLE
    )


def about(derived: tuple[Derived, ...], prompt: str, facts: frozenset[int]) -> tuple[Derived, ...]:
    """What `prompt` asks for, and what follows from one of `facts`."""
    key = prompt_key(prompt)
    return tuple(one for one in derived if prompt_key(one.prompt) == key or not facts.isdisjoint(one.parents))
