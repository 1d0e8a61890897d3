"""A ledger of ten million slots on PostgreSQL: its size, and the plans and times of what kbsync asks it.

    python -m benchmarks.large_ledger [--slots N] [--data DIR]

The server of the tests makes the rows itself (`large_ledger_rows.py`).  Then the queries and transitions of a cycle, of
the review pages and of retention are carried out on it: each once with EXPLAIN for every statement, and once more for
the time.  Written are, for each, the statements, the seconds, and the large tables that were read whole.  `--data`
keeps the filled database, which takes a while to make.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks import large_ledger_rows
from benchmarks.ledger_plans import LARGE, Plans, nodes
from state import Snapshot, State
from state.event_queries import EventFilter
from state.fact_queries import FactFilter
from state.records import Move, NewFact, StoredObservation
from state.retention import InUse
from tests.support.postgres import running_postgres

RESULTS = Path(__file__).with_name("results")
TABLES = (*LARGE, "base_answers", "subtrees")
NOW = datetime(2025, 1, 1, tzinfo=UTC)
LONG_AGO = datetime(2023, 7, 1, tzinfo=UTC)
STEP = 500
"""Slots of one step of a poll."""
NOTHING = InUse(frozenset(), frozenset(), frozenset())
Question = Callable[[Snapshot], Any]


@dataclass(frozen=True)
class Asked:
    """One query or transition."""

    what: str
    statements: int
    seconds: float
    rows: int
    whole: tuple[str, ...]
    """Large tables that were read whole."""
    indexes: tuple[str, ...]


def cycle_questions(slots: int) -> dict[str, Question]:
    """What a cycle asks besides the statements of a step."""
    return {
        "the next 1,000 watched slots": lambda tx: tx.watched_page("wikidata", slots // 2, 1_000)[0],
        "100 slots by chance": lambda tx: tx.random_slots("crm", 100, 1),
        "names without a label": lambda tx: tx.unlabelled("", 500),
        "slots that are not rendered": lambda tx: tx.unrendered(["wdt:P1"], 500),
        "facts whose time has come": lambda tx: tx.due(NOW),
        "number of changes pending": lambda tx: [tx.count_pending(None)],
        "facts by status": lambda tx: tx.count_facts(),
        "the facts to plan with, capacity 1,000": lambda tx: (
            tx.wanted_to_plan(large_ledger_rows.BASE, None, 1_000).facts
        ),
    }


def page_questions(slots: int) -> dict[str, Question]:
    """What the review pages ask."""
    filters = {
        "all": FactFilter(),
        "held": FactFilter(status="held"),
        "of one source, in quarantine": FactFilter(source="crm", status="quarantined"),
        "of one relation, held": FactFilter(relation="wdt:P3", status="held"),
        "by the beginning of a label": FactFilter(label="Label of wd:Q79"),
        "of a subject": FactFilter(subject="wd:Q7919"),
    }
    events = {
        "newest": EventFilter(),
        "about runs": EventFilter(kind="run.promoted"),
        "about a subject": EventFilter(subject="wd:Q7919"),
        "of a day": EventFilter(since=LONG_AGO, until=LONG_AGO.replace(day=2)),
    }
    questions: dict[str, Question] = {
        f"page of facts, {name}": lambda tx, chosen=chosen: tx.facts_page(chosen, slots // 2).rows
        for name, chosen in filters.items()
    }
    questions |= {
        f"page of events, {name}": lambda tx, chosen=chosen: tx.events_page(chosen).rows
        for name, chosen in events.items()
    }
    questions["number of facts in quarantine"] = lambda tx: [tx.count_waiting()]
    questions["relations"] = lambda tx: tx.relations()
    return questions


def retention_questions() -> dict[str, Question]:
    """What retention asks."""
    return {
        "100,000 payloads to let go": lambda tx: list(islice(tx.expired_events(NOW, NOTHING), 100_000)),
        "statements that were replaced, of 200,000 slots": lambda tx: [
            pair for stretch in islice(tx.replaced_observations(NOW), 10) for pair in stretch
        ],
    }


def step(state: State, first: int, version: int) -> list[int]:
    """What a poll's step commits of `STEP` slots that state another value, except the cursor."""
    with state.read() as tx:
        pairs, _ = tx.watched_page("wikidata", first, STEP)
    with state.write() as tx:
        tx.slots(pairs)
        tx.current(pairs)
        tx.histories(pairs)
        facts = tx.facts_of(pairs)
        olds = [old for several in facts.values() for old in several if old.status == "wanted"]
        tx.record([_observation(old.source, old.subject, old.relation, version) for old in olds])
        tx.move_facts([Move(old.id, "superseded", "a newer value", "wanted") for old in olds], "benchmark")
        new = [
            NewFact(
                old.subject, old.subject_label, old.relation, f"wd:Q{version}", f"Person {version}",
                old.template, old.prompt_key, "wanted", "settled", old.source, version, f"{old.subject}-{version}",
            )
            for old in olds
        ]  # fmt: skip
        tx.put_facts(new, "benchmark")
    return [old.id for old in olds]


def _observation(source: str, subject: str, relation: str, version: int) -> StoredObservation:
    statements = f'[{{"id":"{subject}-{version}","object":"wd:Q{version}","rank":"normal","references":2}}]'
    return StoredObservation(source, subject, relation, version, NOW, NOW, statements)


def asked(what: str, work: Callable[[int], Any]) -> Asked:
    """Carries `work` out with plans, and again for the time; it is given 0 and 1."""
    with explained() as plans:
        work(0)
    begun = time.perf_counter()
    found = work(1)
    seconds = time.perf_counter() - begun
    used = [node for plan in plans.found.values() for node in nodes(plan)]
    whole = {
        node["Relation Name"]
        for node in used
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] in TABLES
    }
    indexes = {node["Index Name"] for node in used if "Index Name" in node}
    one = Asked(
        what, len(plans.found), round(seconds, 4), len(found), tuple(sorted(whole)), tuple(sorted(indexes))
    )
    print(json.dumps(asdict(one)), flush=True)
    return one


@contextmanager
def explained() -> Iterator[Plans]:
    """The plans of all statements within the block."""
    plans = Plans()
    sa.event.listen(sa.Engine, "before_cursor_execute", plans._explain)
    try:
        yield plans
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", plans._explain)


def sizes(url: str) -> dict[str, tuple[int, int, int]]:
    """Rows, bytes of the table and bytes of its indexes."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT relname, reltuples::bigint, pg_table_size(oid), pg_indexes_size(oid) FROM pg_class "
            "WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND reltuples > 1000 ORDER BY 3 DESC"
        )
        found = {name: tuple(sizes) for name, *sizes in rows}
    engine.dispose()
    return found


def measure(state: State, slots: int) -> dict[str, list[Asked]]:
    def reading(question: Question) -> Callable[[int], Any]:
        def work(_: int) -> Any:
            with state.read() as tx:
                return question(tx)

        return work

    groups = {
        "a cycle": cycle_questions(slots),
        "the pages": page_questions(slots),
        "retention": retention_questions(),
    }
    step_asked = asked(
        f"a poll's step: {STEP} slots changed",
        lambda number: step(state, slots // 3 + 10_000 * number, 10**9 + number),
    )
    found = {
        group: [asked(what, reading(question)) for what, question in questions.items()]
        for group, questions in groups.items()
    }
    found["a cycle"].insert(0, step_asked)
    return found


def tables(figures: dict[str, Any]) -> str:
    """Sizes and questions, in Markdown."""
    lines = ["| table | rows | GB | GB of indexes |", "|---|--:|--:|--:|"]
    for name, (rows, size, indexes) in figures["sizes"].items():
        lines.append(f"| `{name}` | {rows:,} | {size / 1e9:.2f} | {indexes / 1e9:.2f} |")
    total = [sum(one[at] for one in figures["sizes"].values()) / 1e9 for at in (1, 2)]
    lines += [f"| all | | {total[0]:.1f} | {total[1]:.1f} |", ""]
    lines += ["| question | statements | rows | ms | read whole |", "|---|--:|--:|--:|---|"]
    for group, several in figures["asked"].items():
        for one in several:
            whole = ", ".join(f"`{name}`" for name in one["whole"]) or "–"
            lines.append(
                f"| {group}: {one['what']} | {one['statements']} | {one['rows']:,} | "
                f"{one['seconds'] * 1e3:,.0f} | {whole} |"
            )
    return "\n".join(lines) + "\n"


def run(slots: int, data: Path) -> dict[str, Any]:
    data.mkdir(parents=True, exist_ok=True)
    with running_postgres(data) as plain:
        url = plain.replace("postgresql://", "postgresql+psycopg://")
        state = State.open(url)
        filled = data / "filled.json"
        if not filled.exists():
            state.migrate()
        seconds = large_ledger_rows.fill(url, slots, filled)
        found = measure(state, slots)
        state.close()
        return {
            "slots": slots,
            "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
            "filled": seconds,
            "sizes": sizes(url),
            "asked": {group: [asdict(one) for one in several] for group, several in found.items()},
        }


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--slots", type=int, default=10_000_000)
    options.add_argument("--data", type=Path, help="a directory that keeps the filled database")
    options.add_argument("--out", type=Path, default=RESULTS)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="kbsync-large-") as directory:
        figures = run(chosen.slots, chosen.data or Path(directory))
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "large-ledger.json").write_text(json.dumps(figures) + "\n", encoding="utf-8")
    text = f"{figures['slots']:,} slots, {figures['machine']}\n\n{tables(figures)}"
    (chosen.out / "large-ledger.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
