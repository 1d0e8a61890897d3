"""The process that holds one document of entity data: `python -m connectors.wikidata.graph_process`.

stdin is a line of limits, then one request after another, each a line of JSON: `base` and `bytes` load the
Turtle of that many bytes that follows, and `query` asks for solutions.  Each answer is the lines of
`connectors.rows.row_lines`.  The process ends with its stdin.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import IO, Any

import pyoxigraph as ox

from connectors.border import decode_json
from connectors.errors import ConnectorError
from connectors.local_graph import LocalGraph
from connectors.rows.reader_process import limit_self, limit_time
from connectors.rows.row_lines import end_line, refusal_line, row_line
from connectors.terms import Solution

_MAX_TRIPLES = 300_000
"""The largest entities of Wikidata have some ten thousand statements, in all relations together."""
_MAX_SOLUTIONS = 100_000


def main() -> None:
    """Answer the requests that stdin holds, until it ends."""
    asked, out = sys.stdin.buffer, sys.stdout.buffer
    limits = decode_json(asked.readline(), "the limits")
    limit_self(limits["max_memory"], limits["max_seconds"])
    graph = LocalGraph()
    while line := asked.readline():
        limit_time(limits["max_seconds"])
        request = decode_json(line, "the request")
        try:
            if "query" in request:
                _answer(out, graph.select(request["query"]))
            else:
                graph = LocalGraph(_MAX_TRIPLES, _MAX_SOLUTIONS)
                _load(graph, request, asked.read(request["bytes"]))
                _answer(out, ())
        except ConnectorError as error:
            out.write(refusal_line(error))
        out.flush()


def _load(graph: LocalGraph, request: dict[str, Any], turtle: bytes) -> None:
    graph.load(turtle, ox.RdfFormat.TURTLE, base=request["base"])


def _answer(out: IO[bytes], solutions: Sequence[Solution]) -> None:
    for number, solution in enumerate(solutions, 1):
        out.write(row_line(number, solution))
    out.write(end_line(len(solutions)))


if __name__ == "__main__":
    main()
