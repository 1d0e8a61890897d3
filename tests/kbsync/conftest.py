"""A migrated ledger, made once and copied for every test that wants a fresh one."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from kbsync.executor import WORKER, LocalWorker
from state.ledger import State
from tests.support.admission_world import Clock, OpenWorld, World

OPEN_WORLDS = 20
"""How many ledgers keep their connections: a property test opens a thousand, and a process may open 1,024 files."""


@pytest.fixture(scope="module", autouse=True)
def _warm_workers() -> Iterator[None]:
    """Workers are forked from a server that has imported torch: each is a process of its own, only sooner ready.

    By module, so that the worlds which the tests of a module copy are built by them too.
    """

    cold = LocalWorker._start

    def start(worker: LocalWorker) -> object:
        if worker._settings.command != WORKER:
            return cold(worker)
        from tests.support import warm_worker

        return warm_worker.start(worker)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalWorker, "_start", start)
        yield


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ledger") / "empty.db"
    state = State.open(f"sqlite:///{path}")
    state.migrate()
    state.close()
    return path


@pytest.fixture(scope="session")
def open_world(empty_ledger: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenWorld]:
    """Opens fresh ledgers, also for hypothesis, which runs one test function many times."""
    directory = tmp_path_factory.mktemp("worlds")
    numbers = count()
    recent: deque[World] = deque()

    def open_one(**settings: object) -> World:
        path = directory / f"{next(numbers)}.db"
        shutil.copy(empty_ledger, path)
        clock = Clock()
        recent.append(World(State.open(f"sqlite:///{path}", clock), clock, **settings))  # type: ignore[arg-type]
        if len(recent) > OPEN_WORLDS:
            recent.popleft().state.close()  # only its pooled connections: it can be used again
        return recent[-1]

    yield open_one
    for world in recent:
        world.state.close()


@pytest.fixture
def world(open_world: OpenWorld) -> World:
    return open_world()
