"""The home that `benchmarks/pages.py` serves: the demo's, live, with news to build and a million facts beside."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.pages_ledger import SOURCES, fill
from kbsync import logs
from kbsync.application import Application
from kbsync.demo.server import SparqlServer, free_port, serving
from kbsync.demo.setting import prepare, write_settings
from kbsync.demo.world import DemoWorld, Wikibase, load
from kbsync.home import Home
from kbsync.service.cycle import CycleReport, Reading, cycle, workers
from kbsync.settings.loading import load as load_settings


@dataclass(frozen=True)
class Made:
    """A home that is copied for each measurement, so that every cycle has the same work to do."""

    root: Path

    @property
    def home(self) -> Home:
        return Home(self.root / "home")

    @contextmanager
    def knowledge_base(self) -> Iterator[SparqlServer]:
        """The SPARQL server that the home's settings name, with the news."""
        port = int((self.root / "port").read_text())
        with serving(self.root / "store", port) as server:
            yield server

    def copy(self, to: Path) -> Home:
        shutil.copytree(self.root / "home", to, symlinks=True)
        return Home(to)


def make(root: Path, facts: int) -> Made:
    """Makes the home below `root`, or takes the one that was made there before."""
    made = Made(root)
    if not (root / "complete").exists():
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        port = free_port()
        (root / "port").write_text(str(port))
        with serving(root / "store", port) as server:
            _agree_and_change(made, server, facts)
        (root / "complete").write_text(f"{facts}\n")
    return made


def _agree_and_change(made: Made, server: SparqlServer, facts: int) -> None:
    """A home in which live states what is wanted; then the news, which the next cycle builds."""
    world = load()
    wikibase = Wikibase(world)
    prepare(made.home)
    config = _settings(made, world, server)
    server.load(wikibase.ntriples())
    _sync(made.home, config, bootstrap=True)
    server.update(wikibase.apply_all(list(world.moves)))
    trial = Home(made.root / "trial")
    shutil.copytree(made.home.root, trial.root, symlinks=True)
    _sync(trial, config)
    capacity = _edits(trial, config)
    shutil.rmtree(trial.root)
    text = config.read_text().replace(
        "[plan]", f"[plan]\ncapacity = {capacity}  # room for the demo's facts alone", 1
    )
    config.write_text(text)
    with Application(made.home, load_settings(config)) as app:
        live = app.imported_base()
        assert live is not None
        fill(app.state, live.digest, facts)


def _settings(made: Made, world: DemoWorld, server: SparqlServer) -> Path:
    config = write_settings(made.home, world, server.query_url)
    with config.open("a") as file:
        for name in SOURCES:
            folder = made.root / name
            folder.mkdir()
            file.write(
                f'\n[sources.{name}]\nkind = "files"\nfolder = {json.dumps(str(folder))}\nnamespace = "crm"\n'
            )
    return config


def _sync(home: Home, config: Path, *, bootstrap: bool = False) -> CycleReport:
    settings = load_settings(config)
    logs.configure(settings.log)
    with Application(home, settings) as app, app.leading() as leadership, workers(app, leadership) as worker:
        for _ in range(4):
            report = cycle(
                app, leadership, trigger="benchmark", reading=Reading(bootstrap=bootstrap), worker=worker
            )
            if all(run.state != "rejected" for run in report.runs):
                break
    print([(run.id, run.state, run.reason) for run in report.runs], report.nothing, report.unavailable)
    return report


def _edits(home: Home, config: Path) -> int:
    """Facts that live was edited with."""
    with Application(home, load_settings(config)) as app, app.state.read() as tx:
        live = tx.live()
        assert live is not None
        facts = tx.view_facts(live.view)
        return len(facts) - len(tx.known_facts(live.base, [fact.id for fact in facts]))
