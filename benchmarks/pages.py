"""What fifty readers of the review pages wait for, and what they cost a cycle, with a million facts in the ledger.

    python -m benchmarks.pages [--facts N] [--readers N] [--seconds N] [--root DIR] [--name NAME]

`kbsync serve` and `kbsync sync` run as processes of their own on one copy of a home (`pages_home.py`), whose cycle
reads the demo's news and builds them.  Measured are the pages alone, a cycle alone, and both at once.  A reader
looks at one page after the other, by chance with the weights in `MIX`, and reads each for `THINK_S` on average.
`--root` keeps the home, which takes a quarter of an hour to make.  Writes a table, JSON and a plot to
benchmarks/results/.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx

from benchmarks.pages_home import Made, make
from kbsync.demo.server import free_port

RESULTS = Path(__file__).with_name("results")
THINK_S = 4.0
MIX = {
    "/": 6,
    "/runs": 3,
    "/runs/2": 3,
    "/facts": 3,
    "/facts?status=wanted": 2,
    "/facts?source=crm&status=held": 2,
    "/facts?relation=wdt:P36&status=retracted": 2,
    "/facts?q=Acme+00": 3,
    "/facts?q=crm:0001000": 2,
    "/facts?after=500000": 2,
    "/facts/250000": 3,
    "/quarantine": 4,
    "/quarantine?source=erp": 2,
    "/checkpoints": 2,
    "/audit": 3,
    "/audit?kind=run.*": 2,
    "/audit?subject=crm:0001000": 2,
    "/audit?before=400000": 1,
    "/ask": 1,
    "/survey": 1,
    "/status.json": 2,
    "/livez": 2,
}
"""Page → how often it is looked at, in relation to the others."""


@dataclass
class Waits:
    """Seconds that readers waited, by page."""

    pages: dict[str, list[float]] = field(default_factory=dict)
    failed: int = 0

    def add(self, page: str, seconds: float) -> None:
        self.pages.setdefault(page, []).append(seconds)

    def every(self) -> list[float]:
        return [one for waits in self.pages.values() for one in waits]


@dataclass(frozen=True)
class Times:
    """One phase."""

    phase: str
    requests: int
    failed: int
    p50_ms: float
    p95_ms: float
    max_ms: float
    cycle_s: float | None
    load: float
    """The machine's load average when it ended: others use the machine too."""
    pages: dict[str, tuple[int, float, float, float]]
    """Page → requests, p50, p95 and longest in milliseconds."""


def quantile(values: list[float], share: float) -> float:
    """In milliseconds; 0 of no values."""
    ordered = sorted(values)
    return 1_000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


async def read(address: str, readers: int, stop: asyncio.Event) -> Waits:
    """What the readers wait for until `stop` is set."""
    waits, chance = Waits(), random.Random(1)
    limits = httpx.Limits(max_connections=readers, max_keepalive_connections=readers)
    headers = {"Accept": "text/html"}
    async with httpx.AsyncClient(base_url=address, limits=limits, timeout=60, headers=headers) as client:

        async def reader() -> None:
            await asyncio.sleep(chance.uniform(0, THINK_S))
            while not stop.is_set():
                page = chance.choices(list(MIX), list(MIX.values()))[0]
                began = time.perf_counter()
                answer = await client.get(page)
                waits.add(page, time.perf_counter() - began)
                waits.failed += answer.status_code != 200
                await asyncio.sleep(chance.expovariate(1 / THINK_S))

        await asyncio.gather(*(reader() for _ in range(readers)))
    return waits


async def sync(home: Path) -> float:
    """One cycle in a process of its own, in seconds."""
    began = time.perf_counter()
    command = (sys.executable, "-m", "kbsync", "--home", str(home), "sync", "--json")
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
    if code := await process.wait():
        raise SystemExit(f"kbsync sync ended with {code}")
    return time.perf_counter() - began


async def measured(phase: str, address: str | None, home: Path, options: argparse.Namespace) -> Times:
    """One phase: with readers if there is an address, with a cycle if its name says so."""
    stop, cycle_s, waits = asyncio.Event(), None, Waits()
    readers = asyncio.create_task(read(address, options.readers, stop)) if address else None
    if "cycle" in phase:
        cycle_s = await sync(home)
    else:
        await asyncio.sleep(options.seconds)
    stop.set()
    if readers is not None:
        waits = await readers
    every = waits.every()
    pages = {
        page: (len(found), quantile(found, 0.5), quantile(found, 0.95), 1_000 * max(found))
        for page, found in sorted(waits.pages.items())
    }
    figures = quantile(every, 0.5), quantile(every, 0.95), 1_000 * max(every, default=0.0)
    return Times(phase, len(every), waits.failed, *figures, cycle_s, os.getloadavg()[0], pages)


@contextmanager
def served(home: Path) -> Iterator[str]:
    """`kbsync serve` in a process of its own, warm."""
    port = free_port()
    command = [sys.executable, "-m", "kbsync", "--home", str(home), "serve", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                httpx.get(f"{address}/status.json", timeout=60)
                break
            except httpx.TransportError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def phases(made: Made, options: argparse.Namespace, place: Path) -> Iterator[Times]:
    """The pages alone, then a cycle beside them and a cycle alone, each from the same state."""
    with made.knowledge_base():
        both = made.copy(place / "both").root
        with served(both) as address:
            yield asyncio.run(measured("readers alone", address, both, options))
            yield asyncio.run(measured("cycle and readers", address, both, options))
        shutil.rmtree(both)
        alone = made.copy(place / "alone").root
        yield asyncio.run(measured("cycle alone", None, alone, options))


def table(found: list[Times]) -> str:
    """GitHub-flavoured Markdown."""
    lines = [
        "| phase | requests | failed | p50 ms | p95 ms | longest ms | cycle s | load |",
        "|:--|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for one in found:
        cycle_s = "" if one.cycle_s is None else f"{one.cycle_s:.1f}"
        lines.append(
            f"| {one.phase} | {one.requests} | {one.failed} | {one.p50_ms:.0f} | {one.p95_ms:.0f} "
            f"| {one.max_ms:.0f} | {cycle_s} | {one.load:.1f} |"
        )
    for one in (one for one in found if one.pages):
        lines += [
            "",
            f"{one.phase}:",
            "",
            "| page | requests | p50 ms | p95 ms | longest ms |",
            "|:--|--:|--:|--:|--:|",
        ]
        lines += [
            f"| `{page}` | {count} | {p50:.0f} | {p95:.0f} | {most:.0f} |"
            for page, (count, p50, p95, most) in one.pages.items()
        ]
    return "\n".join(lines) + "\n"


def plot(found: list[Times], path: Path) -> None:
    """Each page's p95, with and without a cycle."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 6))
    for one in (one for one in found if one.pages):
        axes.plot([figures[2] for figures in one.pages.values()], list(one.pages), "o", label=one.phase)
    axes.axvline(300, color="grey", linestyle=":")
    axes.set(xlabel="p95, ms", xlim=(0, None))
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--facts", type=int, default=1_000_000)
    parser.add_argument("--readers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--root", type=Path, help="where the home is made, or was made before")
    parser.add_argument("--name", default="pages", help="name of the files in benchmarks/results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        made = make(options.root or Path(place) / "made", options.facts)
        found = []
        for one in phases(made, options, Path(place)):
            found.append(one)
            print(table([one]), flush=True)
    about = {"machine": f"{os.cpu_count()} cores, {platform.machine()}", "python": platform.python_version()}
    result = {**about, "facts": options.facts, "readers": options.readers, "think_s": THINK_S, "mix": MIX}
    (RESULTS / f"{options.name}.md").write_text(table(found), encoding="utf-8")
    phases_found = {"phases": [asdict(one) for one in found]}
    (RESULTS / f"{options.name}.json").write_text(json.dumps({**result, **phases_found}, indent=1) + "\n")
    plot(found, RESULTS / f"{options.name}.svg")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
