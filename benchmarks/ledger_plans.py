"""How PostgreSQL executes the statements of a sync as the ledger grows.

    python -m benchmarks.ledger_plans [--slots N]

A ledger is filled, and a step of a poll and the look-ups of a reconcile are carried out on it, each statement with
EXPLAIN.  Written are the ways in which rows of large tables are found: a scan of a whole table would not do at ten
million slots.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks.ledger import fact, write
from state import State
from tests.support.postgres import running_postgres

LARGE = ("slots", "observations", "readings", "facts", "events", "entities")
RESULTS = Path("benchmarks/results")


@dataclass
class Plans:
    """The plan of each statement that is executed, by its text."""

    found: dict[str, Any] = field(default_factory=dict)

    def watch(self, engine: type[sa.Engine]) -> None:
        sa.event.listen(engine, "before_cursor_execute", self._explain)

    def _explain(
        self, connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
    ) -> None:
        if (
            statement.lstrip().upper().startswith(("SELECT", "UPDATE", "DELETE"))
            and statement not in self.found
        ):
            values = parameters[0] if many else parameters
            cursor.execute(f"EXPLAIN (FORMAT JSON) {statement}", values)
            self.found[statement] = cursor.fetchone()[0][0]["Plan"]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--slots", type=int, default=100_000)
    chosen = options.parse_args()
    with running_postgres() as url:
        state = State.open(url.replace("postgresql://", "postgresql+psycopg://"))
        state.migrate()
        write(state, range(chosen.slots), 1)
        engine = sa.create_engine(state.url)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("ANALYZE"))
        plans = Plans()
        plans.watch(sa.Engine)
        write(state, range(500), 2)
        pairs = [(one.subject, one.relation) for one in (fact(number, 2) for number in range(500))]
        with state.read() as tx:
            tx.watched_page("benchmark", 1_000, 1_000)
            tx.current(pairs)
            tx.facts_of(pairs)
            tx.slots(pairs)
            tx.random_slots("benchmark", 100, 1)
        state.close()
    report(chosen.slots, plans)


def report(slots: int, plans: Plans) -> None:
    rows = sorted(
        {
            (node["Relation Name"], node["Node Type"], node.get("Index Name", ""))
            for plan in plans.found.values()
            for node in nodes(plan)
            if node.get("Relation Name") in LARGE
        }
    )
    table = ["| table | how rows are found | index |", "|---|---|---|"]
    table += [f"| {relation} | {kind} | {index} |" for relation, kind, index in rows]
    whole = [relation for relation, kind, _ in rows if kind == "Seq Scan"]
    text = (
        f"{slots:,} slots, {len(plans.found)} statements; tables read whole: {', '.join(whole) or 'none'}\n\n"
    )
    text += "\n".join(table) + "\n"
    print(text)
    (RESULTS / "ledger-plans.md").write_text(text)


if __name__ == "__main__":
    main()
