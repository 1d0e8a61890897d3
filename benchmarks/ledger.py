"""What the ledger alone costs a slot, as it grows: entity, slot, observation, fact, event and chain.

    python -m benchmarks.ledger [--slots N] [--url URL]

Each step of 1,000 slots is one transaction, as a source's poll commits it: first imported, then
changed at random places. Printed are slots a second by this process's CPU time and by the clock, and
the bytes written to the device for each (SQLite).  `benchmarks/sources.py` measures the same with
admission on top.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from state import State
from state.records import Move, NewFact, Slot, StoredEntity, StoredObservation

STEP = 1_000
CHANGED = 10_000
NOW = datetime(2024, 1, 1, tzinfo=UTC)
TEMPLATE = "The head of government of {} is"


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--slots", type=int, default=100_000)
    options.add_argument(
        "--url", help="a PostgreSQL database to fill; default: SQLite in a temporary directory"
    )
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        state = State.open(chosen.url or f"sqlite:///{Path(directory) / 'ledger.db'}")
        state.migrate()
        print("| slots | step | /s CPU | /s wall | kB written a slot |\n|--:|---|--:|--:|--:|")
        tenth = max(STEP, chosen.slots // 10)
        for first in range(0, chosen.slots, tenth):
            measure(
                first + tenth,
                "imported",
                lambda first=first: write(state, range(first, first + tenth), 1),
                tenth,
            )
        places = random.Random(1).sample(range(chosen.slots), min(CHANGED, chosen.slots))
        measure(chosen.slots, "changed", lambda: write(state, places, 2), len(places))
        start = time.perf_counter()
        found = state.audit.verify()
        print(f"\n{found.count} events verified in {time.perf_counter() - start:.1f} s: {found.ok}")
        state.close()


def measure(size: int, name: str, work: Callable[[], None], slots: int) -> None:
    cpu, wall, written = time.process_time(), time.perf_counter(), bytes_written()
    work()
    cpu, wall, written = time.process_time() - cpu, time.perf_counter() - wall, bytes_written() - written
    print(
        f"| {size:,} | {name} | {slots / cpu:,.0f} | {slots / wall:,.0f} | {written / slots / 1000:.1f} |",
        flush=True,
    )


def bytes_written() -> int:
    """By this process to devices, as Linux counts; 0 elsewhere."""
    try:
        fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    except FileNotFoundError:
        return 0
    return int(fields["write_bytes"])


def write(state: State, numbers: Sequence[int], version: int) -> None:
    for start in range(0, len(numbers), STEP):
        write_step(state, numbers[start : start + STEP], version)


def write_step(state: State, numbers: Sequence[int], version: int) -> None:
    """What a poll commits: everything of these slots, their older facts and the cursor."""
    facts = [fact(number, version) for number in numbers]
    pairs = [(one.subject, one.relation) for one in facts]
    with state.write() as tx:
        tx.put_entities(StoredEntity(one.subject, one.subject_label) for one in facts)
        tx.put_slots(
            Slot(one.subject, one.relation, one.subject_label, TEMPLATE, one.prompt_key) for one in facts
        )
        tx.record([observation(one, version) for one in facts])
        older = [old for olds in tx.facts_of(pairs).values() for old in olds if old.status == "wanted"]
        tx.move_facts([Move(old.id, "superseded", "a newer value", "wanted") for old in older], "benchmark")
        tx.put_facts(facts, "benchmark")
        tx.set_cursor("benchmark", str(numbers[-1]))


def fact(number: int, version: int) -> NewFact:
    subject = f"wd:Q{number * 7919 % 10_000_019}"  # in no order, as ids are in a graph
    label = f"Label of {subject}"
    key = hashlib.sha256(label.encode()).hexdigest()
    object, target = f"wd:Q{version}", f"Person {version}"
    what = (subject, label, "wdt:P6", object, target, TEMPLATE, key)
    return NewFact(*what, "wanted", "settled", "benchmark", version, f"{subject}-1")


def observation(one: NewFact, version: int) -> StoredObservation:
    statements = f'[{{"id":"{one.statement}","object":"{one.object}","rank":"normal","references":2}}]'
    return StoredObservation("benchmark", one.subject, one.relation, version, NOW, NOW, statements)


if __name__ == "__main__":
    main()
