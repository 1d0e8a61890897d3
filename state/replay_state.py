"""A replay written down: what the tables have to be at an event, so that a later replay can begin there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from state.replay import LoggedCheckpoint, LoggedDeployment, LoggedRun, Replay

_PLAIN = ("views", "reduced", "paused", "instance")
"""Members of a replay that JSON carries as they are."""


def written(replay: Replay) -> Iterator[str]:
    """A line with everything small, then a line for each row that the log knows, in the order of table and key."""
    yield json.dumps(
        {
            **{name: getattr(replay, name) for name in _PLAIN},
            "runs": {id: asdict(run) for id, run in replay.runs.items()},
            "checkpoints": {id: asdict(one) for id, one in replay.checkpoints.items()},
            "deployments": {id: asdict(one) for id, one in replay.deployments.items()},
            "blocked": sorted(replay.blocked),
            "decisions": replay.decisions,
            "leases": replay.leases,
            "unknown": replay.unknown,
        }
    )
    yield from (json.dumps(row, separators=(",", ":")) for row in replay.logged())


def begin(replay: Replay, lines: Iterable[bytes]) -> None:
    """Have an empty replay begin with what `written` gave."""
    rest = iter(lines)
    small = json.loads(next(rest))
    for name in _PLAIN:
        setattr(replay, name, small[name])
    replay.runs = {int(id): _run(values) for id, values in small["runs"].items()}
    replay.checkpoints = {int(id): LoggedCheckpoint(**one) for id, one in small["checkpoints"].items()}
    replay.deployments = {int(id): LoggedDeployment(**one) for id, one in small["deployments"].items()}
    replay.blocked = set(small["blocked"])
    replay.decisions = {int(id): decision for id, decision in small["decisions"].items()}
    replay.leases = {name: (holder, number) for name, (holder, number) in small["leases"].items()}
    replay.unknown = [(seq, why) for seq, why in small["unknown"]]
    replay.continue_from(tuple(json.loads(line)) for line in rest)


def _run(values: Mapping[str, Any]) -> LoggedRun:
    rounds = {int(number): view for number, view in values["rounds"].items()}
    gates = {
        int(number): {name: tuple(verdict) for name, verdict in of.items()}
        for number, of in values["gates"].items()
    }
    return LoggedRun(**{**values, "rounds": rounds, "gates": gates})
