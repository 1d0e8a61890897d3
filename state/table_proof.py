"""The tables compared with the replayed log: every row that is not what its events say, by name.

Two comparisons, since the log of an older version has no seals: what the events mean (a fact's status, a run's
state, a gate's verdict, which checkpoint is live), and the seals of the rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Select, Table, select

from state import seals
from state.records import Difference, fact_key
from state.replay import FACT, Replay, Unlike, meaning, verdict
from state.tables import (
    BlockedViews,
    Checkpoints,
    Deployments,
    Events,
    Facts,
    GateResults,
    Leases,
    Ledger,
    LedgerTable,
    Pauses,
    Rounds,
    Runs,
    Slots,
    ViewFacts,
    Views,
    table,
)

FACTS, SLOTS, RUNS, ROUNDS = table(Facts), table(Slots), table(Runs), table(Rounds)
GATES, CHECKPOINTS, DEPLOYMENTS = table(GateResults), table(Checkpoints), table(Deployments)
VIEWS, VIEW_FACTS, BLOCKED, EVENTS = table(Views), table(ViewFacts), table(BlockedViews), table(Events)
LEASES, LEDGER, PAUSES = table(Leases), table(Ledger), table(Pauses)

SEALED = tuple(source for source in LedgerTable.metadata.sorted_tables if seals.is_sealed(source))
"""Every table whose rows are sealed."""

_PAGE = 1_000
_MEANING = ("key", "source", "revision", "statement")
_KEY = ("subject", "relation", "object", "template", "subject_label", "target")


def differences(connection: Connection, replay: Replay) -> Iterator[Difference]:
    """Rows that are not what the log says, each once; nothing where tables and log agree."""
    for seq, why in replay.unknown:
        yield Difference("events", str(seq), f"kbsync cannot have written it ({why})")
    named: set[tuple[str, str]] = set()
    for compare in (_facts, _runs, _gates, _checkpoints, _deployments, _views, _sole_rows, _sealed):
        try:
            for difference in compare(connection, replay):
                if (difference.table, difference.key) not in named:
                    named.add((difference.table, difference.key))
                    yield difference
        except (ValueError, TypeError) as error:  # a column's type cannot read what lies in it
            yield Difference(
                compare.__name__.strip("_"), "?", f"a row that this program cannot have written: {error}"
            )


def _facts(connection: Connection, replay: Replay) -> Iterator[Difference]:
    """Status and provenance against the last event; what is edited, against the key, by computing it."""
    others: list[Difference] = []

    def found() -> Iterator[tuple[str, str]]:
        columns = (*FACTS.c, SLOTS.c.subject, SLOTS.c.relation)
        for fact in _rows(connection, select(*columns).join_from(FACTS, SLOTS).order_by(FACTS.c.id)):
            id = str(fact["id"])
            if fact_key(*(fact[name] for name in _KEY)) != fact["key"]:
                others.append(Difference("facts", id, "its text does not match its key"))
            decided = replay.decisions.get(fact["id"])
            # Before revision 0004 what a gate had barred was not decided; its migration wrote that down.
            if decided is not None or fact["decision"] != "barred":
                others.extend(_unlike("facts", id, {"decision": decided}, fact))
            yield id, meaning({**fact, "to": fact["status"]})

    for one in replay.unlike(FACT, found()):
        if one.seal is None or one.event is None:
            yield _bare("facts", one)
        else:
            yield from _fact(connection, one.key, one.event)
    yield from others


def _fact(connection: Connection, id: str, seq: int) -> Iterator[Difference]:
    """How one fact differs from its last event, number `seq`."""
    (row,) = _rows(connection, select(FACTS).where(FACTS.c.id == int(id)))
    text = connection.execute(select(EVENTS.c.body).where(EVENTS.c.seq == seq)).scalar()
    if text is None:
        yield Difference("facts", id, f"it does not match event {seq}, which is archived")
        return
    body = json.loads(text)
    logged = {"status": body["to"], **{name: body.get(name) for name in _MEANING}}
    stated = [*_unlike("facts", id, logged, row)]
    yield from stated or [Difference("facts", id, f"it does not match event {seq}")]


def _runs(connection: Connection, replay: Replay) -> Iterator[Difference]:
    logged = {
        str(id): {
            name: getattr(run, name)
            for name in ("state", "view", "base", "trigger", "round", "attempts", "checkpoint")
        }
        for id, run in replay.runs.items()
    }
    yield from _compared("runs", logged, {str(row["id"]): row for row in _rows(connection, select(RUNS))})
    rounds = {
        f"{id}/{number}": {"view": view}
        for id, run in replay.runs.items()
        for number, view in run.rounds.items()
    }
    found = {f"{row['run']}/{row['round']}": row for row in _rows(connection, select(ROUNDS))}
    yield from _compared("rounds", rounds, found)


def _gates(connection: Connection, replay: Replay) -> Iterator[Difference]:
    names = ("value", "bound", "threshold", "n", "passed")
    logged = {
        f"{id}/{round}/{name}": dict(zip(names, one, strict=True))
        for id, run in replay.runs.items()
        for round, gates in run.gates.items()
        for name, one in gates.items()
    }
    found = {
        f"{row['run']}/{row['round']}/{row['name']}": dict(zip(names, verdict(row), strict=True))
        for row in _rows(connection, select(GATES))
    }
    yield from _compared("gate_results", logged, found)


def _checkpoints(connection: Connection, replay: Replay) -> Iterator[Difference]:
    names = ("run", "view", "base", "path", "digest", "status", "pinned", "promotion", "collected")
    logged = {str(id): {name: getattr(one, name) for name in names} for id, one in replay.checkpoints.items()}
    found = {
        str(row["id"]): {**row, "collected": row["collected"] is not None}
        for row in _rows(connection, select(CHECKPOINTS))
    }
    yield from _compared("checkpoints", logged, found)
    blocked = {row["view"]: row for row in _rows(connection, select(BLOCKED))}
    yield from _compared("blocked_views", {view: {} for view in replay.blocked}, blocked)


def _deployments(connection: Connection, replay: Replay) -> Iterator[Difference]:
    names = ("promotion", "checkpoint", "hook", "state", "attempts")
    logged = {str(id): {name: getattr(one, name) for name in names} for id, one in replay.deployments.items()}
    yield from _compared(
        "deployments", logged, {str(row["id"]): row for row in _rows(connection, select(DEPLOYMENTS))}
    )


def _views(connection: Connection, replay: Replay) -> Iterator[Difference]:
    """Each view's digest, by computing it from the keys of its facts."""
    found = {row["digest"]: row for row in _rows(connection, select(VIEWS))}
    yield from _compared("views", {digest: {"size": size} for digest, size in replay.views.items()}, found)
    names = {row["id"]: digest for digest, row in found.items()}
    members = (
        select(VIEW_FACTS.c.view, FACTS.c.key)
        .join_from(VIEW_FACTS, FACTS)
        .order_by(VIEW_FACTS.c.view, FACTS.c.key)
    )
    seen = set()
    for view, rows in groupby(_rows(connection, members), itemgetter("view")):
        digest = hashlib.sha256()
        for row in rows:
            digest.update(f"{row['key']}\n".encode())
        seen.add(view)
        named = names.get(view)
        if replay.reduced.get(str(named), named) != digest.hexdigest():
            yield Difference(
                "view_facts", str(view), f"its facts are not those of view {str(names.get(view))[:12]}"
            )
    for id in names.keys() - seen:
        if names[id] != hashlib.sha256().hexdigest():
            yield Difference("view_facts", str(id), f"the facts of view {names[id][:12]} are gone")


def _sole_rows(connection: Connection, replay: Replay) -> Iterator[Difference]:
    """Who leads, whether the daemon is paused, and which ledger this is."""
    leases = {row["name"]: row for row in _rows(connection, select(LEASES))}
    logged = {
        name: {"holder": holder, "generation": number} for name, (holder, number) in replay.leases.items()
    }
    yield from _compared("leases", logged, leases)
    paused = {str(row["id"]): row for row in _rows(connection, select(PAUSES))}
    yield from _compared("pauses", {"1": {}} if replay.paused else {}, paused)
    if replay.instance is not None:
        ledger = {str(row["id"]): row for row in _rows(connection, select(LEDGER))}
        yield from _compared("ledger", {"1": {"instance": replay.instance}}, ledger)


def _sealed(connection: Connection, replay: Replay) -> Iterator[Difference]:
    """Every row of every table, against its last seal."""
    for source in SEALED:
        for one in unlike_seals(connection, replay, source):
            yield _bare(source.name, one)


def unlike_seals(connection: Connection, replay: Replay, source: Table) -> list[Unlike]:
    """The table's rows that are not as they were sealed last."""
    rows = connection.execute(seals.rows_of(source), execution_options={"yield_per": _PAGE})
    return replay.unlike(source.name, seals.sealed(rows, source))


def _rows(connection: Connection, statement: Select[Any]) -> Iterator[Mapping[str, Any]]:
    """The rows of a query, a page at a time."""
    for row in connection.execute(statement, execution_options={"yield_per": _PAGE}).mappings():
        yield dict(row)


def _compared(
    source: str, logged: Mapping[str, Mapping[str, Any]], found: Mapping[str, Mapping[str, Any]]
) -> Iterator[Difference]:
    """Rows by key: those that differ from the log, those that are gone, and those that the log does not know."""
    for key, values in logged.items():
        if key in found:
            yield from _unlike(source, key, values, found[key])
        else:
            yield Difference(source, key, "the row is gone")
    for key in found.keys() - logged.keys():
        yield _bare(source, Unlike(key, "", None))


def _unlike(
    source: str, key: str, logged: Mapping[str, Any], found: Mapping[str, Any]
) -> Iterator[Difference]:
    """The first column in which a row differs from the log."""
    for name, value in logged.items():
        if found[name] != value:
            yield Difference(source, key, f"{name} is {found[name]!r}; the log says {value!r}")
            return


def _bare(source: str, one: Unlike) -> Difference:
    if one.event is None:
        return Difference(source, one.key, "no event mentions this row")
    if one.seal is None:
        return Difference(source, one.key, "the row is gone")
    return Difference(source, one.key, f"the row is not the one that event {one.event} wrote")
