"""What the ledger side of a source costs as the ledger grows: pulling, admitting, checking for conflicts.

    python -m benchmarks.sources [--quick] [--postgres | --url URL] [--sizes N,N,…] [--name NAME]

A ledger is filled with slots through the real intake, as a first import (a million of them from copies
of the first hundred thousand: the same rows under other names), and measured at each size: a poll of
10,000 changed slots of 1,000 subjects all over the ledger (new values, all accepted), the same poll when nothing
changed (what pulling alone costs), and incoming facts, half of whose labels make prompts that the ledger
already has (each is a conflict found on both sides; 100,000 of them at the last size).  What a change
costs must not grow with the ledger: at a million slots it may take twice as long as at ten thousand.
Writes a table, JSON and a plot to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.sources_copies import multiply
from connectors.observations import Entity, Health, Observation, Poll, Statement, Triple
from kbsync.admission.policy import Policy
from kbsync.catalogue.relations import Catalogue, load_catalogue
from kbsync.intake.pull import Intake
from state.ledger import State

RESULTS = Path(__file__).with_name("results")
START = datetime(2024, 1, 1, tzinfo=UTC)
SIZES = (10_000, 100_000, 1_000_000)
QUICK = (1_000, 2_000, 10_000)
QUICK_THROUGH_INTAKE = 2_000
STEP = 2_000
"""Observations in one committed step of a poll."""
A_SUBJECT = 10
"""Slots of one subject: a million slots are 100,000 watched subjects."""
THROUGH_INTAKE = 100_000
"""Slots that are filled in through the intake; the rest are copies of their rows."""

OBJECTS = 20_000
"""Distinct objects, so that labels and look-ups are shared as they are in a real graph."""


@dataclass(frozen=True)
class Rate:
    """Slots a second: of this process's CPU time, which a busy machine does not blur, and of the clock's."""

    cpu: float
    wall: float


@dataclass(frozen=True)
class Row:
    """Figures at one size of the ledger."""

    slots: int
    subjects: int
    filled: Rate | None
    """None where rows were copied."""
    changed: Rate
    unchanged: Rate
    conflicts: Rate
    conflicts_found: int
    rss_mb: float
    peak_mb: float
    database_mb: float


class Stopwatch:
    def __init__(self) -> None:
        self.cpu, self.wall = time.process_time(), time.perf_counter()

    def rate(self, slots: int) -> Rate:
        return Rate(slots / (time.process_time() - self.cpu), slots / (time.perf_counter() - self.wall))


class Numbers:
    """A source of made-up slots: slot n belongs to subject n // A_SUBJECT and has one value.

    Slots from `copied` on are copies of the first ones, under other names.
    """

    def __init__(self, name: str, catalogue: Catalogue, copied: int = 10**9) -> None:
        self.name, self.copied = name, copied
        usable = [r for r in catalogue.enabled() if r.subject_type != "human"]
        self.relations = [relation.id for relation in usable[:A_SUBJECT]]
        self.queue: list[tuple[Sequence[int], int, str]] = []

    def tell(self, slots: Sequence[int], revision: int, label: str = "Subject") -> None:
        """The next poll holds `slots` at `revision`; subjects are called `label` and their number."""
        self.queue.append((slots, revision, label))

    def poll(self, cursor: str | None) -> Iterator[Poll]:
        slots, revision, label = self.queue.pop(0)
        for first in range(0, len(slots), STEP):
            part = slots[first : first + STEP]
            yield Poll(tuple(self._observation(n, revision, label) for n in part), f"{revision}:{part[-1]}")

    def _observation(self, n: int, revision: int, label: str) -> Observation:
        copy, n = divmod(n, self.copied)
        number, tag = n // A_SUBJECT, f"#{copy}" if copy else ""
        subject = Entity(f"{self.name}:{number}{tag}", f"{label} {number}{tag}", (f"S{number}",), False)
        chosen = (n * 7 + revision * 13) % OBJECTS
        value = Entity(f"o:{chosen}", f"Object {chosen}", (f"O{chosen}",), False)
        statements = (Statement(f"{n}-{revision}", "entity", value, references=1),)
        modified = START - timedelta(days=400) + timedelta(days=revision)
        return Observation(
            self.name, subject, self.relations[n % A_SUBJECT], statements, revision, modified, START
        )

    def snapshot(self, slots: Iterable[tuple[str, str]]) -> Iterator[Poll]:
        raise NotImplementedError("this source is only polled")

    def neighbours(self, relation: str, object_id: str | None, limit: int) -> tuple[Triple, ...]:
        return ()

    def facts_of(self, subject_id: str, limit: int) -> tuple[Triple, ...]:
        return ()

    def check(self) -> Health:
        return Health(True, "made up")

    def close(self) -> None:
        return None


class Bench:
    """One ledger that grows, and the measurements on it."""

    def __init__(self, state: State, changes: int, through_intake: int = THROUGH_INTAKE) -> None:
        self.state, self.changes, self.through_intake = state, changes, through_intake
        self.catalogue = load_catalogue()
        self.source = Numbers("kb", self.catalogue, through_intake)
        self.policy = Policy(max_accepted=10**9)
        self.size = 0
        self.revision = 1
        self.strangers = 0

    def grow(self, size: int) -> Rate:
        """Fill the ledger up to `size`."""
        added = range(self.size, size)
        self.source.tell(added, 1)
        self.size = size
        return self._pull(len(added), bootstrap=True)

    def copy(self, size: int) -> None:
        """Multiply the ledger's rows to `size` slots."""
        multiply(self.state, size // self.size)
        self.size = size

    def measure(self, size: int, incoming: int) -> Row:
        copied = size > self.through_intake
        filled = None if copied else self.grow(size)
        if copied:
            self.copy(size)
        changed, part = self.change()
        self.source.tell(part, self.revision)
        unchanged = self._pull(len(part))
        conflicts, found = self._conflicts(min(incoming, size))
        return Row(
            slots=size,
            subjects=size // A_SUBJECT,
            filled=filled,
            changed=changed,
            unchanged=unchanged,
            conflicts=conflicts,
            conflicts_found=found,
            rss_mb=_rss_mb(),
            peak_mb=_peak_mb(),
            database_mb=self._database_mb(),
        )

    def change(self) -> tuple[Rate, list[int]]:
        """Poll slots with new values; returns also which."""
        self.revision += 1
        part = self._all_over()
        self.source.tell(part, self.revision)
        return self._pull(len(part)), part

    def _all_over(self) -> list[int]:
        """So many slots, whole subjects (as a source tells of them), evenly from the whole ledger."""
        subjects, changed = self.size // A_SUBJECT, self.changes // A_SUBJECT
        apart = max(1, subjects // changed)
        chosen = range(self.revision % apart, subjects, apart)[:changed]
        return [n for subject in chosen for n in range(subject * A_SUBJECT, (subject + 1) * A_SUBJECT)]

    def _conflicts(self, incoming: int) -> tuple[Rate, int]:
        """Facts of another source, every second one under a label that the ledger has; then taken back."""
        self.strangers += 1
        half = incoming // 2
        other = Numbers(f"other{self.strangers}", self.catalogue)
        other.tell(range(half), 9_999)
        other.tell(range(half, 2 * half), 9_999, f"Stranger {self.strangers} of")
        watch = Stopwatch()
        first = self._intake().pull(other, bootstrap=False)
        second = self._intake().pull(other, bootstrap=False)
        rate = watch.rate(2 * half)
        other.tell(range(half), 10_000, f"Settled {self.strangers} of")
        self._intake().pull(other, bootstrap=False)
        return rate, first.reasons.get("homonym", 0) + second.reasons.get("homonym", 0)

    def _pull(self, slots: int, *, bootstrap: bool = False) -> Rate:
        watch = Stopwatch()
        self._intake().pull(self.source, bootstrap=bootstrap)
        return watch.rate(slots)

    def _intake(self) -> Intake:
        return Intake(self.state, self.policy, self.catalogue, lambda: START)

    def _database_mb(self) -> float:
        if self.state.url.get_backend_name() == "sqlite":
            return os.path.getsize(str(self.state.url.database)) / 1e6
        with self.state.read() as tx:
            size = tx.connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar()
        return float(size or 0) / 1e6


def _rss_mb() -> float:
    with open("/proc/self/statm", encoding="ascii") as numbers:
        return int(numbers.read().split()[1]) * resource.getpagesize() / 1e6


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def table(rows: list[Row]) -> str:
    """GitHub-flavoured Markdown; rates and ratios as `of CPU time (of the clock)`."""
    lines = [
        "| slots | subjects | first import /s | changed /s | a change costs × | unchanged /s "
        "| conflict-checked /s | conflicts | RSS MB | peak MB | ledger MB |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        filled, changed, unchanged, conflicts = (
            f"{rate.cpu:,.0f} ({rate.wall:,.0f})" if rate else "copied"
            for rate in (row.filled, row.changed, row.unchanged, row.conflicts)
        )
        first = rows[0].changed
        cost = f"{first.cpu / row.changed.cpu:.2f} ({first.wall / row.changed.wall:.2f})"
        sizes = (f"{size:,.0f}" for size in (row.rss_mb, row.peak_mb, row.database_mb))
        counted = (f"{row.slots:,}", f"{row.subjects:,}", filled, changed, cost, unchanged, conflicts)
        lines.append(f"| {' | '.join((*counted, f'{row.conflicts_found:,}', *sizes))} |")
    return "\n".join(lines) + "\n"


def plot(rows: list[Row], path: Path) -> None:
    """Milliseconds of CPU a slot against the ledger's size; flat is good."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4))
    for name, label in {
        "filled": "first import",
        "changed": "changed",
        "unchanged": "unchanged",
        "conflicts": "conflict check",
    }.items():
        points = [(row.slots, 1e3 / rate.cpu) for row in rows if (rate := getattr(row, name)) is not None]
        axes.plot(*zip(*points, strict=True), marker="o", label=label)
    axes.set(xscale="log", xlabel="slots in the ledger", ylabel="ms of CPU a slot", ylim=(0, None))
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help=f"sizes {QUICK}, nothing written")
    parser.add_argument(
        "--sizes", type=_sizes, help="sizes of the ledger, ascending; above 100,000: multiples"
    )
    parser.add_argument("--url", help="SQLAlchemy URL of an empty database; unset: SQLite in a new directory")
    parser.add_argument("--postgres", action="store_true", help="a PostgreSQL server of its own (pgserver)")
    parser.add_argument("--name", help="name of the files in benchmarks/results")
    options = parser.parse_args(arguments)
    sizes = options.sizes or (QUICK if options.quick else SIZES)
    with tempfile.TemporaryDirectory() as directory:
        url = options.url or (
            _postgres(directory) if options.postgres else f"sqlite:///{directory}/ledger.db"
        )
        state = State.open(url)
        state.migrate()
        rows = measured(state, sizes, quick=options.quick, name=options.name or _name(state))
        state.close()
    print(table(rows))
    return 0


def measured(state: State, sizes: Sequence[int], *, quick: bool, name: str) -> list[Row]:
    """One row a size; unless `quick`, the files are written after every size: the last one takes its time."""
    through = QUICK_THROUGH_INTAKE if quick else THROUGH_INTAKE
    bench = Bench(state, changes=1_000 if quick else 10_000, through_intake=through)
    rows: list[Row] = []
    for size in sizes:
        incoming = 2_000 if quick else 100_000 if size == sizes[-1] else 10_000
        rows.append(bench.measure(size, incoming))
        print(table(rows).splitlines()[-1], file=sys.stderr, flush=True)
        if not quick:
            write(rows, name)
    return rows


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(part.replace("_", "")) for part in text.split(","))


def _name(state: State) -> str:
    return "sources" if state.url.get_backend_name() == "sqlite" else "sources-postgres"


def _postgres(directory: str) -> str:
    """A server in a directory of its own, which ends with this process."""
    import pgserver

    return str(pgserver.get_server(f"{directory}/pg", cleanup_mode="stop").get_uri())


def write(rows: list[Row], name: str) -> None:
    RESULTS.mkdir(exist_ok=True)
    about = {"machine": f"{os.cpu_count()} cores, {platform.machine()}", "python": platform.python_version()}
    (RESULTS / f"{name}.md").write_text(table(rows), encoding="utf-8")
    result = {**about, "rows": [asdict(row) for row in rows]}
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    plot(rows, RESULTS / f"{name}.svg")


if __name__ == "__main__":
    raise SystemExit(main())
