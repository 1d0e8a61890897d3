"""A ledger with a key and an archive: years of events in a moment, and a process that archives them.

`python -m tests.support.archived HOME NOW`: apply the policy to the home's ledger at an instant, as `archive` does.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from kbsync.application import Application
from kbsync.home import Home
from kbsync.leadership import Leadership
from kbsync.proofs import keys
from kbsync.service import retention
from kbsync.settings.operation import RetentionSettings, StateSettings
from kbsync.settings.sections import Settings
from state.archives.files import Archive
from state.ledger import State
from state.records import Verification
from tests.support.admission_world import DAY, HOUR, Clock, World, observed

BATCH = 300
"""Events of no interest between the others: a cut is a multiple of 256 events."""


@contextmanager
def led(
    world: World, home: Home, anchor: Path | None = None, **periods: timedelta
) -> Iterator[tuple[Application, Leadership]]:
    """The world's ledger under a policy; a key signs it, and `anchor` witnesses it."""
    world.state.archive = Archive(home.archive)
    world.state.__dict__.pop("audit", None)
    settings = Settings(
        retention=RetentionSettings(**periods), state=StateSettings(anchor=anchor), policy=world.policy
    )
    app = Application(home, settings, now=world.clock)
    app.__dict__["state"] = world.state
    if world.state.audit.lineage().active() is None:
        keys.create(app, None, None, "test")
    with app.leading() as leadership:
        yield app, leadership


def live_through(world: World, values: str, subject: str = "italy") -> None:
    """A value after the other, two months each, and much of no interest in between."""
    for name in values:
        world.clock.forward(60 * DAY)
        now = world.clock()
        revision = int(now.timestamp()) // 3_600
        world.kb.tell(observed(subject, f"{name}da", revision=revision, modified=now, at=now))
        world.cycle(bootstrap=False)
        with world.state.write() as tx:
            for _ in range(BATCH):
                tx.emit("retention.applied", "test", {"what": "nothing"})
        world.clock.forward(100 * HOUR)
        world.cycle(bootstrap=False)


def archive(world: World, home: Home) -> dict[str, int]:
    """Apply the policy now: events stay for 30 days, and files of them for 400; what was deleted, by kind."""
    with led(world, home, archive=30 * DAY, archived=400 * DAY) as (app, leadership):
        return {one.what: one.count for one in retention.apply(app, leadership)}


def verified(world: World) -> Verification:
    return world.state.audit.verify_tables()


def files(home: Home, kind: str = "events") -> list[Path]:
    return sorted(home.archive.glob(f"{kind}-*"))


def main(root: str, now: str) -> None:
    home = Home(Path(root))
    clock = Clock(datetime.fromisoformat(now))
    with closing(State.open(f"sqlite:///{home.database}", clock)) as state:
        archive(World(state, clock), home)


if __name__ == "__main__":
    main(*sys.argv[1:])
