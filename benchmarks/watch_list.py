"""What watching a long list of subjects at a Wikibase costs: a real SPARQL server, the `wikidata` connector.

    python -m benchmarks.watch_list [--subjects 100000] [--changed 10000]

A server of its own (oxigraph) is given that many subjects in Wikidata's shape, one slot each.  Measured are
the first poll, which reads everything, a poll in which nothing changed (what watching costs at all: it
follows the length of the list), and one after which so many subjects have another value.  Rates are subjects
a second by the clock, the server included; the connector's own limits on a host are lifted.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from connectors.observations import Connector
from connectors.registry import connect
from kbsync.demo.server import SparqlServer, serving

WD, SCHEMA, XSD = "http://www.wikidata.org/entity/", "http://schema.org/", "http://www.w3.org/2001/XMLSchema#"
PROP = "http://www.wikidata.org/prop/"
BEGAN = datetime(2024, 1, 1, tzinfo=UTC)
OBJECTS = 2_000
FIRST = 1_000_000
"""Number of the first subject; objects have smaller ones."""
IN_ONE_LOAD = 10_000


def subject(number: int) -> str:
    """Its triples, in the shape of the query service."""
    at = (BEGAN + timedelta(seconds=number)).isoformat().replace("+00:00", "Z")
    entity, node = f"<{WD}Q{FIRST + number}>", f"<{WD}statement/Q{FIRST + number}-a>"
    return "\n".join(
        (
            f'{entity} <{SCHEMA}version> "{number + 1}"^^<{XSD}integer> .',
            f'{entity} <{SCHEMA}dateModified> "{at}"^^<{XSD}dateTime> .',
            f'{entity} <http://www.w3.org/2000/01/rdf-schema#label> "Place {number}"@en .',
            f"{entity} <{PROP}P6> {node} .",
            f"{node} <http://wikiba.se/ontology#rank> <http://wikiba.se/ontology#NormalRank> .",
            f"{node} <{PROP}statement/P6> <{WD}Q{1 + number % OBJECTS}> .",
        )
    )


def holder(number: int) -> str:
    return f'<{WD}Q{number}> <http://www.w3.org/2000/01/rdf-schema#label> "Person {number}"@en .'


def fill(server: SparqlServer, subjects: int) -> None:
    triples: Iterator[str] = iter(
        (*map(holder, range(1, OBJECTS + 1)), *(subject(number) for number in range(subjects)))
    )
    while some := list(islice(triples, IN_ONE_LOAD)):
        server.load("\n".join(some))


def change(server: SparqlServer, numbers: Iterable[int], subjects: int) -> None:
    """Another value, a later version and a later time for each."""
    at = (BEGAN + timedelta(seconds=2 * subjects)).isoformat().replace("+00:00", "Z")
    rows = [
        f"(<{WD}Q{FIRST + number}> <{WD}statement/Q{FIRST + number}-a> {subjects + number} "
        f"<{WD}Q{1 + (number + 1) % OBJECTS}>)"
        for number in numbers
    ]
    for start in range(0, len(rows), 2_000):
        values = " ".join(rows[start : start + 2_000])
        server.update(
            f"DELETE {{ ?s <{SCHEMA}version> ?v ; <{SCHEMA}dateModified> ?m . ?st <{PROP}statement/P6> ?o }} "
            f"INSERT {{ ?s <{SCHEMA}version> ?new ; <{SCHEMA}dateModified> "
            f'"{at}"^^<{XSD}dateTime> . ?st <{PROP}statement/P6> ?other }} '
            f"WHERE {{ VALUES (?s ?st ?new ?other) {{ {values} }} ?s <{SCHEMA}version> ?v ; "
            f"<{SCHEMA}dateModified> ?m . ?st <{PROP}statement/P6> ?o }}"
        )


def poll(connector: Connector, cursor: str | None) -> tuple[float, int, str | None]:
    """(seconds, observations, the cursor afterwards)."""
    began, told = time.perf_counter(), 0
    for step in connector.poll(cursor):
        told += len(step.observations)
        cursor = step.cursor or cursor
    return time.perf_counter() - began, told, cursor


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--subjects", type=int, default=100_000)
    parser.add_argument("--changed", type=int, default=10_000)
    options = parser.parse_args(arguments)
    watched = options.subjects
    with tempfile.TemporaryDirectory() as directory, serving() as server:
        file = Path(directory) / "watch.txt"
        file.write_text("\n".join(f"wd:Q{FIRST + number}" for number in range(watched)))
        fill(server, watched)
        connector = connect(
            "wd",
            {
                "kind": "wikidata",
                "endpoint": server.query_url,
                "agent": "kbsync-benchmarks/1.0 (https://kbsync.example)",
                "subjects_file": str(file),
                "relations": ["wdt:P6"],
                "query_seconds_per_minute": 10_000,
            },
        )
        print("| poll | slots told | seconds | subjects watched /s | cursor kB | RSS MB |")
        print("|---|--:|--:|--:|--:|--:|")
        cursor: str | None = None
        for name in ("first", "nothing changed", f"{options.changed:,} changed"):
            if name.endswith(" changed") and name[0].isdigit():
                change(server, range(0, watched, max(1, watched // options.changed)), watched)
            seconds, told, cursor = poll(connector, cursor)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
            size = len(cursor or "") / 1e3
            print(
                f"| {name} | {told:,} | {seconds:.1f} | {watched / seconds:,.0f} | {size:,.0f} | {peak:,.0f} |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
