"""The audit log told again from its beginning: what the tables must say if it is true.

State and event are written in one transaction, so a replay of the log and the tables can never
disagree, whatever was killed; the fault tests compare them after every accident.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from state import State
from state.ledger import Snapshot
from state.records import Event


@dataclass
class Told:
    facts: dict[int, str] = field(default_factory=dict)
    runs: dict[int, str] = field(default_factory=dict)
    checkpoints: dict[int, str] = field(default_factory=dict)
    deployments: dict[tuple[int, str], str] = field(default_factory=dict)
    blocked: set[str] = field(default_factory=set)
    live: int | None = None
    promotions: int = 0

    def event(self, event: Event) -> None:
        what, _, to = event.kind.partition(".")
        body = json.loads(event.body)
        match what:
            case "fact" if "to" in body:
                self.facts[event.fact] = body["to"]
            case "run" if to not in ("gates", "scope"):
                self.runs[event.run] = to
            case "checkpoint" if to == "promoted":
                self.live = body["checkpoint"]
                self.checkpoints[self.live] = "live"
                self.promotions = body["promotion"]
                self.deployments.update({(self.promotions, hook): "pending" for hook in body["hooks"]})
            case "checkpoint" if to in ("created", "retired", "rejected"):
                self.checkpoints[body["checkpoint"]] = "candidate" if to == "created" else to
            case "deployments":
                self.deployments.update({(body["promotion"], hook): "pending" for hook in body["hooks"]})
            case "deployment":
                promotion = max(number for number, hook in self.deployments if hook == body["hook"])
                if to == "superseded":
                    promotion = min(
                        number for (number, hook), state in self.deployments.items()
                        if hook == body["hook"] and state in ("pending", "deploying", "failed")
                    )  # fmt: skip
                self.deployments[promotion, body["hook"]] = to
            case "view" if to in ("blocked", "released"):
                (self.blocked.add if to == "blocked" else self.blocked.discard)(body["view"])


def tables(tx: Snapshot) -> Told:
    live = tx.live()
    return Told(
        {fact.id: fact.status for fact in tx.facts()},
        {run.id: run.state for run in tx.runs()},
        {one.id: one.status for one in tx.checkpoints()},
        {(one.promotion, one.hook): one.state for one in tx.deployments()},
        {block.view for block in tx.blocked_views()},
        None if live is None else live.id,
        max((one.promotion or 0 for one in tx.checkpoints()), default=0),
    )


def check(state: State) -> None:
    """The chain verifies, the log and the tables tell the same, and Eqn. 5 holds."""
    found = state.audit.verify()
    assert found.ok, found.reason
    with state.read() as tx:
        told = Told()
        for event in tx.events():
            told.event(event)
        assert told == tables(tx)
        wanted = [(fact.subject, fact.relation) for fact in tx.wanted()]
    assert len(wanted) == len(set(wanted))
