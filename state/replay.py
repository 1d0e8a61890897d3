"""The audit log replayed: what the tables must hold if only this program has written to them.

Each event says what happened (`fact.wanted`, `run.gates`, `checkpoint.promoted`) and seals the rows that were
written with it.  A replay keeps, of both, what came last; `table_proof.py` compares it with the tables.  What
may be millions of rows is kept in a temporary database on disk, so that memory does not follow the ledger.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, get_args

from state.hash_chain import canonical
from state.records import Decision
from state.seals import salted

FACT = "fact"
"""The kind under which the meaning of a fact's last event is kept (its seal is kept under `facts`)."""


@dataclass
class LoggedRun:
    """A run as its events describe it."""

    state: str
    view: str
    base: str
    trigger: str
    round: int = 1
    attempts: int = 0
    checkpoint: int | None = None
    rounds: dict[int, str] = field(default_factory=dict)
    """The view of each round."""
    gates: dict[int, dict[str, tuple[Any, ...]]] = field(default_factory=dict)
    """Of each round, by name: value, bound, threshold, n, passed."""


@dataclass
class LoggedCheckpoint:
    """A checkpoint as its events describe it."""

    run: int | None
    view: str
    base: str
    path: str
    digest: str
    status: str = "candidate"
    pinned: bool = False
    promotion: int | None = None
    collected: bool = False


@dataclass
class LoggedDeployment:
    """A row of the outbox as its events describe it."""

    promotion: int
    checkpoint: int
    hook: str
    state: str = "pending"
    attempts: int = 0


class Unlike(NamedTuple):
    """A row that is not what the log says."""

    key: str
    seal: str | None
    """As it is now; None: it is gone."""
    event: int | None
    """The last event about it; None: there is none."""


class Replay:
    """Takes events in order; a context manager, because of its temporary database."""

    def __init__(self) -> None:
        self.runs: dict[int, LoggedRun] = {}
        self.checkpoints: dict[int, LoggedCheckpoint] = {}
        self.deployments: dict[int, LoggedDeployment] = {}
        self.views: dict[str, int] = {}
        """Size by digest."""
        self.reduced: dict[str, str] = {}
        """Views of which facts were erased: the digest of what is left, by their own."""
        self.blocked: set[str] = set()
        self.decisions: dict[int, str] = {}
        self.leases: dict[str, tuple[str, int]] = {}
        self.paused = False
        self.instance: str | None = None
        """What the last restore named the ledger."""
        self.unknown: list[tuple[int, str]] = []
        """Events that no writer of ours can have made, by number, and why."""
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("PRAGMA journal_mode=OFF")
        self._database.execute("PRAGMA synchronous=OFF")
        self._database.execute(
            "CREATE TABLE logged (kind TEXT, key TEXT, seal TEXT, seq INTEGER, salt TEXT, "
            "PRIMARY KEY (kind, key)) WITHOUT ROWID"
        )
        self._database.create_function("salted", 2, _salted, deterministic=True)
        self._waiting: list[tuple[str, str, str | None, int, str | None]] = []

    def __enter__(self) -> Replay:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def event(self, row: Mapping[str, Any]) -> None:
        """The next event, as it lies in the table."""
        try:
            self._event(row)
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            self.unknown.append((row["seq"], f"{type(error).__name__}: {error}"))

    def _event(self, row: Mapping[str, Any]) -> None:
        seq, kind = row["seq"], row["kind"]
        if row["rows"] is not None:
            for name, seals in json.loads(row["rows"]).items():
                salt = row.get("seal_salt")
                self._waiting += [(name, key, seal, seq, salt) for key, seal in seals.items()]
        what, _, to = kind.partition(".")
        match what:
            case "fact":
                self._fact(row["fact"], to, json.loads(row["body"]), seq)
            case "run":
                self._run(row["run"], to, json.loads(row["body"]))
            case "attempt" if to == "started":
                self.runs[row["run"]].attempts += 1
            case "checkpoint":
                self._checkpoint(row["run"], to, json.loads(row["body"]))
            case "view":
                self._view(to, json.loads(row["body"]))
            case "deployments" | "deployment":
                self._deployment(to, json.loads(row["body"]))
            case "lease" if to == "acquired":
                body = json.loads(row["body"])
                self.leases[body["lease"]] = (row["actor"], body["generation"])
            case "subject" if to == "forgotten":
                self.reduced |= json.loads(row["body"])["views"]
            case "daemon" if to in ("paused", "resumed"):
                self.paused = to == "paused"
            case "ledger" if to == "restored":
                self.instance = json.loads(row["body"])["instance"]
        if len(self._waiting) > 50_000:
            self._flush()

    def unlike(self, kind: str, found: Iterable[tuple[str, str]]) -> list[Unlike]:
        """Rows that are not what the log says; `found`: key and seal of every row there is."""
        self._flush()
        database = self._database
        database.execute("CREATE TEMP TABLE found (key TEXT PRIMARY KEY, seal TEXT) WITHOUT ROWID")
        try:
            database.execute("BEGIN")
            database.executemany("INSERT OR REPLACE INTO found VALUES (?, ?)", found)
            database.execute("COMMIT")
            changed = database.execute(
                "SELECT found.key, found.seal, logged.seq FROM found LEFT JOIN logged "
                "ON logged.kind = ? AND logged.key = found.key "
                "WHERE logged.seal IS NOT salted(logged.salt, found.seal)",
                (kind,),
            ).fetchall()
            gone = database.execute(
                "SELECT key, NULL, seq FROM logged WHERE kind = ? AND seal IS NOT NULL "
                "AND key NOT IN (SELECT key FROM found)",
                (kind,),
            ).fetchall()
        finally:
            if database.in_transaction:
                database.execute("ROLLBACK")
            database.execute("DROP TABLE IF EXISTS found")
        return [Unlike(*row) for row in (*changed, *gone)]

    def logged(self) -> Iterator[tuple[Any, ...]]:
        """Of every row that the log knows: table, key, seal, the event that sealed it, and the salt of that."""
        self._flush()
        yield from self._database.execute("SELECT kind, key, seal, seq, salt FROM logged ORDER BY kind, key")

    def continue_from(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Begin with rows as `logged` gave them."""
        self._database.execute("BEGIN")
        self._database.executemany("INSERT INTO logged VALUES (?, ?, ?, ?, ?)", rows)
        self._database.execute("COMMIT")

    def _flush(self) -> None:
        self._database.execute("BEGIN")
        self._database.executemany("INSERT OR REPLACE INTO logged VALUES (?, ?, ?, ?, ?)", self._waiting)
        self._database.execute("COMMIT")
        self._waiting.clear()

    def _fact(self, fact: int, to: str, body: Mapping[str, Any], seq: int) -> None:
        if "to" not in body:
            if to in get_args(Decision):
                self.decisions[fact] = to
            elif to == "reopened":
                self.decisions.pop(fact, None)
            return
        self._waiting.append((FACT, str(fact), meaning(body), seq, None))
        doubted = body["to"] == "quarantined" and body["from"] != "quarantined"
        if "decision" in body:
            self.decisions[fact] = body["decision"]
        elif doubted and self.decisions.get(fact) == "approved":
            del self.decisions[fact]

    def _run(self, id: int, to: str, body: Mapping[str, Any]) -> None:
        if to == "planned":
            view = body["view"]
            self.runs[id] = LoggedRun(to, view, body["base"], body["trigger"], rounds={1: view})
            return
        run = self.runs[id]
        if to == "gates":
            run.gates[run.round] = {gate["name"]: verdict(gate) for gate in body["gates"]}
        if "to" not in body:
            return
        run.state = to
        run.view = body.get("view", run.view)
        run.checkpoint = body.get("checkpoint", run.checkpoint)
        if "round" in body:
            run.round, run.checkpoint = body["round"], None
            run.rounds[run.round] = run.view

    def _checkpoint(self, run: int | None, to: str, body: Mapping[str, Any]) -> None:
        id = body["checkpoint"]
        if to == "created":
            self.checkpoints[id] = LoggedCheckpoint(
                run, body["view"], body["base"], body["path"], body["digest"]
            )
            return
        one = self.checkpoints[id]
        match to:
            case "promoted":
                one.status, one.promotion = "live", body["promotion"]
                self._outbox(body["promotion"], id, body["hooks"])
            case "retired" | "rejected":
                one.status = to
            case "pinned" | "unpinned":
                one.pinned = to == "pinned"
            case "collected":
                one.collected = True

    def _view(self, to: str, body: Mapping[str, Any]) -> None:
        match to:
            case "created":
                self.views[body["view"]] = body["size"]
            case "blocked":
                self.blocked.add(body["view"])
            case "released":
                self.blocked.discard(body["view"])

    def _deployment(self, to: str, body: Mapping[str, Any]) -> None:
        if to == "added":
            self._outbox(body["promotion"], body["checkpoint"], body["hooks"])
            return
        row = self.deployments[body["deployment"]]
        row.state = to
        row.attempts += to == "deploying"

    def _outbox(self, promotion: int, checkpoint: int, hooks: Iterable[str]) -> None:
        """Rows are numbered as they come, like the table's."""
        for hook in dict.fromkeys(hooks):
            self.deployments[len(self.deployments) + 1] = LoggedDeployment(promotion, checkpoint, hook)


def _salted(salt: str | None, seal: str | None) -> str | None:
    return None if seal is None else salted(salt, seal)


def meaning(fact: Mapping[str, Any]) -> str:
    """What a fact's event and its row must agree on."""
    names = ("to", "key", "source", "revision", "statement", "held_until")
    return canonical([fact.get(name) for name in names])


def verdict(gate: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a gate's event and its row must agree on: numbers that are none are null in the table."""
    value, bound = (None if isinstance(gate[name], str) else gate[name] for name in ("value", "bound"))
    return value, bound, gate["threshold"], gate["n"], gate["passed"]
