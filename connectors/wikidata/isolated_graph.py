"""Entity data in a process of its own, so that a document that crashes its parser costs itself.

One process serves one document after another, since starting it takes longer than reading most of them.
One that dies is started again for the next document.
"""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import dataclass

from connectors.errors import SourceDataError
from connectors.rows.child import Child, ReaderDied, ReaderLimits
from connectors.terms import Solution

GRAPH_PROCESS = (sys.executable, "-P", "-m", "connectors.wikidata.graph_process")
"""`-P`: the current directory is no place to import from."""
_MAX_MEMORY = 2 * 2**30
"""The largest entities of Wikidata take some hundred megabytes."""


class GraphProcess:
    """The process, started when the first document is loaded.  Thread-safe."""

    def __init__(self, max_seconds: float, command: tuple[str, ...] = GRAPH_PROCESS) -> None:
        self._limits = ReaderLimits(max_seconds, _MAX_MEMORY, "; raise `deadline_s`")
        self._command = command
        self._child: Child | None = None
        self._loaded = 0
        self._lock = threading.Lock()

    def load(self, turtle: bytes, base: str) -> IsolatedGraph:
        """The graph of a document, until another one is loaded.

        Raises SourceDataError if it does not parse, AnswerTooLarge if it has too many triples, and ReaderDied
        if it ends the process.
        """
        with self._lock:
            self._loaded += 1
            self._ask({"base": base, "bytes": len(turtle)}, turtle)
            return IsolatedGraph(self, self._loaded)

    def select(self, query: str, document: int) -> list[Solution]:
        """The solutions of a SELECT over the document that was loaded as number `document`."""
        with self._lock:
            if self._child is None or document != self._loaded:
                raise ReaderDied("the document is no longer loaded")
            return self._ask({"query": query})

    def close(self) -> None:
        """End the process; the next document starts another one."""
        with self._lock:
            self._end()

    def _ask(self, request: dict[str, object], data: bytes = b"") -> list[Solution]:
        child = self._started()
        answered: list[Solution] = []
        try:
            with child.within_limits():
                child.send(json.dumps(request).encode() + b"\n", data)
                for _, row in child.answer():
                    if isinstance(row, SourceDataError):
                        raise row
                    answered.append(dict(row))
        except ReaderDied:
            self._end()
            raise
        return answered

    def _started(self) -> Child:
        if self._child is None:
            self._child = Child(self._command, self._limits)
            limits = {
                "max_memory": self._limits.max_memory,
                "max_seconds": max(1, round(self._limits.max_seconds)),
            }
            self._child.send(json.dumps(limits).encode() + b"\n")
        return self._child

    def _end(self) -> None:
        if self._child is not None:
            self._child.close()
            self._child = None


@dataclass(frozen=True, slots=True)
class IsolatedGraph:
    """A document that another process holds, asked as an endpoint is."""

    process: GraphProcess
    document: int

    @property
    def is_split(self) -> bool:
        return False

    def select(self, query: str, *, splittable: bool = False) -> list[Solution]:
        """Raises what `LocalGraph.select` raises, and ReaderDied if the query ends the process."""
        return self.process.select(query, self.document)
