"""docs/faults.md names every test of faults, and no test that is not there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.support.paths import REPOSITORY

PAGE = REPOSITORY / "docs" / "faults.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def functions_of(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {
        node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def named() -> set[tuple[str, str]]:
    return set(NAMED.findall(PAGE.read_text(encoding="utf-8")))


def test_every_test_that_the_page_names_is_there() -> None:
    for file, test in sorted(named()):
        assert test in functions_of(REPOSITORY / file), f"{file}::{test}"


def test_every_test_of_faults_is_on_the_page() -> None:
    files = sorted(path for path in Path(__file__).parent.glob("test_*.py") if path != Path(__file__))
    there = {(str(file.relative_to(REPOSITORY)), test) for file in files for test in functions_of(file)}
    assert there - named() == set()
