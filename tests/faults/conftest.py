"""Ledgers and micro worlds to do harm to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from tests.support.databases import copied_database
from tests.support.fault_world import World, bury, settled
from tests.support.histories import imported
from tests.support.micro import Micro


@pytest.fixture(autouse=True)
def buried() -> Iterator[None]:
    yield
    bury()


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world with live facts and news waiting; copy it before use."""
    return settled(tmp_path_factory.mktemp("template") / "world")


@pytest.fixture(scope="session")
def imported_world(tmp_path_factory: pytest.TempPathFactory) -> Micro:
    """A world after its first import; histories are played on copies of it."""
    return imported(tmp_path_factory.mktemp("imported") / "world")


@pytest.fixture(scope="session")
def twin(template: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """What becomes of it when nothing befalls it."""
    world = template.copy(tmp_path_factory.mktemp("twin") / "world")
    world.live_through()
    return world


@pytest.fixture(scope="session")
def postgres_template(
    postgres_server: str, new_url: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> World:
    """The same as `template`, with its ledger on PostgreSQL."""
    url = new_url("postgres")
    world = settled(tmp_path_factory.mktemp("postgres") / "world", extra=f"[state]\nurl = '{url}'", url=url)
    return world


@pytest.fixture
def postgres_world(postgres_template: World, postgres_server: str, tmp_path: Path) -> World:
    source = make_url(postgres_template.database).database or ""
    name = "world_" + hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12]
    return postgres_template.copy(tmp_path / "world", copied_database(postgres_server, name, source))


@pytest.fixture
def world(template: World, tmp_path: Path) -> World:
    return template.copy(tmp_path / "world")
