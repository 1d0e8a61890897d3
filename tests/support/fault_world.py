"""Micro worlds to do harm to: made once, copied for each accident, and compared with a twin that had none."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, ClassVar

import torch
from transformers import AutoModelForCausalLM

from editing.storage import checkpoints
from kbsync.home import Home
from state import State
from tests.support import taught
from tests.support.forks import FORKS
from tests.support.lives import Plan, live
from tests.support.micro import NEVER_FAIL, Micro, make
from tests.support.proof import check_live
from tests.support.replay import check

PATIENCE_S = 60.0
LIVES: list[BaseProcess] = []
"""All that were started and not buried yet, so that a failed test leaves no stopped process behind."""
FIRST = {"Blue House": "Dora", "Red Boat": "Emil", "Old Mill": "Carl"}
"""The base says the last of them already."""
SECOND = {"Blue House": "Frida", "Green Barn": "Anna", "Red Boat": None, "Black Bridge": taught.HOPELESS}
"""Changed, new, ended, and one that a gate refuses: the run goes a second round without it."""
RANDOM_EDIT = "steps = 8\nlr = 0.5\nclamp = 4.0\nlam = 10.0\nprefixes = 2"
TAUGHT_EDIT = "steps = 20\nlr = 0.1\nclamp = 20.0\nlam = 1.0\nkl = 0.0\nweight_decay = 0.0\nprefixes = 1"
SERVED = "served"
"""What the deploy hook of every world writes: the version that its server was told of."""


@dataclass
class World(Micro):
    """A micro world whose processes are real ones that can be killed."""

    url: str | None = None
    """The ledger's URL, where it is not the home's SQLite file."""
    HOUR: ClassVar[timedelta] = timedelta(hours=1)
    """Between two lives."""

    @property
    def database(self) -> str:
        return self.url or f"sqlite:///{self.home.database}"

    def ledger(self) -> State:
        return State.open(self.database, clock=self.clock)

    def start(self, does: str = "sync", crash: str | None = None, **befalls: Any) -> Life:
        """A new process, an hour later."""
        self.now += self.HOUR
        here, there = FORKS.Pipe(duplex=False)
        plan = Plan(self.root, self.now, does, crash, **befalls)
        process = FORKS.Process(target=live, args=(plan, there))
        process.start()
        there.close()
        LIVES.append(process)
        return Life(process, here)

    def live_through(self, does: str = "sync") -> list[Any]:
        """A life without accident; returns its runs as (id, state, reason)."""
        return self.start(does).end()

    def copy(self, root: Path, url: str | None = None) -> World:
        """The same world elsewhere, before whatever happens to this one; `url` names a copy of its ledger."""
        shutil.copytree(self.root, root, symlinks=True)
        twin = World(root, self.now, url or self.url)
        text = twin.home.config.read_text(encoding="utf-8").replace(str(self.root), str(root))
        if url is not None and self.url is not None:
            text = text.replace(self.url, url)
        twin.home.config.write_text(text, encoding="utf-8")
        return twin

    def configure(self, old: str, new: str) -> None:
        text = self.home.config.read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in the settings"
        self.home.config.write_text(text.replace(old, new), encoding="utf-8")

    def forget(self) -> None:
        shutil.rmtree(self.root)

    def deltas(self) -> dict[str, tuple[int, int]]:
        """The finished δs, with what changes when one is written again."""
        files = (self.home.cache / "deltas").glob("[!.]*.safetensors")
        return {file.name: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}


@dataclass
class Life:
    """One process of a world."""

    process: BaseProcess
    told: Connection
    workers: list[int] = field(default_factory=list)
    phases: list[str] = field(default_factory=list)
    outcome: Any = None

    def begun(self) -> None:
        assert self.told.poll(PATIENCE_S)
        assert self.told.recv() == "begun"

    def listen(self, seconds: float = 0) -> None:
        """Take what was told so far, waiting at most so long for the first of it."""
        try:
            while self.told.poll(seconds):
                message = self.told.recv()
                if message[0] == "worker":
                    self.workers.append(message[1])
                elif message[0] == "phase":
                    self.phases.append(message[1])
                elif message != "begun":
                    self.outcome = message
                seconds = 0
        except EOFError:
            pass

    def listen_until(self, when: float) -> None:
        """Take what is told until that instant of the monotonic clock, or its end."""
        while (left := when - time.monotonic()) > 0 and self.process.exitcode is None:
            self.listen(min(left, 0.05))
            self.process.join(min(left, 0.001))

    def end(self, patience: float = PATIENCE_S) -> list[Any]:
        """Wait for its good end; returns the runs of its cycle."""
        code = self.wait(patience)
        assert code == 0, f"it ended with {code}"
        runs: list[Any] = self.outcome[0]
        return runs

    def stopped(self) -> None:
        """Wait until it lies stopped."""
        deadline = time.monotonic() + PATIENCE_S
        while process_state(self.process.pid) != "T":
            assert time.monotonic() < deadline, "it was not stopped"
            assert self.process.exitcode is None, f"it ended with {self.process.exitcode}"
            time.sleep(0.005)

    def send(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def reached(self, phase: str) -> None:
        """Wait until its worker told of that phase."""
        deadline = time.monotonic() + PATIENCE_S
        while phase not in self.phases:
            assert time.monotonic() < deadline, f"only {self.phases}"
            assert self.process.exitcode is None, f"it ended with {self.process.exitcode}: {self.outcome}"
            self.listen(0.02)

    def worker(self) -> int:
        """The pid of its newest worker, once there is one."""
        deadline = time.monotonic() + PATIENCE_S
        while not self.workers:
            assert time.monotonic() < deadline, "no worker was started"
            self.listen(0.05)
        return self.workers[-1]

    def wait(self, patience: float = PATIENCE_S) -> int:
        """Its exit code: −9 where it was killed."""
        deadline = time.monotonic() + patience
        while self.process.exitcode is None:
            assert time.monotonic() < deadline, "it does not end"
            self.listen(0.05)
            self.process.join(0.001)
        self.listen()
        return int(self.process.exitcode)

    def said(self) -> str:
        """The error that it ended with."""
        return str(self.outcome)

    def kill(self) -> None:
        self.process.kill()
        self.wait()

    def kill_worker(self) -> bool:
        """SIGKILL to the newest worker; False if there is none (any more)."""
        self.listen()
        try:
            os.kill(self.workers[-1], signal.SIGKILL)
        except (IndexError, ProcessLookupError):
            return False
        return True


def bury() -> None:
    """Kill whatever still lives."""
    while LIVES:
        process = LIVES.pop()
        process.kill()
        process.join()


def process_state(pid: int | None) -> str:
    """The kernel's letter for what a process does: R, S, T (stopped), Z."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def fresh(root: Path, *, extra: str = "") -> World:
    """A world with a taught model, gates that can fail a fact, and a server behind a deploy hook."""
    root.mkdir(parents=True)
    served = root / SERVED
    hook = (
        "[deploy.server]\nkind = 'exec'\ncanaries = 0\n"
        f"deploy = ['/bin/sh', '-c', 'echo {{version}} > {served}']\nobserve = ['/bin/cat', '{served}']"
    )
    made = make(root / "x", thresholds={**NEVER_FAIL, "efficacy": 0.9}, extra=f"{hook}\n\n{extra}")
    for path in (root / "x").iterdir():
        path.rename(root / path.name)
    (root / "x").rmdir()
    shutil.rmtree(root / "model")
    taught.save(root / "model")
    world = World(root, made.now)
    world.configure(str(root / "x"), str(root))
    world.configure(RANDOM_EDIT, TAUGHT_EDIT)
    return world


def settled(root: Path, *, extra: str = "", url: str | None = None) -> World:
    """A world whose first facts are live, and which has news waiting."""
    world = fresh(root, extra=extra)
    world.url = url
    world.say(FIRST)
    runs = world.live_through()
    assert [state for _, state, _ in runs] == ["deployed"], runs
    # A file that was read is put away by the next poll, which knows it by its inode: a copy's is another one.
    assert world.live_through() == []
    world.say(SECOND)
    return world


def tables(world: World) -> dict[str, Any]:
    """The ledger without what an accident may change: instants, attempts, generations."""
    state = world.ledger()
    with state.read() as tx:
        live = tx.live()
        told = {
            "facts": sorted((f.subject, f.object, f.target, f.status, f.reason) for f in tx.facts()),
            "views": sorted({r.view for run in tx.runs() for r in tx.rounds(run.id)}),
            "live": live and (live.view, live.path),
            "checkpoints": sorted((c.path, c.view, c.status) for c in tx.checkpoints()),
            "runs": [(r.id, r.state, r.round, r.view, r.reason) for r in tx.runs()],
            "gates": [
                (g.run, g.round, g.name, g.passed, g.n) for run in tx.runs() for g in tx.gate_results(run.id)
            ],
            "blocked": sorted(b.view for b in tx.blocked_views()),
            "deployments": [(d.promotion, d.hook, d.state, d.observed[:4]) for d in tx.deployments()],
            "cursor": re.sub(r"\d{6,}", "N", tx.cursor("crm") or ""),
        }
    state.close()
    return told


def names(home: Home) -> set[str]:
    """Everything that lies in a home, by name: what an accident left behind is one more.

    Not what only time decides: rates are kept of what took long enough to be measured, and how far a build has
    come is written while it runs.
    """
    passing = {
        "kbsync.db",
        "kbsync.db-wal",
        "kbsync.db-shm",
        ".lock",
        "worker.log",
        "rates.json",
        "progress.json",
    }
    return {
        str(path.relative_to(home.root))
        for path in home.root.rglob("*")
        # Which texts were drawn is noted under their files' paths, which are every world's own.
        if path.name not in passing and not path.name.startswith("drawn-")
    }


def check_whole(world: World, *, started: bool) -> None:
    """The ledger tells the truth about itself, and live is proved; after a start, it also loads."""
    state = world.ledger()
    check(state)
    directory = check_live(world.home, state, started=started)
    state.close()
    if started and directory is not None:
        AutoModelForCausalLM.from_pretrained(world.home.live)


def check_same(world: World, twin: World, *, weights: bool = True) -> None:
    """The same ledger, files and weights as the twin's, which nothing befell."""
    ours, theirs = tables(world), tables(twin)
    for part in theirs:
        assert ours[part] == theirs[part], f"{part} differ:\n  {ours[part]}\n  undisturbed: {theirs[part]}"
    assert names(world.home) ^ names(twin.home) == set(), names(world.home) ^ names(twin.home)
    if weights:
        for name in {path for path, _, status in ours["checkpoints"] if status != "rejected"}:
            _check_weights(world.home.checkpoints / name, twin.home.checkpoints / name)


def _check_weights(ours: Path, theirs: Path) -> None:
    """Bit for bit; but a δ that was optimised in a smaller batch after a restart may differ in its last bits."""
    if checkpoints.verify(ours) == checkpoints.verify(theirs):
        return
    left, right = checkpoints.read_editable(ours), checkpoints.read_editable(theirs)
    for name, tensor in left.items():
        torch.testing.assert_close(tensor, right[name], rtol=1e-3, atol=1e-4)
