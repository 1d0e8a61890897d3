"""What readers of the review pages wait for, and what they cost a cycle, with a million facts in the ledger.

    python -m benchmarks.pages [--facts N] [--readers N …] [--seconds N] [--root DIR] [--phases NAME …] [--name NAME]

`kbsync serve` and `kbsync sync` run as processes of their own on one copy of a home (`pages_home.py`), whose cycle
reads the demo's news and builds them.  Measured are the pages alone with each number of readers, a cycle alone, and a
cycle with the pages and `BESIDE` readers.  A reader looks at one page after the other, by chance with the weights in
`MIX`, and reads each for `THINK_S` on average; no browser cache helps.  The readers' own process shares the machine.
`--root` keeps the home, which takes a quarter of an hour to make; `--phases` measures some phases again and keeps the
others' figures.  Writes a table, JSON and a plot to benchmarks/results/.
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
BESIDE = 50
"""Readers beside a cycle."""
PHASES = ("readers", "cycle", "cycle and readers")
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
    readers: int
    requests: int
    failed: int
    p50_ms: float
    p95_ms: float
    max_ms: float
    cycle_s: float | None
    ended: str
    """The states of the cycle's runs: a rejected run does less than one that is promoted."""
    server_cpu_s: float
    """Processor time of `kbsync serve` in seconds of the phase."""
    seconds: float
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


async def sync(home: Path) -> tuple[float, str]:
    """One cycle in a process of its own: seconds, and the states of its runs."""
    began = time.perf_counter()
    command = (sys.executable, "-m", "kbsync", "--home", str(home), "sync", "--json")
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    out, _ = await process.communicate()
    if process.returncode not in (0, 10):
        raise SystemExit(f"kbsync sync ended with {process.returncode}")
    took = time.perf_counter() - began
    return took, ", ".join(run["state"] for run in json.loads(out)["runs"]) or "no run"


async def measured(phase: str, server: Server | None, home: Path, readers: int, seconds: float) -> Times:
    """One phase: with readers if there is a server, with a cycle if its name says so."""
    stop, cycle_s, ended, waits = asyncio.Event(), None, "", Waits()
    began, used = time.perf_counter(), server.cpu_s() if server else 0.0
    reading = asyncio.create_task(read(server.address, readers, stop)) if server else None
    if "cycle" in phase:
        cycle_s, ended = await sync(home)
    else:
        await asyncio.sleep(seconds)
    stop.set()
    took = time.perf_counter() - began
    if reading is not None:
        waits = await reading
    spent = server.cpu_s() - used if server else 0.0
    every = waits.every()
    pages = {
        page: (len(found), quantile(found, 0.5), quantile(found, 0.95), 1_000 * max(found))
        for page, found in sorted(waits.pages.items())
    }
    figures = quantile(every, 0.5), quantile(every, 0.95), 1_000 * max(every, default=0.0)
    counted = len(every), waits.failed
    return Times(phase, readers, *counted, *figures, cycle_s, ended, spent, took, os.getloadavg()[0], pages)


@dataclass(frozen=True)
class Server:
    """`kbsync serve` in a process of its own."""

    address: str
    pid: int

    def cpu_s(self) -> float:
        """Processor time that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def served(home: Path) -> Iterator[Server]:
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
        yield Server(address, process.pid)
    finally:
        process.terminate()
        process.wait(30)


def phases(made: Made, options: argparse.Namespace, place: Path) -> Iterator[Times]:
    """The pages alone, then a cycle beside them and a cycle alone, each from the same state."""
    with made.knowledge_base():
        for number in options.readers if "readers" in options.phases else ():
            with served(made.home.root) as server:
                yield asyncio.run(measured("readers", server, made.home.root, number, options.seconds))
        if "cycle and readers" in options.phases:
            both = made.copy(place / "both").root
            with served(both) as server:
                yield asyncio.run(measured("cycle and readers", server, both, BESIDE, options.seconds))
            shutil.rmtree(both)
        if "cycle" in options.phases:
            alone = made.copy(place / "alone").root
            yield asyncio.run(measured("cycle", None, alone, 0, options.seconds))


def table(found: list[Times]) -> str:
    """GitHub-flavoured Markdown."""
    lines = [
        "| phase | readers | requests | failed | p50 ms | p95 ms | longest ms | server, of a core | cycle s | runs |",
        "|:--|--:|--:|--:|--:|--:|--:|--:|--:|:--|",
    ]
    for one in found:
        cycle_s = "" if one.cycle_s is None else f"{one.cycle_s:.1f}"
        pages = (
            f"{one.p50_ms:.0f} | {one.p95_ms:.0f} | {one.max_ms:.0f} | {one.server_cpu_s / one.seconds:.0%}"
        )
        lines.append(
            f"| {one.phase} | {one.readers} | {one.requests} | {one.failed} "
            f"| {pages if one.readers else ' | | | '} | {cycle_s} | {one.ended} |"
        )
    for one in (one for one in found if one.pages and one.readers == BESIDE):
        lines += [
            "",
            f"{one.readers} readers{' beside a cycle' if one.cycle_s else ''}:",
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
    """p50 and p95 by the number of readers, and each page's p95 with and without a cycle."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(
        1, 2, figsize=(11, 5.5), layout="constrained", gridspec_kw={"width_ratios": (2, 3)}
    )
    curve = [one for one in found if one.phase == "readers"]
    for label, marker, figures in (
        ("p95", "o-", [one.p95_ms for one in curve]),
        ("p50", "s--", [one.p50_ms for one in curve]),
    ):
        left.plot([one.readers for one in curve], figures, marker, label=label)
    beside = [one for one in found if one.phase == "cycle and readers"]
    left.plot(
        [one.readers for one in beside], [one.p95_ms for one in beside], "D", label="p95 beside a cycle"
    )
    left.axhline(300, color="grey", linestyle=":")
    left.set(xlabel="readers", ylabel="ms", ylim=(0, None))
    left.legend()
    pages = sorted(MIX)
    for one, marker in zip((one for one in found if one.readers == BESIDE), "od", strict=False):
        right.plot(
            [one.pages.get(page, (0, 0, 0, 0))[2] for page in pages],
            pages,
            marker,
            label=f"{one.readers} readers{' beside a cycle' if one.cycle_s else ''}",
        )
    right.axvline(300, color="grey", linestyle=":")
    right.set(xlabel="p95, ms", xlim=(0, None))
    right.grid(axis="y", alpha=0.3)
    right.legend()
    figure.savefig(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--facts", type=int, default=1_000_000)
    parser.add_argument("--readers", type=int, nargs="+", default=[10, 25, BESIDE, 100, 200])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--root", type=Path, help="where the home is made, or was made before")
    parser.add_argument("--phases", nargs="+", choices=PHASES, default=PHASES)
    parser.add_argument("--name", default="pages", help="name of the files in benchmarks/results")
    options = parser.parse_args()
    data = RESULTS / f"{options.name}.json"
    found: dict[tuple[str, int], Times] = {}
    if set(options.phases) < set(PHASES) and data.exists():
        before = json.loads(data.read_text(encoding="utf-8"))["phases"]
        found = {(one["phase"], one["readers"]): Times(**one) for one in before}
    with tempfile.TemporaryDirectory(dir=options.root) as place:
        made = make(options.root or Path(place) / "made", options.facts)
        for one in phases(made, options, Path(place)):
            found[one.phase, one.readers] = one
            print(table([one]), flush=True)
    ordered = sorted(found.values(), key=lambda one: (PHASES.index(one.phase), one.readers))
    about = {"machine": f"{os.cpu_count()} cores, {platform.machine()}", "python": platform.python_version()}
    result = {**about, "facts": options.facts, "think_s": THINK_S, "mix": MIX}
    (RESULTS / f"{options.name}.md").write_text(table(ordered), encoding="utf-8")
    phases_found = {"phases": [asdict(one) for one in ordered]}
    data.write_text(json.dumps({**result, **phases_found}, indent=1) + "\n", encoding="utf-8")
    plot(ordered, RESULTS / f"{options.name}.svg")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
