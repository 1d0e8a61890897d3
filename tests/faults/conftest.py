"""Ledgers and micro worlds to do harm to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.worlds import World, bury, settled
from tests.state.conftest import empty_file, new_url, postgres_server

__all__ = ["empty_file", "new_url", "postgres_server"]


@pytest.fixture(autouse=True)
def buried() -> Iterator[None]:
    yield
    bury()


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world with live facts and news waiting; copy it before use."""
    return settled(tmp_path_factory.mktemp("template") / "world")


@pytest.fixture(scope="session")
def twin(template: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """What becomes of it when nothing befalls it."""
    world = template.copy(tmp_path_factory.mktemp("twin") / "world")
    world.live_through()
    return world


@pytest.fixture
def world(template: World, tmp_path: Path) -> World:
    return template.copy(tmp_path / "world")
