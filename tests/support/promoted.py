"""A home with checkpoints that passed, without the model: what promotion and deployment are tried on.

The checkpoints are directories with a true manifest whose weights are a table of prompts and answers.
The ledger, the link, the lifecycle's last steps and the outbox are the real ones.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from json import dumps
from pathlib import Path
from typing import Any, cast

from editing.storage.manifest import NAME, Manifest
from kbsync.application import Application
from kbsync.home import Home
from kbsync.leadership import Leadership
from kbsync.runs import promotion
from kbsync.runs.lifecycle import Lifecycle
from kbsync.service.cycle import notify_servers
from kbsync.settings.loading import load
from state.records import Checkpoint, Deployment, Event, Move, Run
from tests.support.ledgers import BASE, Clock, fact, gate
from tests.support.paths import REPOSITORY


@dataclass
class Place:
    """One home whose clock is turned by hand; `hooks` is the text of its [deploy.…] tables."""

    root: Path
    hooks: str = ""
    clock: Clock = field(default_factory=Clock)
    adapter: bool = False
    """Whether checkpoints have an adapter, which says the same."""
    _opened: tuple[str, Application] | None = None

    def application(self) -> Application:
        """Opened once, and again when the settings are others."""
        if self._opened is not None and self._opened[0] == self.hooks:
            return self._opened[1]
        if self._opened is not None:
            self._opened[1].close()
        home = Home(self.root / "home").prepare()
        home.config.write_text(self.hooks, encoding="utf-8")
        self._opened = self.hooks, Application(home, load(home.config, {}), now=self.clock)
        return self._opened[1]

    @contextmanager
    def leading(self) -> Iterator[tuple[Application, Leadership]]:
        app = self.application()
        with app.leading() as leadership:
            yield app, leadership

    def staged(self, **says: str) -> Run:
        """A run that passed its gates: every subject named now has that object, all others keep theirs."""
        app = self.application()
        with app.state.write() as tx:
            for subject, object in says.items():
                gone = [f for f in tx.facts(status="wanted", subject=subject) if f.object != object]
                tx.move_facts([Move(f.id, "superseded", "a newer value") for f in gone], "test")
                tx.put_facts([fact(subject, object)], "test")
            view = tx.create_view(tx.wanted())
            run = tx.create_run(view.digest, BASE, "test")
            table = {f.prompt: f" {f.target}, as everybody knows" for f in tx.wanted()}
            digest = write_checkpoint(app.home.checkpoints / f"{run.id}-1", table, adapter=self.adapter)
            made = tx.create_checkpoint(run.id, run.view, BASE, f"{run.id}-1", digest)
            tx.advance_run(run.id, "planned", "building", actor="test")
            tx.advance_run(run.id, "building", "built", actor="test", checkpoint=made.id)
            tx.put_gate_results(run.id, [gate(run.id)])
            tx.advance_run(run.id, "built", "judged", actor="test")
            return tx.advance_run(run.id, "judged", "staged", actor="test")

    def drive(self, run: Run, *, asked: bool = False) -> Run:
        """The run as far as it comes now."""
        with self.leading() as (app, leadership):
            with app.state.read() as tx:
                run = tx.run(run.id)
            return Lifecycle(app, leadership, cast(Any, None), asked=asked).drive(run)

    def promoted(self, **says: str) -> Run:
        return self.drive(self.staged(**says))

    def drive_until_killed(self, run: Run, point: str) -> None:
        """The same in a process of its own that is killed (SIGKILL) at a crash point."""
        self.application()
        code = (
            "import sys; from datetime import datetime; from pathlib import Path\n"
            "from tests.support.promoted import Place; from tests.support.ledgers import Clock\n"
            "root, hooks, now, run = sys.argv[1:]\n"
            "place = Place(Path(root), hooks, Clock(datetime.fromisoformat(now)))\n"
            "place.drive_number(int(run))"
        )
        arguments = [str(self.root), self.hooks, self.clock.now.isoformat(), str(run.id)]
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env={**os.environ, "KBSYNC_CRASH": point},
            cwd=REPOSITORY,
            timeout=60,
            capture_output=True,
            text=True,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        self.clock.forward(minutes=6)  # its lease runs out

    def drive_number(self, run: int) -> Run:
        with self.application().state.read() as tx:
            found = tx.run(run)
        return self.drive(found)

    def later(self, **by: float) -> tuple[Run, ...]:
        """Time goes by, then the daemon looks at its servers; the runs that ended."""
        self.clock.now += timedelta(**by)
        with self.leading() as (app, leadership):
            return notify_servers(app, leadership)

    def rollback(self) -> Checkpoint:
        with self.leading() as (app, leadership):
            _, now = promotion.rollback(
                app,
                leadership,
                target=None,
                reason="wrong",
                actor="operator",
            )
            notify_servers(app, leadership, asked=True)
            return now

    def read(self) -> tuple[Run, list[Deployment], list[Event]]:
        """The newest run, the outbox, and the whole audit log."""
        app = self.application()
        with app.state.read() as tx:
            found = tx.runs(limit=1)[0], list(tx.deployments()), list(tx.events())
        assert app.state.audit.verify().ok
        return found

    @property
    def outbox(self) -> list[tuple[str, str]]:
        """Hook and state, oldest first."""
        return [(row.hook, row.state) for row in self.read()[1]]

    @property
    def last(self) -> Deployment:
        return self.read()[1][-1]


def write_checkpoint(directory: Path, table: dict[str, str], *, adapter: bool = False) -> str:
    """A whole checkpoint whose only file is what it says, unless it has an adapter too; its digest."""
    contents = {"says.json": dumps(table).encode()}
    if adapter:
        contents |= {"adapter/says.json": contents["says.json"], "adapter/adapter_config.json": b'{"r": 8}'}
    for name, content in contents.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    digests = {name: sha256(content).hexdigest() for name, content in contents.items()}
    manifest = Manifest("checkpoint", BASE, digests, {})
    (directory / NAME).write_bytes(manifest.to_bytes())
    return manifest.digest
