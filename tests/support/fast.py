"""`make test-fast`: the tests that need no torch, no server and no process of their own, in under a minute.

Loaded with `-p tests.support.fast`.  Which files those are is read from their imports, so that a new test
belongs to the right set by itself; that torch stays out is enforced by making its import fail.
"""

from __future__ import annotations

import ast
import sys
from functools import cache
from importlib.abc import MetaPathFinder
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
OURS = ("kbsync", "connectors", "editing", "state", "benchmarks", "tests")
HEAVY = frozenset({"torch", "transformers", "safetensors"})
SLOW_IN_TESTS = frozenset({"subprocess", "multiprocessing", "socket", "http", "pgserver", "httpx"})
"""Imported by a test or its support, these mean servers and processes; our own packages may import them."""
SERVERS = frozenset({"oxigraph", "oxigraph_process", "postgres_server", "proxy"})
"""Fixtures that start one."""

MARKERS = ("slow", "thorough", "postgres", "pretrained", "browser", "gpu", "ray")


class Absent(MetaPathFinder):
    """Makes the import of HEAVY packages fail as if they were not installed.

    `sys.modules[name] = None` would do as much, but SciPy looks in there for the torch that it might be given.
    """

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] in HEAVY:
            raise ModuleNotFoundError(f"{name} is not imported by make test-fast", name=name)


def pytest_configure(config: pytest.Config) -> None:
    loaded = sorted(HEAVY & sys.modules.keys())
    assert not loaded, f"imported before any test: {', '.join(loaded)}"
    sys.meta_path.insert(0, Absent())


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    conftest = collection_path / "conftest.py"
    if collection_path.is_dir():
        return True if conftest.is_file() and _needs(conftest) else None
    return True if collection_path.name.startswith("test_") and _needs(collection_path) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    slow = [
        item
        for item in items
        if any(map(item.get_closest_marker, MARKERS)) or SERVERS & set(getattr(item, "fixturenames", ()))
    ]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if item not in slow]


def _needs(file: Path) -> bool:
    """Whether `file`, or anything of ours that it imports when it is loaded, needs more than Python."""
    seen: set[Path] = set()
    pending = [file]
    while pending:
        one = pending.pop()
        if one in seen:
            continue
        seen.add(one)
        names = _imported(one)
        roots = {name.partition(".")[0] for name in names}
        in_tests = "tests" in one.relative_to(REPOSITORY).parts
        if roots & HEAVY or (in_tests and roots & SLOW_IN_TESTS):
            return True
        pending += [found for name in names if (found := _file_of(name)) is not None]
    return False


@cache
def _imported(file: Path) -> set[str]:
    """Modules that are imported while `file` is loaded: not those under TYPE_CHECKING or inside functions."""
    names: set[str] = set()
    pending: list[ast.stmt] = list(ast.parse(file.read_text(encoding="utf-8")).body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
            pending += node.body + node.orelse
        elif isinstance(node, ast.Try | ast.ClassDef):
            pending += node.body
    return names


def _file_of(name: str) -> Path | None:
    if name.partition(".")[0] not in OURS:
        return None
    path = REPOSITORY.joinpath(*name.split("."))
    return next((one for one in (path.with_suffix(".py"), path / "__init__.py") if one.is_file()), None)
