"""What the audit log costs a cycle: the share of appending events, growing the tree and signing heads for a witness.

Measured by the clock.  Those of the demo build, judge and promote with the real worker; after each one
its head is signed and added to a witness, as the daemon does it, the verification that precedes it included.  A large
import and a large change are pulled and admitted without building anything, so that their cycle is at its shortest
and the log's share at its largest.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.sources import Bench
from kbsync.demo import story, telling
from kbsync.home import Home
from kbsync.proofs import keys
from kbsync.runs.integrity import anchor
from state import State
from state.transaction import Writer
from state.tree import Tree

SLOTS, CHANGED = 100_000, 10_000
BUILDS = Path(__file__).with_name("results") / "incremental.json"
"""What `benchmarks/incremental.py` measured: among it a build of 10,000 facts, none of which was cached."""
COLUMNS = ("cycle", "events", "seconds", "appending", "of it the tree", "heads and witness", "together")


@dataclass
class Cycles:
    """Seconds of cycles, and of what the log did meanwhile."""

    name: str
    cycles: int = 0
    events: int = 0
    whole: float = 0.0
    appending: float = 0.0
    """Canonical JSON, hashes, seals of the rows that were written, the insertion, and the tree."""
    tree: float = 0.0
    witness: float = 0.0
    """Verifying from the newest head on, signing, and adding the head to a witness's file."""

    @property
    def row(self) -> dict[str, Any]:
        """What is printed and stored."""
        share = 100 / (self.whole + self.witness)
        return {
            "cycle": self.name,
            "cycles": self.cycles,
            "events": self.events,
            "seconds": self.whole + self.witness,
            "append_percent": self.appending * share,
            "tree_percent": self.tree * share,
            "witness_percent": self.witness * share,
            "log_percent": (self.appending + self.witness) * share,
        }


def cycles(directory: Path, slots: int = SLOTS, changed: int = CHANGED) -> list[dict[str, Any]]:
    """The figures of the demo's cycles and of the large ones."""
    pulled = list(large(directory, slots, changed))
    return [_demo(directory / "home").row, *(one.row for one in pulled), *_built(pulled[-1], changed)]


def table(rows: list[dict[str, Any]]) -> str:
    """GitHub-flavoured Markdown."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|---|{'--:|' * (len(COLUMNS) - 1)}"]
    for row in rows:
        shares = (row[f"{name}_percent"] for name in ("append", "tree", "witness", "log"))
        cells = (
            row["cycle"],
            f"{row['events']:,}",
            f"{row['seconds']:,.1f}",
            *(f"{one:.2f} %" for one in shares),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _demo(root: Path) -> Cycles:
    """The demo's story, with a key and a witness."""
    spent = Cycles("the demo's cycles, with their builds")
    settings = {"KBSYNC_STATE__ANCHOR": str(root.with_name("witness.jsonl"))}
    cycle = telling.cycle

    def timed(app: Any, leadership: Any, **options: Any) -> Any:
        if keys.signer(app) is None:
            keys.create(app, None, None, "benchmark")
        with _measuring(spent):
            report = cycle(app, leadership, **options)
        begun = time.perf_counter()
        anchor(app, leadership)
        spent.witness += time.perf_counter() - begun
        return report

    with mock.patch.dict("os.environ", settings), mock.patch.object(telling, "cycle", timed):
        story.tell(Home(root), quiet=True)
    return spent


def _built(pulled: Cycles, changed: int) -> Iterator[dict[str, Any]]:
    """The last of these cycles with the time that building the view of what changed was measured to take."""
    for row in json.loads(BUILDS.read_bytes())["rows"]:
        if row["facts"] == changed:
            name = "the same and its build, as measured by `benchmarks.incremental`"
            yield replace(pulled, name=name, whole=pulled.whole + row["all_s"]).row


def large(directory: Path, slots: int, changed: int) -> Iterator[Cycles]:
    """A first import of so many slots, and a poll that changes some of them all over the ledger."""
    state = State.open(f"sqlite:///{directory}/large.db")
    state.migrate()
    bench = Bench(state, changed)
    steps: dict[str, Callable[[], object]] = {
        f"a first import of {slots:,} slots, without a build": lambda: bench.grow(slots),
        f"{changed:,} changed of {slots:,} slots, without a build": bench.change,
    }
    for name, work in steps.items():
        spent = Cycles(name)
        with _measuring(spent):
            work()
        yield spent
    state.close()


@contextmanager
def _measuring(spent: Cycles) -> Iterator[None]:
    """Add the time of the block, and of the log within it."""
    log, grow = Writer._log, Tree.grow

    def timed_log(writer: Writer, *arguments: Any) -> Any:
        begun = time.perf_counter()
        made = log(writer, *arguments)
        spent.appending += time.perf_counter() - begun
        spent.events += len(made)
        return made

    def timed_grow(tree: Tree, most: int | None = None) -> None:
        begun = time.perf_counter()
        grow(tree, most)
        spent.tree += time.perf_counter() - begun

    begun = time.perf_counter()
    with mock.patch.object(Writer, "_log", timed_log), mock.patch.object(Tree, "grow", timed_grow):
        yield
    spent.whole += time.perf_counter() - begun
    spent.cycles += 1
