"""What a home grows to in a year, under each retention policy: `python -m benchmarks.year [--days N] [--out DIR]`.

A home with a ledger in SQLite lives through simulated days under an injected clock.  Each day a source states other
values for some of its slots, and the daemon's cycle reads them, builds and promotes when `[plan]` says so, and applies
`[retention]`; a key signs the log.  Everything but the worker is the real thing; the worker is scripted and writes
small candidates, with a residual for each new fact and lines in its log, so that three years take less than five
minutes of one core.  The sizes are measured at the end of every day.  Writes `year.json`, `.md` and `.svg`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import platform
import random
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
import torch

from editing.memit.deltas import Delta, DeltaStore
from editing.progress import TimedProgress, silent
from editing.spec import BuildReport, BuildSpec
from kbsync.application import Application
from kbsync.home import Home
from kbsync.leadership import Leadership
from kbsync.proofs import keys
from kbsync.service.cycle import Reading, cycle
from state.records import RunState
from tests.support.micro import make
from tests.support.scripted import Scripted

RESULTS = Path(__file__).parent / "results"
WIDTH = 1024
"""Of a residual: 4 KiB."""
LOG_LINES = 200
"""That a worker writes about each spec."""
POLICIES: dict[str, dict[str, str]] = {
    "for ever": {},
    "as recommended": {
        "events": "730d",
        "archive": "180d",
        "archived": "1825d",
        "observations": "365d",
        "reports": "180d",
        "checkpoints": "90d",
        "logs": "30d",
        "probes": "180d",
        "cache": "180d",
        "rewrite": "90d",
    },
    "30 days": {
        **dict.fromkeys(
            (
                "events",
                "archive",
                "observations",
                "reports",
                "checkpoints",
                "logs",
                "probes",
                "cache",
                "rewrite",
            ),
            "30d",
        ),
        "archived": "90d",
    },
}
"""Periods in `[retention]`; those recommended are those of docs/operating.md."""
TABLES = {
    "log": ("events", "subtrees"),
    "observations": ("observations", "readings"),
    "facts": ("facts", "probes", "base_answers"),
    "views": ("views", "view_facts"),
}
"""Parts of the ledger; the rest is `other`."""
PARTS = {
    "runs": "run directories",
    "cache": "residuals in the cache",
    "logs": "the workers' logs",
    "checkpoints": "checkpoints, without what they share with the base",
    "ledger": "the ledger's file",
    "log": "– of it the audit log",
    "facts": "– facts, probes, answers of the base",
    "views": "– which facts were in which view",
    "observations": "– observations",
    "other": "– the rest",
    "archive": "files of archived events",
    "wal": "SQLite's write-ahead log",
}
"""What is reported, with its name in the table."""
DRAWN = ("runs", "cache", "logs", "checkpoints", "ledger", "log", "observations", "archive")


@dataclass(frozen=True, slots=True)
class Life:
    """How much happens."""

    days: int = 365
    slots: int = 100
    changed: int = 5
    """Slots that get another value every day."""
    pending: int = 50
    """`[plan] min_pending`: by default a run every six days."""


class Worker(Scripted):
    """Writes besides what a worker leaves: a residual for each fact that is new to it, and lines in its log."""

    def __init__(self, log: Path) -> None:
        super().__init__()
        self.log = log

    def execute(self, spec: Path, progress: TimedProgress = silent) -> BuildReport:
        report, asked = super().execute(spec, progress), BuildSpec.read(spec)
        with self.log.open("a", encoding="utf-8") as file:
            file.writelines(
                f"run {asked.run}, {asked.mode}: line {n} of a library\n" for n in range(LOG_LINES)
            )
        if asked.mode == "build":
            groups = {fact.id: _group(fact.prompt, fact.target) for fact in asked.facts}
            store = DeltaStore(Path(asked.cache) / "deltas")
            for group in groups.values():
                if not store.path(group).exists():
                    store.put(group, Delta(torch.zeros(WIDTH), 1.0, 0.0, 1))
            facts = tuple(replace(fact, group=groups[fact.id]) for fact in report.facts)
            report = replace(report, facts=facts)
            report.write(spec.with_name("report.json"))
        return report


def _group(prompt: str, target: str) -> str:
    return hashlib.sha256(f"{prompt}\n{target}".encode()).hexdigest()


def lived(root: Path, periods: Mapping[str, str], life: Life) -> Iterator[dict[str, Any]]:
    """The sizes in bytes at the end of each day, and the number of runs so far by state."""
    policy = "\n".join(f"{kind} = '{period}'" for kind, period in periods.items())
    home = make(root, extra=f"[retention]\n{policy}")
    config, plan = home.home.config, f"[plan]\nmin_pending = {life.pending}\nmax_wait = '30d'"
    config.write_text(config.read_text().replace("[plan]", plan))
    chance, app = random.Random(17), home.application()
    with closing(app), app.leading() as leadership:
        keys.create(app, None, None, "benchmark")
        worker = Worker(home.home.worker_log)
        for day in range(life.days):
            number = life.changed if day else life.slots
            changed = sorted(chance.sample(range(life.slots), number))
            home.say({f"House {slot}": f"Owner {chance.randrange(10**6)}" for slot in changed})
            states = _cycle(app, leadership, worker, first=day == 0)
            yield {"day": day + 1, "states": states, **sizes(home.home)}
            home.now += timedelta(days=1)


def _cycle(app: Application, leadership: Leadership, worker: Worker, *, first: bool) -> dict[RunState, int]:
    """One cycle as the daemon's schedule begins it; raises RuntimeError if the source could not be read."""
    report = cycle(
        app, leadership, trigger="schedule", asked=first, reading=Reading(bootstrap=first), worker=worker
    )
    if report.unavailable:
        raise RuntimeError(str(report.unavailable))
    with app.state.read() as tx:
        return dict(Counter(run.state for run in tx.runs()))


def sizes(home: Home) -> dict[str, int]:
    """Bytes of each part of a home, and the numbers of rows that explain them."""
    base = {file.stat().st_ino for file in _files(home.base)}
    logs = set(home.runs.glob("worker*.log"))
    return {
        **_ledger(home.database),
        "wal": _bytes(home.root.glob("kbsync.db-wal")),
        "runs": _bytes(set(_files(home.runs)) - logs),
        "logs": _bytes(logs),
        "cache": _bytes(_files(home.cache)),
        "archive": _bytes(_files(home.archive)),
        "checkpoints": _bytes(file for file in _files(home.checkpoints) if file.stat().st_ino not in base),
    }


def _ledger(file: Path) -> dict[str, int]:
    """The size of the ledger without its write-ahead log, its parts, and numbers of rows."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as ledger:

        def one(statement: str) -> int:
            return int(ledger.execute(statement).fetchone()[0] or 0)

        of = dict(ledger.execute("SELECT name, tbl_name FROM sqlite_schema"))
        found: Counter[str] = Counter()
        for name, size in ledger.execute("SELECT name, pgsize FROM dbstat WHERE aggregate = TRUE"):
            found[_part(of.get(name, name))] += size
        return {
            "ledger": one("PRAGMA page_size") * one("PRAGMA page_count"),
            **{part: found[part] for part in (*TABLES, "other")},
            "events": one("SELECT count(*) FROM events"),
            "observed": one("SELECT count(*) FROM observations"),
            "stated": one("SELECT count(*) FROM facts"),
        }


def _part(table: str) -> str:
    return next((part for part, tables in TABLES.items() if table in tables), "other")


def _files(directory: Path) -> Iterator[Path]:
    """Regular files below `directory`; links are not followed."""
    for place, _, names in os.walk(directory):
        yield from (path for name in names if not (path := Path(place) / name).is_symlink())


def _bytes(files: Iterable[Path]) -> int:
    """The bytes of these files, each inode once."""
    return sum({status.st_ino: status.st_size for file in files for status in [file.stat()]}.values())


def growth(rows: Sequence[Mapping[str, Any]], part: str) -> float:
    """Bytes by which it grew each day of the last quarter of the time."""
    since = rows[len(rows) * 3 // 4 - 1]
    return float(rows[-1][part] - since[part]) / (rows[-1]["day"] - since["day"])


def table(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Sizes at the end in kB, and in brackets the growth per day in the last quarter, in Markdown."""
    days = next(iter(found.values()))[-1]["day"]
    lines = ["| | " + " | ".join(found) + " |", "|---|" + "--:|" * len(found)]
    for part, name in PARTS.items():
        cells = (f"{rows[-1][part] / 1e3:,.0f} ({growth(rows, part) / 1e3:+,.1f})" for rows in found.values())
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    for what, name in {"events": "events", "stated": "facts", "observed": "observations"}.items():
        lines.append(
            f"| number of {name} | " + " | ".join(f"{rows[-1][what]:,}" for rows in found.values()) + " |"
        )
    return f"kB after {days} days (growth per day in the last quarter):\n\n" + "\n".join(lines) + "\n"


def plot(found: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """A panel for each of `DRAWN`: size over time, a line for each policy; once a week."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(2, 4, figsize=(13, 6), sharex=True)
    for axes, part in zip(panels.flat, DRAWN, strict=True):
        for (name, rows), style in zip(found.items(), ("-", "--", "-."), strict=True):
            shown = rows[::7]
            axes.plot([row["day"] for row in shown], [row[part] / 1e6 for row in shown], style, label=name)
        axes.set_title(PARTS[part].removeprefix("– of it ").removeprefix("– ").partition(",")[0])
        axes.set_ylim(0)
        axes.grid(alpha=0.3)
    for axes in panels[-1]:
        axes.set_xlabel("days")
    for axes in panels[:, 0]:
        axes.set_ylabel("MB")
    panels[0, 0].legend(title="[retention]")
    figure.tight_layout()
    figure.savefig(path)


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """What the table and the plot show, day by day."""
    return {name: [row[name] for row in rows] for name in ("day", *PARTS, "events", "stated", "observed")}


def kept(figures: Mapping[str, Any]) -> dict[str, list[dict[str, int]]]:
    """The rows of a `year.json`, by policy."""
    return {
        name: [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        for name, columns in figures["daily"].items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--days", type=int, default=Life().days)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    torch.set_num_threads(1)
    found: dict[str, list[dict[str, Any]]] = {}
    seconds: dict[str, float] = {}
    for name, periods in POLICIES.items():
        begun = time.process_time()
        with tempfile.TemporaryDirectory() as directory:
            found[name] = list(lived(Path(directory) / "home", periods, Life(days=options.days)))
        seconds[name] = time.process_time() - begun
        print(f"{name}: {seconds[name]:.0f} s of CPU, {json.dumps(found[name][-1])}", flush=True)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    figures = {
        "machine": machine,
        "seconds": seconds,
        "states": {name: rows[-1]["states"] for name, rows in found.items()},
        "daily": {name: _columns(rows) for name, rows in found.items()},
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "year.json").write_text(json.dumps(figures) + "\n", encoding="utf-8")
    (options.out / "year.md").write_text(f"{machine}\n\n{table(found)}", encoding="utf-8")
    plot(found, options.out / "year.svg")
    print(table(found))


if __name__ == "__main__":
    main()
