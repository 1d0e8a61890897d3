"""Fixtures of several folders: fresh ledgers of either kind."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.databases import NewUrl, administer, copied_database, database_url, migrate
from tests.support.postgres import running_postgres
from tests.support.pretrained import pretrained as pretrained

# The workers of pytest-xdist share the cores: more threads than cores wait for one another.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# An example may take as long as the machine needs.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

# A run that a script started in the background has SIGINT ignored, and so would have every command it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def new_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> NewUrl:
    directory = tmp_path_factory.mktemp("ledgers")
    made: list[str] = []

    def new(kind: str) -> str:
        made.append(kind)
        name = f"ledger_{len(made)}"
        if kind == "postgres":
            return copied_database(request.getfixturevalue("postgres_server"), name)
        shutil.copy(request.getfixturevalue("empty_file"), directory / f"{name}.db")
        return f"sqlite:///{directory / name}.db"

    return new


@pytest.fixture(scope="session")
def empty_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "empty.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a running server that has a migrated database named `empty`."""
    with running_postgres() as url:
        # Durability is the operating system's part and is tested on SQLite; this only saves waiting.
        administer(url, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()", "CREATE DATABASE empty")
        migrate(database_url(url, "empty"))
        yield url
