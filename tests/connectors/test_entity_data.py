"""Entity data that crashes its parser, or never ends, costs that document: the daemon's process parses none."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import wait

import pytest

from connectors.errors import AnswerTooLarge, SourceDataError
from connectors.local_graph import LocalGraph
from connectors.rows.child import Child, ReaderDied
from connectors.wikidata.isolated_graph import GraphProcess

BASE = "https://wiki.example/Q1.ttl"
PEOPLE = b'@prefix : <#> . :a :name "Ann"@en ; :knows :b, _:n . :b :name "Bob" ; :born 1950 .'
ALL = "SELECT * { ?s ?p ?o OPTIONAL { ?o ?q ?r } } ORDER BY ?s ?p ?o"
DYING = """
import os, time
from connectors import local_graph
from connectors.wikidata import graph_process
load = local_graph.LocalGraph.load
def dying(self, data, *rest, **more):
    if b"ABORT" in data:
        os.abort()
    if b"MEMORY" in data:
        bytearray(2**40)
    if b"SLEEP" in data:
        time.sleep(600)
    return load(self, data, *rest, **more)
local_graph.LocalGraph.load = dying
graph_process.main()
"""


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Child]]:
    """The processes that were started."""
    started: list[Child] = []
    begin = Child.__init__

    def counting(self: Child, *args: object) -> None:
        begin(self, *args)  # type: ignore[arg-type]
        started.append(self)

    monkeypatch.setattr(Child, "__init__", counting)
    yield started
    assert all(child.ended for child in started)


def test_solutions_are_those_of_a_graph_in_this_process(graphs: list[Child]) -> None:
    import pyoxigraph as ox

    here, process = LocalGraph(), GraphProcess(60)
    here.load(PEOPLE, ox.RdfFormat.TURTLE, base=BASE)
    there = process.load(PEOPLE, BASE)
    named = "SELECT ?s ?o { ?s <https://wiki.example/Q1.ttl#name> ?o } ORDER BY ?s"
    assert there.select(named) == here.select(named) != []
    assert len(there.select(ALL)) == len(here.select(ALL)) == 6
    process.close()
    assert len(graphs) == 1


@pytest.mark.parametrize(
    ("word", "why"),
    [
        (b"ABORT", "ended with signal SIGABRT"),
        (b"MEMORY", "ended with exit code 1: MemoryError"),
    ],
)
def test_a_document_that_ends_its_process_costs_itself(graphs: list[Child], word: bytes, why: str) -> None:
    process = GraphProcess(60, (sys.executable, "-c", DYING))
    before = process.load(PEOPLE, BASE)
    with pytest.raises(ReaderDied, match=why):
        process.load(PEOPLE + b" # " + word, BASE)
    with pytest.raises(ReaderDied, match="no longer loaded"):
        before.select(ALL)
    for _ in range(2):
        assert len(process.load(PEOPLE, BASE).select(ALL)) == 6
    process.close()
    assert len(graphs) == 2  # one that died, and one for all others


def test_a_document_that_never_ends_is_ended(graphs: list[Child]) -> None:
    process = GraphProcess(0.5, (sys.executable, "-c", DYING))
    with pytest.raises(ReaderDied, match=r"cannot be read within 0\.5 s; raise `deadline_s`"):
        process.load(b"# SLEEP", BASE)


def test_a_document_or_query_that_is_refused_leaves_the_process_as_it_is(graphs: list[Child]) -> None:
    process = GraphProcess(60)
    with pytest.raises(SourceDataError, match="not valid Turtle"):
        process.load(b"<< this is no Turtle", BASE)
    with pytest.raises(SourceDataError, match="nested over 100 levels deep"):
        process.load(b"<<" * 20_000, BASE)
    graph = process.load(b"@prefix : <#> . " + b"".join(b":a%d :p 1 . " % n for n in range(400)), BASE)
    with pytest.raises(SourceDataError, match="not valid SPARQL"):
        graph.select("SELECT")
    with pytest.raises(AnswerTooLarge, match="more than 100000 solutions"):
        graph.select("SELECT * { ?a ?p 1 . ?b ?p 1 }")
    assert len(graph.select("SELECT * { ?a ?p 1 }")) == 400
    process.close()
    assert len(graphs) == 1


def test_the_process_inherits_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KBSYNC_DATABASE__URL", "postgresql://kb:secret@db/kb")
    tell = "import os, sys; sys.exit(str([name for name in os.environ if 'KBSYNC' in name] or 'nothing'))"
    with pytest.raises(ReaderDied, match="exit code 1: nothing"):
        GraphProcess(60, (sys.executable, "-c", tell)).load(PEOPLE, BASE)


def test_the_process_ends_with_the_one_that_asked() -> None:
    """A daemon that is killed closes no graph, but its end of the pipe closes with it."""
    script = f"""
import os
from connectors.wikidata.isolated_graph import GraphProcess
process = GraphProcess(60)
process.load({PEOPLE!r}, {BASE!r})
print(process._child.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    asking = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert asking.returncode == -9, asking.stderr
    with suppress(ProcessLookupError):
        orphan = os.pidfd_open(int(asking.stdout))
        assert wait([orphan], 60)
        os.close(orphan)
