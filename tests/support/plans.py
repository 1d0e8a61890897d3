"""How the database answers the statements that are sent to it: whether one reads a growing table from end to end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, event

GROWING = (
    "facts",
    "events",
    "slots",
    "observations",
    "readings",
    "renderings",
    "entities",
    "view_facts",
    "views",
    "base_answers",
    "probes",
    "runs",
    "rounds",
    "attempts",
    "gate_results",
    "checkpoints",
    "deployments",
    "requests",
)

SMALL = ("ix_checkpoints_kept",)
"""Indexes of a few rows."""

Sent = tuple[str, Any]
"""A statement and its parameters."""


@contextmanager
def listening(to: Connection | type[Engine]) -> Iterator[list[Sent]]:
    """The statements that are sent meanwhile, over one connection or over all."""
    sent: list[Sent] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        sent.append((statement, parameters))

    event.listen(to, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(to, "before_cursor_execute", note)


def plans(connection: Connection, sent: Sequence[Sent]) -> list[str]:
    """The plan of every statement, a line each step."""
    run = connection.exec_driver_sql
    is_sqlite = connection.dialect.name == "sqlite"
    if not is_sqlite:
        run("SET LOCAL enable_seqscan = off")  # in a small table it is the cheapest, whatever there is
    return [
        f"{row[3] if is_sqlite else row[0]} <- {statement}"
        for statement, parameters in sent
        for row in run(f"EXPLAIN {'QUERY PLAN ' if is_sqlite else ''}{statement}", parameters)
    ]


def walks(plan: str, *, counted: bool = False) -> bool:
    """Whether a step reads a growing table from end to end; where `counted`, an index may be."""
    step, _, statement = plan.partition(" <- ")
    step = step.strip()
    if any(f"USING INDEX {index}" in step for index in SMALL):
        return False
    outer = statement.rpartition("FROM")[2]
    if "WHERE" not in outer and "LIMIT" in outer:
        return False  # the first rows in the order of an index
    if "max(" in statement and "WHERE" not in statement:
        return False  # the last entry of an index
    for name in GROWING:
        if f"{step} ".startswith(f"SCAN {name} "):
            return not (counted and "COVERING INDEX" in step)
        if f"{step} ".startswith(f"Seq Scan on {name} ") or f"->  Seq Scan on {name} " in step:
            return True
    return False
