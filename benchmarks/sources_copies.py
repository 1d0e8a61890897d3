"""A ledger made many times as large by copying its rows under other names, for `benchmarks/sources.py`.

Importing a million slots takes minutes and is measured at a hundred thousand; what is measured at a million
is what a change costs then, and for that rows are rows.  Copies of subjects are called by another name, so
their prompts are prompts of their own, with the keys that they really have.
"""

from __future__ import annotations

from sqlalchemy import Connection, insert

from editing.requests import prompt_key, render
from state.ledger import State
from state.tables import Slots, table

SLOTS = table(Slots)
OWN_ENTITIES = "replace(id, '#', '') = id AND substr(id, 1, 2) <> 'o:'"
"""Subjects that are no copies; objects are shared by all copies."""

SHIFTED = {
    "observations": {"id": "observations", "slot": "slots"},
    "readings": {"id": "readings", "slot": "slots", "observation": "observations"},
}
"""Tables copied as they are, but for columns that are ids: shifted by the largest id of that table."""

OTHERS = {
    "observations": ("source", "revision", "modified", "observed", "statements", "repeats"),
    "readings": ("source", "revision"),
    "facts": (
        "object", "target", "template", "status", "reason", "source", "revision", "statement", "held_until",
        "priority", "decision", "created", "updated",
    ),
}  # fmt: skip


def multiply(state: State, times: int) -> None:
    """The ledger's slots, with their subjects and all that is known of them, `times` over."""
    with state.read() as tx:
        run = tx.connection.exec_driver_sql
        tops = {
            name: run(f"SELECT max(id) FROM {name}").scalar() or 0
            for name in ("slots", "observations", "readings", "facts")
        }
    for number in range(1, times):
        with state.write() as tx:
            _copy(tx.connection, number, tops)
    if state.url.get_backend_name() == "postgresql":
        with state.write() as tx:  # as autovacuum would after such an import
            tx.connection.exec_driver_sql("ANALYZE")


def _copy(connection: Connection, number: int, tops: dict[str, int]) -> None:
    run = connection.exec_driver_sql
    run(
        f"INSERT INTO entities (id, label, aliases, living) SELECT id || '#{number}', label || '#{number}', "
        f"aliases, living FROM entities WHERE {OWN_ENTITIES}"
    )
    _copy_slots(connection, number, tops["slots"])
    for name, ids in SHIFTED.items():
        shifted = [f"{column} + {number * tops[of]}" for column, of in ids.items()]
        columns, values = ", ".join((*ids, *OTHERS[name])), ", ".join((*shifted, *OTHERS[name]))
        run(f"INSERT INTO {name} ({columns}) SELECT {values} FROM {name} WHERE id <= {tops[name]}")
    others = OTHERS["facts"]
    run(
        f"INSERT INTO facts (id, key, slot, subject_label, prompt_key, {', '.join(others)}) "
        f"SELECT f.id + {number * tops['facts']}, f.key || '#{number}', s.id, s.subject_label, s.prompt_key, "
        f"{', '.join(f'f.{column}' for column in others)} "
        f"FROM facts f JOIN slots s ON s.id = f.slot + {number * tops['slots']} WHERE f.id <= {tops['facts']}"
    )


def _copy_slots(connection: Connection, number: int, top: int) -> None:
    """In Python, since a prompt's key is a digest of it."""
    rows = connection.exec_driver_sql(
        f"SELECT id, subject, relation, subject_label, template FROM slots WHERE id <= {top} "
        "AND prompt_key IS NOT NULL"
    ).fetchall()
    copies = []
    for row in rows:
        label = f"{row.subject_label}#{number}"
        copies.append(
            {
                "id": row.id + number * top,
                "subject": f"{row.subject}#{number}",
                "relation": row.relation,
                "subject_label": label,
                "template": row.template,
                "prompt_key": prompt_key(render(row.template, label)),
            }
        )
    connection.execute(insert(SLOTS), copies)
