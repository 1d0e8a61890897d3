"""A long stream as Wikimedia's are: the ledger ends as that of a faultless one.

Edits, deletions, restorations and merges of watched entities among those of others, many within one second; connections
that are refused, broken off in the middle of an event, and begin with events that were sent before; and absences during
which the stream dropped what it had not sent yet.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from connectors.errors import ConnectorError
from connectors.http.limits import Limiters
from connectors.observations import Connector
from connectors.registry import connect
from tests.support.real_ledger import RealLedger
from tests.support.sparql_server import AGENT, SparqlServer
from tests.support.virtual_time import VirtualTime
from tests.support.wiki_server import WikiServer
from tests.support.wikibase_world import START, Claim, World

LEADERS = range(1, 40)


@dataclass
class Recording:
    """A world and what happens in it: the same events for the same seed, whoever reads them."""

    seed: int
    watched: int
    events: int
    phases: int
    gaps: tuple[int, ...]
    """Phases whose first half the stream does not keep."""

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.world = World()
        for n in LEADERS:
            self.world.add(f"Q{n}", f"Leader {n}")
        for id in self.subjects:
            self.world.add(id, f"Country {id}", P6=[Claim(f"{id}-0", "Q1")])
        self.deleted: dict[str, Any] = {}

    @property
    def subjects(self) -> list[str]:
        return [f"Q{1000 + n}" for n in range(self.watched)]

    def play(self, wiki: WikiServer, events: int) -> None:
        """The next events."""
        for _ in range(events):
            self.world.now += timedelta(seconds=self.chance.choice((0, 0, 0, 1)))
            id = self.chance.choice(self.subjects)
            if self.chance.random() < 0.8:
                self._foreign(wiki)
            elif id in self.deleted:
                self.world.items[id] = self.deleted.pop(id)
                wiki.publish(self._touched(id), operation="import")
            elif self.chance.random() < 0.02 and not self.world.items[id].redirect:
                item = self.deleted[id] = self.world.items.pop(id)
                wiki.publish(item, operation="delete")  # it names the revision that was deleted
            elif not self.world.items[id].redirect:
                leader = f"Q{self.chance.choice(LEADERS)}"
                item = self._touched(id)
                item.claims["P6"] = [Claim(f"{id}-{item.version}", leader)]
                wiki.publish(item, parts=self.chance.choice((1, 1, 1, 3)))

    def merge(self, wiki: WikiServer) -> None:
        """One subject becomes another's redirect, which the stream shows as a deletion."""
        here = [id for id in self.subjects if id in self.world.items and not self.world.items[id].redirect]
        old, new = self.chance.sample(here, 2)
        wiki.publish(self._touched(old), operation="delete")
        self.world.items[old].redirect = new
        wiki.publish(self._touched(new))

    def _touched(self, id: str) -> Any:
        return self.world.touch(id, after=timedelta())

    def _foreign(self, wiki: WikiServer) -> None:
        self.world.revision += 1
        at = self.world.now.isoformat().replace("+00:00", "Z")
        entity = f"Q{self.chance.randrange(10**6, 10**7)}"
        fields = {"dt": at, "entity_id": entity, "operation": "diff", "rev_id": self.world.revision}
        canary = self.chance.random() < 0.01
        wiki.add({**fields, "meta": {"domain": "canary" if canary else "www.wikidata.org"}})


Follow = Callable[[Recording, bool, RealLedger], WikiServer]


@pytest.fixture
def follow(oxigraph: SparqlServer) -> Iterator[Follow]:
    """Plays a recording and follows it, with or without faults; returns the wiki that was asked."""
    servers: list[WikiServer] = []

    def run(recording: Recording, faulty: bool, ledger: RealLedger) -> WikiServer:
        wiki = WikiServer()
        servers.append(wiki)
        wiki.world, wiki.break_after = recording.world, 10**9
        time = VirtualTime(START + timedelta(minutes=10))
        connector = _connector(oxigraph, wiki, recording, time)
        oxigraph.serve(recording.world)
        _drain(ledger, connector)
        if faulty:
            wiki.misbehave, wiki.break_after, wiki.ids_by_time = random.Random(recording.seed + 1), 400, True
        for phase in range(recording.phases):
            before = len(wiki.events)
            recording.play(wiki, recording.events // recording.phases)
            if phase % 3 == 1:
                recording.merge(wiki)
            if faulty and phase in recording.gaps:
                wiki.kept_from = (before + len(wiki.events)) // 2
            time.sleep(max(0.0, (recording.world.now - time.clock.now()).total_seconds()))
            if faulty and phase % 2:
                wiki.lagging = 2
                _drain(ledger, connector)  # the query service lags
            oxigraph.serve(recording.world)
            _drain(ledger, connector)
        connector.close()
        return wiki

    yield run
    for server in servers:
        server.close()


def _connector(
    oxigraph: SparqlServer, wiki: WikiServer, recording: Recording, time: VirtualTime
) -> Connector:
    settings = {
        "kind": "wikidata-stream",
        "endpoint": oxigraph.endpoint,
        "agent": AGENT,
        "subjects": [f"wd:{id}" for id in recording.subjects],
        "relations": ["wdt:P6"],
        "stream": f"{wiki.base}/stream",
        "api": f"{wiki.base}/w/api.php",
        "attempts": 4,
        "follow_s": 600,
        "list_every": "365d",
        "query_seconds_per_minute": 1e9,
        "errors_per_minute": 10**6,
    }
    return connect("wd", settings, clock=time.clock, limiters=Limiters(time.clock))


def _drain(ledger: RealLedger, connector: Connector) -> None:
    """Poll until there is nothing new, whatever errors come between."""
    quiet = 0
    while quiet < 2:
        try:
            quiet = 0 if ledger.drain(connector) else quiet + 1
        except ConnectorError:
            continue


def equal_ledgers(recording: Callable[[], Recording], follow: Follow, folder: Path) -> None:
    """The faulty stream and the faultless one end alike; the watch list is polled after gaps and merges only."""
    calm, faulty = RealLedger(folder / "calm.db"), RealLedger(folder / "faulty.db")
    follow(recording(), False, calm)
    wiki = follow(recording(), True, faulty)
    held = faulty.final()
    assert held == calm.final()
    assert len(held["holds"]) > recording().watched / 2
    assert len(wiki.asked) > len(wiki.events) / 800, "the connections were broken off"
    assert not any('"timestamp"' in asked for asked in wiki.asked), "places are offsets, not milliseconds"
    calm.state.close()
    faulty.state.close()


def test_the_ledger_of_a_faulty_stream_is_that_of_a_faultless_one(follow: Follow, tmp_path: Path) -> None:
    equal_ledgers(lambda: Recording(7, watched=40, events=1_600, phases=4, gaps=(2,)), follow, tmp_path)


@pytest.mark.thorough
@pytest.mark.timeout(1800)
def test_the_ledger_of_a_hundred_thousand_events_is_that_of_a_faultless_stream(
    follow: Follow, tmp_path: Path
) -> None:
    equal_ledgers(
        lambda: Recording(8, watched=400, events=100_000, phases=20, gaps=(5, 12)), follow, tmp_path
    )
