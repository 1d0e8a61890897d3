"""A first import from a JSON dump: entities per second, memory, and the same ledger after kill -9.

    taskset -c 0 python -m benchmarks.dump [--entities N] [--watched N] [--out DIR]

A dump in Wikidata's format is generated (gzip, entities of a few kilobytes with labels in many languages, statements
of other properties and sitelinks), of which every Kth entity is on the watch list.  It is imported twice by the
command itself: once undisturbed, with its peak memory read while it runs, and once with `kill -9` at random instants.
Polling the same watch list is not run but computed, from the limits that the query service publishes.  `taskset`
gives all of it one core; without it, decompression uses every core.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.testbed.drawing import axes_of
from state import State
from state.sources import import_cursor

LANGUAGES = ("en", "de", "fr", "es", "it", "pl", "ru", "ja", "zh", "ar", "pt", "nl")
SLOTS_PER_REQUEST = 400
"""The default of `slots_per_step`."""
QUERY_SECONDS = 60.0
"""Query time that the public service grants a client per minute."""
KILLS = 5


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--entities", type=int, default=1_000_000)
    options.add_argument("--watched", type=int, default=100_000)
    options.add_argument(
        "--seconds-per-query", type=float, default=1.0, help="assumed of one request for 400 slots"
    )
    options.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        dump, watch = root / "dump.json.gz", root / "watch.txt"
        generate(dump, watch, chosen.entities, chosen.watched)
        undisturbed = imported(root / "whole", dump, watch)
        killed = killed_and_resumed(root / "killed", dump, watch, undisturbed["seconds"])
        same = contents(root / "whole") == contents(root / "killed")
    slots = chosen.watched * 2
    requests = slots / SLOTS_PER_REQUEST
    polling = requests * chosen.seconds_per_query / QUERY_SECONDS * 60
    result = {
        "machine": machine(),
        "entities": chosen.entities,
        "watched": chosen.watched,
        **undisturbed,
        "entities_per_second": chosen.entities / undisturbed["seconds"],
        "kills": KILLS,
        "seconds_with_kills": killed,
        "same_ledger": same,
        "polling_seconds": polling,
    }
    report(result, chosen.out)


def generate(dump: Path, watch: Path, entities: int, watched: int) -> None:
    """Every `entities // watched`-th entity is watched; its two objects may stand anywhere in the file."""
    chance, every = random.Random(1), max(1, entities // watched)
    with gzip.open(dump, "wt", compresslevel=1, encoding="utf-8") as file, watch.open("w") as names:
        file.write("[\n")
        for number in range(1, entities + 1):
            body = entity(number, chance.randrange(1, entities + 1), chance.randrange(1, entities + 1))
            file.write(json.dumps(body, separators=(",", ":")) + (",\n" if number < entities else "\n"))
            if number % every == 0:
                names.write(f"Q{number}\n")
        file.write("]\n")


def entity(number: int, leader: int, capital: int) -> dict[str, Any]:
    """About three kilobytes: two relations of the catalogue, and what an entity has besides."""
    id = f"Q{number}"
    return {
        "type": "item",
        "id": id,
        "labels": {lang: {"language": lang, "value": f"Entity {number} ({lang})"} for lang in LANGUAGES},
        "descriptions": {
            lang: {"language": lang, "value": f"one of many things, in {lang}"} for lang in LANGUAGES
        },
        "aliases": {"en": [{"language": "en", "value": f"Thing {number}"}]},
        "claims": {
            "P6": [statement(id, "P6", leader)],
            "P36": [statement(id, "P36", capital)],
            **{f"P{9000 + n}": [statement(id, f"P{9000 + n}", number + n)] for n in range(4)},
        },
        "sitelinks": {
            f"{lang}wiki": {"site": f"{lang}wiki", "title": f"Entity {number}"} for lang in LANGUAGES
        },
        "lastrevid": 1_000_000 + number,
        "modified": f"2026-{1 + number % 10:02}-{1 + number % 28:02}T12:00:00Z",
    }


def statement(id: str, pid: str, value: int) -> dict[str, Any]:
    data = {"entity-type": "item", "numeric-id": value, "id": f"Q{value}"}
    snak = {
        "snaktype": "value",
        "property": pid,
        "datatype": "wikibase-item",
        "datavalue": {"value": data, "type": "wikibase-entityid"},
    }
    reference = {"hash": f"{value:040x}", "snaks": {}, "snaks-order": []}
    return {
        "mainsnak": snak,
        "type": "statement",
        "id": f"{id}${pid}-{value:08X}",
        "rank": "normal",
        "references": [reference],
    }


def command(home: Path, dump: Path, watch: Path) -> list[str]:
    return [sys.executable, "-m", "kbsync", "--home", str(home), "import", str(dump), "--watch", str(watch)]


def imported(home: Path, dump: Path, watch: Path) -> dict[str, Any]:
    """Seconds and the memory over time of one undisturbed import."""
    begun = time.monotonic()
    process = subprocess.Popen(command(home, dump, watch))
    memory = []
    while process.poll() is None:
        memory.append((round(time.monotonic() - begun, 1), resident(process.pid)))
        time.sleep(0.5)
    if process.returncode:
        sys.exit(f"the import ended with {process.returncode}")
    return {"seconds": time.monotonic() - begun, "memory": memory, "peak_mb": max(mb for _, mb in memory)}


def killed_and_resumed(home: Path, dump: Path, watch: Path, seconds: float) -> float:
    """Seconds of the same import with `KILLS` kills at random instants."""
    chance, begun = random.Random(2), time.monotonic()
    for _ in range(KILLS):
        process = subprocess.Popen(command(home, dump, watch), stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(0.05, 0.25) * seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
    imported(home, dump, watch)
    return time.monotonic() - begun


def resident(pid: int) -> float:
    """Megabytes of RAM that a process holds now."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return 0.0
    return next(
        (int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS")), 0.0
    )


def contents(home: Path) -> tuple[str, int, dict[str, int], list[tuple[str, ...]]]:
    """What two imports have to agree in: the place, the number of slots, facts by status, and every fact."""
    state = State.open(f"sqlite:///{home / 'kbsync.db'}")
    with state.read() as tx:
        facts = sorted((one.subject, one.relation, one.object, one.target, one.status) for one in tx.facts())
        found = (
            json.loads(tx.cursor(import_cursor("wikidata")) or "{}").get("stage", ""),
            sum(tx.count_watched().values()),
            {str(status): count for status, count in tx.count_facts().items()},
            facts,
        )
    state.close()
    return found


def machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**30
    cores = f"{len(os.sched_getaffinity(0))} of {os.cpu_count()} cores"
    return f"{cores}, {memory} GB of memory, Python {sys.version.split()[0]}"


def lines(result: dict[str, Any]) -> Iterator[str]:
    yield "| what | figure |"
    yield "|---|--:|"
    yield f"| entities in the dump | {result['entities']:,} |"
    yield f"| on the watch list (two slots each) | {result['watched']:,} |"
    yield f"| seconds | {result['seconds']:,.0f} |"
    yield f"| entities per second | {result['entities_per_second']:,.0f} |"
    yield f"| peak memory, MB | {result['peak_mb']:,.0f} |"
    yield f"| seconds with {result['kills']} kills | {result['seconds_with_kills']:,.0f} |"
    yield f"| same ledger after the kills | {'yes' if result['same_ledger'] else 'NO'} |"
    yield f"| seconds that polling would take at least | {result['polling_seconds']:,.0f} |"


def report(result: dict[str, Any], out: Path) -> None:
    table = "\n".join(lines(result))
    print(f"\n{result['machine']}\n\n{table}")
    out.mkdir(parents=True, exist_ok=True)
    (out / "dump.json").write_text(json.dumps(result, indent=1) + "\n")
    (out / "dump.md").write_text(f"{result['machine']}\n\n{table}\n")
    with axes_of(out / "dump.svg", width=7) as axes:
        axes.plot(
            [second for second, _ in result["memory"]],
            [mb for _, mb in result["memory"]],
            label=f"{result['entities']:,} entities, {result['watched']:,} of them watched",
        )
        axes.set_xlabel("seconds since the start of the import")
        axes.set_ylabel("resident memory (MB)")
        axes.set_ylim(0)


if __name__ == "__main__":
    main()
