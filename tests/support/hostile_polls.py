"""A process that polls hostile sources beside a good one; run by tests, with its own memory to be measured.

    python hostile_polls.py ROOT POLLS SEED GOOD_SERVER

`ROOT` has `home/kbsync.toml`.  Prints one JSON object: what is wanted of the good source at the end, what should
be, and the most memory that was in use.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from connectors.clock import Clock
from connectors.http.limits import Limiters
from connectors.observations import Connector
from connectors.registry import connect
from kbsync import logs
from kbsync.application import Application
from kbsync.home import Home
from kbsync.service.reading import pull
from kbsync.settings.loading import load

SUBJECTS = 12
LABEL = "<http://www.w3.org/2000/01/rdf-schema#label>"


class Hurried(Application):
    """An application in which waiting costs no time: the clock is turned instead."""

    elapsed = 0.0

    def connect(self, name: str) -> Connector:
        clock = Clock(now=self.now, monotonic=lambda: self.elapsed, sleep=self.pass_)
        return connect(
            name,
            self.settings.sources[name],
            directory=self.settings.directory,
            default_relations=tuple(relation.id for relation in self.catalogue.enabled()),
            clock=clock,
            limiters=Limiters(clock),
        )

    def pass_(self, seconds: float) -> None:
        self.elapsed += seconds


def drop(folder: Path, outside: Path, chance: random.Random) -> None:
    """A file such as no producer should write, or a link, a pipe, a folder in its place."""
    for left in folder.iterdir():
        if left.name != "done":
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
    header = b"subject,relation,object\n"
    contents = (
        header + b"a,crm:owner,x\x00y\n,crm:owner,z\n",
        header + "b,crm:owner,\ud800\n".encode("utf-8", "surrogatepass"),
        header + b'"' + b"x" * 2**20,
        b"\xef\xbb\xbf" + header + b"c,crm:owner," + b"9" * 5_000 + b"\n",
        b'{"subject": "d", "object": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
        b'{"subject": "\\ud800", "relation": "crm:owner", "object": "x", "references": '
        + b"9" * 5_000
        + b"}\n",
        gzip.compress(bytes(64 * 2**20), 9),
        b"<http://a> <http://b> " + b"<<" * 20_000 + b" .\n",
    )
    suffix = chance.choice((".csv", ".jsonl", ".nt", ".ttl", ".csv.gz", ".jsonl.gz", ".parquet", ".exe"))
    name = (
        os.fsencode(f"x{chance.randrange(10**6)}")
        + chance.choice((b"", b"\xff", b"\x1b]0;x\n"))
        + suffix.encode()
    )
    path = os.path.join(os.fsencode(folder), name)
    kind = chance.random()
    if kind < 0.15:
        os.symlink(outside / "secret.csv", path)
    elif kind < 0.25:
        os.symlink(outside / "secret.csv", os.path.join(os.fsencode(folder), b"." + name + b".rejects.jsonl"))
        Path(os.fsdecode(path)).write_bytes(contents[0])
    elif kind < 0.3:
        os.mkfifo(path)
    elif kind < 0.35:
        os.mkdir(path)
    else:
        Path(os.fsdecode(path)).write_bytes(chance.choice(contents))


def serve(world: dict[str, str], server: str) -> None:
    triples = "".join(
        f'<https://x.example/{s}> <https://x.example/owner> "{o}" . <https://x.example/{s}> {LABEL} "House {s}" .\n'
        for s, o in world.items()
    )
    answer = httpx.put(f"{server}/store?default", content=triples, headers={"Content-Type": "text/turtle"})
    answer.raise_for_status()


def main(root: Path, polls: int, seed: int, server: str) -> None:
    chance = random.Random(seed)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    world = {f"h{n}": f"Owner {n}" for n in range(SUBJECTS)}
    turn: Callable[[], datetime]
    app = Hurried(Home(root / "home"), load(root / "home" / "kbsync.toml"), now=lambda: turn())
    turn = lambda: start + timedelta(seconds=app.elapsed)  # noqa: E731
    logs.configure(app.settings.log)
    failures: dict[str, int] = {}
    try:
        for poll in range(polls):
            if poll % 3 == 0:
                world[f"h{chance.randrange(SUBJECTS)}"] = f"Owner {100 + poll}"
                serve(world, server)
            drop(root / "drop", root / "outside", chance)
            app.pass_(timedelta(days=2).total_seconds())
            reports, unavailable = pull(app)
            rejected = {name for name, report in reports.items() if report.rejected}
            for name in unavailable.keys() | rejected:
                failures[name] = failures.get(name, 0) + 1
            assert "good" not in unavailable, unavailable["good"]
        with app.state.read() as tx:
            facts = [fact for fact in tx.wanted() if fact.source == "good"]
    finally:
        app.close()
    print(
        json.dumps(
            {
                "wanted": {fact.subject.removeprefix("x:"): fact.target for fact in facts},
                "world": world,
                "failures": failures,
                "megabytes": peak_megabytes(),
            }
        )
    )


def peak_megabytes() -> float:
    """Most memory that this process held; `ru_maxrss` would begin with what its parent held at the fork."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
