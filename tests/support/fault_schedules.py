"""One story of edits and polls, with or without accidents between the store and the connector."""

from __future__ import annotations

import random
from collections import Counter
from datetime import timedelta
from typing import Protocol, TypeVar

from connectors.errors import ConnectorError
from connectors.http.limits import Limiters
from connectors.observations import Connector
from connectors.registry import connect
from tests.support.sparql_server import AGENT, SparqlServer
from tests.support.virtual_time import VirtualTime
from tests.support.wikibase_world import Claim, World

SUBJECTS = 6
RELATIONS = ("wdt:P6", "wdt:P36")


def first_world() -> World:
    world = World()
    for n in range(1, 6):
        world.add(f"Q{n}", f"Leader {n}")
    for n in range(100, 100 + SUBJECTS):
        world.add(f"Q{n}", f"Country {n}", P6=[Claim(f"Q{n}-0", "Q1")], P36=[Claim(f"Q{n}-c", "Q2")])
    return world


def change(world: World, chance: random.Random) -> None:
    """One edit, of a kind and at a time that chance picks; sometimes within the same second."""
    country = f"Q{100 + chance.randrange(SUBJECTS)}"
    item = world.items.get(country)
    if item is None or item.redirect:
        return
    after = timedelta(seconds=chance.choice((0, 0, 1, 60)))
    kind = chance.choice(("replace", "replace", "end", "add", "empty", "rename", "label", "merge", "delete"))
    if kind == "label":
        world.touch("Q1", after).labels["en"] = f"Leader, version {world.revision}"
        return
    world.touch(country, after)
    claims = item.claims.setdefault("P6", [])
    if kind == "replace":
        claims[:] = [Claim(f"{country}-{item.version}", f"Q{chance.randint(1, 5)}", references=1)]
    elif kind == "end":
        claims[:] = [Claim(claim.id, claim.value, end=world.now) for claim in claims]
    elif kind == "add":
        claims.append(Claim(f"{country}-{item.version}", f"Q{chance.randint(1, 5)}", rank="Preferred"))
    elif kind == "empty":
        claims.clear()
    elif kind == "rename":
        item.labels["en"] = f"{country}, version {item.version}"
    elif kind == "merge":
        heir = world.add(f"Q9{country[1:]}", item.labels["en"], **item.claims)
        heir.version, heir.modified = world.touch(heir.id, timedelta()).version, world.now
        item.redirect = heir.id
    elif kind == "delete" and sum(not i.redirect for i in world.items.values()) > 7:
        del world.items[country]


def opened(endpoint: str, time: VirtualTime, deadline_s: float) -> Connector:
    settings = {
        "kind": "wikidata",
        "endpoint": endpoint,
        "agent": AGENT,
        "subjects": [f"wd:Q{100 + n}" for n in range(SUBJECTS)],
        "relations": list(RELATIONS),
        "versions_per_request": 4,
        "slots_per_step": 4,
        "deadline_s": deadline_s,
        "attempts": 3,
        "max_vanished": 1.0,
    }
    return connect("wd", settings, clock=time.clock, limiters=Limiters(time.clock))


class Ledger(Protocol):
    """Whatever commits the steps of a poll."""

    def drain(self, connector: Connector, at_most: int | None = None) -> int:
        """Commits at most so many steps, and then no more, as if killed; how many there were."""
        ...


L = TypeVar("L", bound=Ledger)


def run(server: SparqlServer, endpoint: str, seed: int, faulty: bool, sink: L) -> tuple[L, Counter[str]]:
    """One story: edits and polls in turn, then polls until one has nothing to tell.

    With faults, polls are also killed after some step, and a deadline is shorter than a drip.
    """
    deadline_s = 0.25 if faulty else 30.0
    chance, kills = random.Random(seed), random.Random(-seed - 1)
    time, world = VirtualTime(), first_world()
    failures: Counter[str] = Counter()
    server.serve(world)
    for _ in range(3):
        at_most = kills.choice((None, 1, 2, 5)) if faulty else None
        try_to_drain(sink, opened(endpoint, time, deadline_s), at_most, failures)
        for _ in range(chance.randint(1, 4)):
            change(world, chance)
        server.serve(world)
    quiet = 0
    for _ in range(60):
        steps = try_to_drain(sink, opened(endpoint, time, deadline_s), None, failures)
        quiet = quiet + 1 if steps == 0 else 0
        if quiet == 2:
            return sink, failures
    raise AssertionError(f"seed {seed}: never came to rest; {dict(failures)}")


def try_to_drain(
    sink: Ledger, connector: Connector, at_most: int | None, failures: Counter[str]
) -> int | None:
    try:
        return sink.drain(connector, at_most)
    except ConnectorError as error:
        failures[type(error).__name__] += 1
        return None
